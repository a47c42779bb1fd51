"""The studies of `bench robust`: each attack under the rule that was fixed beforehand, other rules beside."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev
from typing import Final

from bench._heart_plain import interval
from bench._robust_attacks import ATTACKS, Attack
from bench._robust_road import Defence, Run, Site, accuracy, learn, success
from bench.results import Result
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Model
from commonward.records.rule_parameters import Parameters

PLAIN: Final = Defence(Rule.FEDAVG, Parameters())
TRIMMED: Final = Defence(Rule.TRIMMED_MEAN, Parameters(f=1))
CLIPPED: Final = Defence(Rule.NORM_CLIP, Parameters())
OTHERS: Final = (
    Defence(Rule.MEDIAN, Parameters(f=1)),
    Defence(Rule.MULTI_KRUM, Parameters(f=1)),
    Defence(Rule.KRUM, Parameters(f=1)),
    PLAIN,
)
"""Shown beside, not judged."""

STRONGEST: Final = (
    Attack("garbage"),
    Attack("scaled", 100),
    Attack("flipped", 10),
    Attack("stealthy", 1.5),
    Attack("backdoored", 5),
)
"""One of each family, for rules that are not judged."""

CLEAN: Final = 0.01
LOST: Final = {True: 0.01, False: 0.03}
POINTS: Final = "points"


@dataclass(frozen=True, slots=True)
class Task:
    """What is learnt, and how often it is repeated.

    Attributes:
        sites: five, by the number of the deal and whether classes are equal.
        fixed: the rule that the goals are judged by, chosen before any figure here was seen.
        beside: measured over all deals too, and not judged.
        against: the attacks that the rule beside is measured under; the fixed one is under all.
        each: deals that make one figure of the interval: those of the same patients, where there are other patients.
        ratio: of test rows to training rows, where all deals are splits of the same patients, for intervals; else None.
    """

    name: str
    first: Callable[[], Model]
    sites: Callable[[int, bool], Sequence[Site]]
    rounds: int
    about: str
    fixed: Defence
    beside: Defence
    against: Sequence[Attack]
    each: int
    ratio: float | None


@dataclass(slots=True)
class Seen:
    """Of one attack under one rule, by group of deals: accuracy lost, and how often the trigger worked."""

    lost: dict[int, list[float]] = field(default_factory=dict)
    fooled: dict[int, list[float]] = field(default_factory=dict)

    @property
    def losses(self) -> list[float]:
        """Of every group its mean."""
        return [mean(each) for each in self.lost.values()]

    @property
    def successes(self) -> list[float]:
        """The same of the trigger."""
        return [mean(each) for each in self.fooled.values()]


Table = dict[tuple[str, str], Seen]
"""By rule and attack; the attack "nobody lies" is the clean price, and the rule "honest alone" the reference."""

NOBODY, ALONE = "nobody lies", "honest alone"


def measure(task: Task, equal: bool, deals: Sequence[int], few: int) -> Table:
    """Every attack under the fixed rule over all deals, and so the rule beside. The other rules are measured in the
    first `few` groups, in one deal of each."""
    table: Table = {}
    started = time.perf_counter()
    for count, deal in enumerate(deals):
        group, at = divmod(count, task.each)
        five = task.sites(deal, equal)
        liar = five[deal % len(five)].name
        honest = [each for each in five if each.name != liar]
        rules = [(task.fixed, ATTACKS), (task.beside, task.against)]
        rules += [(each, STRONGEST) for each in OTHERS] if at == 0 and group < few else []
        named: dict[tuple[str, str], Run] = {(ALONE, ""): Run(honest, PLAIN), ("", ""): Run(five, PLAIN)}
        for defence, attacks in rules:
            named[defence.name, NOBODY] = Run(five, defence)
            named |= {(defence.name, each.name): Run(five, defence, liar, each) for each in attacks}
        models = dict(zip(named, learn(task.first(), task.rounds, list(named.values()), deal), strict=True))
        best, whole = accuracy(models[ALONE, ""], honest), accuracy(models.pop(("", "")), five)
        for (rule, attack), model in models.items():
            judges = five if attack == NOBODY else honest
            right = accuracy(model, judges)
            lost = right if rule == ALONE else (whole if attack == NOBODY else best) - right
            seen = table.setdefault((rule, attack), Seen())
            seen.lost.setdefault(group, []).append(lost)
            seen.fooled.setdefault(group, []).append(success(model, judges))
        told = f"{task.name}, {'equal' if equal else 'unequal'}: deal {count + 1} of {len(deals)}"
        print(f"robust     {told}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return table


STUDENT: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t with 1 to 9 degrees of freedom."""


def spread(task: Task, values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval: over splits of the same patients, or over other patients each time."""
    if task.ratio is not None:
        return interval(values, task.ratio)
    if len(values) < 2:
        return mean(values), float("nan")
    quantile = STUDENT[min(len(values) - 1, len(STUDENT)) - 1]
    return mean(values), quantile * stdev(values) / sqrt(len(values))


def told(task: Task, equal: bool, table: Table) -> Iterator[Result]:
    """As results, in points of accuracy."""
    classes = "equal classes" if equal else "unequal classes"
    honest = table[ALONE, ""]
    words = f"{task.about}; the four honest sites alone have {mean(honest.losses):.3f}"
    for (rule, attack), seen in table.items():
        if rule == ALONE:
            continue
        judged = rule == task.fixed.name
        goal = CLEAN if attack == NOBODY else LOST[equal]
        middle, half = spread(task, seen.losses)
        what = "clean price" if attack == NOBODY else f"lost to {attack}"
        yield Result(
            name=f"{task.name}, {classes}, {rule}: {what}",
            value=100 * middle,
            unit=POINTS,
            goal=100 * goal if judged else None,
            more_is_better=False,
            conditions=f"{words}; {_many(task, seen)}, 95 % interval {100 * (middle - half):.2f} to "
            f"{100 * (middle + half):.2f}",
        )
    plain = mean(honest.successes)
    for (rule, attack), seen in table.items():
        if attack.startswith("backdoored"):
            middle, half = spread(task, seen.successes)
            yield Result(
                name=f"{task.name}, {classes}, {rule}: success of the backdoor, {attack}",
                value=middle,
                unit="",
                reference="trigger where nobody lies",
                reference_value=plain,
                more_is_better=False,
                conditions=f"{task.about}; {_many(task, seen)}, 95 % interval {middle - half:.3f} to "
                f"{middle + half:.3f}; not claimed",
            )


def _many(task: Task, seen: Seen) -> str:
    if task.each == 1:
        return f"{len(seen.lost)} seeds"
    deals = sum(len(each) for each in seen.lost.values())
    return f"{len(seen.lost)} pools of other patients, {deals} deals"


def heart(scale: float) -> Iterator[Result]:
    """Real patients. The rule was chosen on other splits (seeds 200 to 209)."""
    from bench import _robust_heart as data

    task = Task(
        "heart",
        data.first,
        data.sites,
        data.ROUNDS,
        f"{data.ROUNDS} rounds of 10 whole-batch steps, five sites",
        TRIMMED,
        CLIPPED,
        STRONGEST,
        1,
        0.34 / 0.66,
    )
    seeds = range(300, 300 + max(2, round(20 * scale)))
    for equal in (True, False):
        yield from told(task, equal, measure(task, equal, seeds, max(2, round(10 * scale))))


def keratitis(scale: float) -> Iterator[Result]:
    """Drawn patients: of every pool five deals, in each of which another of the five sites lies."""
    from bench import _robust_keratitis as data

    pools = data.POOLS[: max(2, round(len(data.POOLS) * scale))]
    judged = data.PATIENTS - data.LEARN
    task = Task(
        "SYNTHETIC keratitis",
        data.first,
        lambda deal, alike: data.sites(data.pool(*pools[deal // data.DEALS]), deal, alike),
        data.ROUNDS,
        f"SYNTHETIC; {data.LEARN} patients to learn from and {judged} to be judged by at five sites together, "
        f"{data.ROUNDS} rounds of 10 whole-batch steps, a head of {data.FORM.width} inputs",
        data.FIXED,
        TRIMMED,
        ATTACKS,
        data.DEALS,
        None,
    )
    for equal in (True, False):
        yield from told(task, equal, measure(task, equal, range(len(pools) * data.DEALS), len(pools)))
