"""The studies of `bench heart`, one function each."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Final

import numpy as np

from bench import _heart_road as road
from bench._heart_data import FIRST_SEED, Client, clients, tables
from bench._heart_plain import Judged, Rows, fedavg, home, interval, judge, newton
from bench.results import Result
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Floats
from commonward.records.privacy import RATE_UNIT, least_noise, spent
from commonward.records.rule_parameters import BILLION, Parameters
from commonward.workflows.training.ports import Setting

RIDGE: Final = 0.03
ROUNDS: Final = 6
LOCAL_RIDGES: Final = (0.01, 0.03, 0.1, 0.3, 1.0)
ONE_CLASS: Final = "switzerland"
EPSILON: Final = 2_000_000
DELTA: Final = 5
PRIVATE_ROUNDS: Final = 5
OWN_ROWS: Final = 20
FLAMBY: Final = "FLamby, published, 5 seeds"
LOCAL: Final = "each hospital's own model"

Three = tuple[float, float, float]
"""Accuracy, AUROC and Brier score: means over clients."""


def over_clients(found: Mapping[str, Judged]) -> Three:
    """AUROC without the site of one class."""
    ranked = [each.auroc for site, each in found.items() if site != ONE_CLASS and not np.isnan(each.auroc)]
    accuracy, brier = mean(each.accuracy for each in found.values()), mean(each.brier for each in found.values())
    return accuracy, mean(ranked) if ranked else float("nan"), brier


def global_and_home(four: Sequence[Client], settings: Mapping[str, Setting], w: Floats) -> tuple[Three, Three]:
    """A model as it came, and with each site's intercept refitted on its training rows."""
    plain, refitted = {}, {}
    for client in four:
        train, test = road.rows_of(client, settings)
        plain[client.site], refitted[client.site] = judge(test, w), judge(test, home(train, w))
    return over_clients(plain), over_clients(refitted)


def own_models(four: Sequence[Client]) -> tuple[list[Three], Three]:
    """What each hospital has by itself: for each ridge, and the majority class of its training rows."""
    found: list[dict[str, Judged]] = [{} for _ in LOCAL_RIDGES]
    majority = {}
    for client in four:
        train, test = road.rows_of(client, road.own_scales(client))
        for at, ridge in enumerate(LOCAL_RIDGES):
            found[at][client.site] = judge(test, own_model(train, ridge))
        share = float(train[1].mean())
        guess = np.full(len(test[1]), float(share > 0.5))
        majority[client.site] = Judged(float((guess == test[1]).mean()), 0.5, float(((share - test[1]) ** 2).mean()))
    return [over_clients(each) for each in found], over_clients(majority)


def own_model(train: Rows, ridge: float) -> Floats:
    """Newton on one site's rows. The intercept is penalised where one class is nearly alone: it has no finite best."""
    return newton([train], ridge, 12, whole=min(train[1].sum(), (1 - train[1]).sum()) < 2)


def result(name: str, values: Sequence[float], conditions: str, **rest: float | str | bool | None) -> Result:
    """A mean over splits with its interval."""
    middle, half = interval(values)
    said = f"{conditions}; {len(values)} splits, 95 % interval {middle - half:.3f} to {middle + half:.3f}"
    return Result(name=name, value=middle, unit="", conditions=said, **rest)  # type: ignore[arg-type]


def averaging(
    settings: Mapping[str, Setting], *, mu: float = 0.0, seed: int = 0, rule: Rule = Rule.FEDAVG
) -> road.Study:
    """15 rounds of 100 steps of 4 rows, as FLamby has them."""
    constants: dict[str, Setting] = {"learning_rate": 10_000_000, "mu": round(mu * BILLION), "seed": seed}
    parameters = Parameters(learning_rate=100_000_000) if rule is Rule.FEDADAGRAD else Parameters()
    return road.Study("logistic", rule, 15, parameters, {**settings, **constants}, own_scales=not settings)


def parity() -> Iterator[Result]:
    """Our road against plain loops."""
    four = clients(tables(), FIRST_SEED)
    settings = road.scales(four)
    rows = [road.rows_of(each, settings)[0] for each in four]
    pairs = {
        f"Newton, {ROUNDS} rounds": (
            road.learn(road.newton_study(RIDGE, ROUNDS, settings), four),
            newton(rows, RIDGE, ROUNDS),
        )
    }
    for name, mu in (("FedAvg", 0.0), ("FedProx", 0.1)):
        ours = road.learn(averaging(settings, mu=mu, seed=1), four)
        pairs[f"{name}, 15 rounds of 100 steps"] = (ours, fedavg(rows, 15, 100, 4, 0.01, mu, 1))
    for name, (ours, plain) in pairs.items():
        yield Result(
            name=f"largest difference of a coefficient, {name}",
            value=float(np.abs(ours - plain).max()),
            unit="",
            goal=1e-5,
            more_is_better=False,
            conditions="our road (Flower app, Q24, aggregation) against a plain loop in floats, equal seeds, split 43",
        )


def beside_flamby(seeds: int) -> Iterator[Result]:
    """FLamby's own protocol on our road. No gate: their step sizes are searched, and only their means are published."""
    four = clients(tables(), FIRST_SEED)
    for rule, published in ((Rule.FEDAVG, 0.6850), (Rule.FEDADAGRAD, 0.7314)):
        found = []
        for seed in range(seeds):
            w = road.learn(averaging({}, seed=seed, rule=rule), four)
            judged = {each.site: judge(road.rows_of(each, road.own_scales(each))[1], w) for each in four}
            found.append(over_clients(judged)[0])
        low, high = np.quantile(found, [0.025, 0.975])
        yield Result(
            name=f"accuracy, {rule.name} under FLamby's protocol",
            value=mean(found),
            unit="",
            reference=FLAMBY,
            reference_value=published,
            conditions=f"split 43, own standardisation, 15 rounds of 100 steps of 4 rows, rate 0.01; {seeds} seeds, "
            f"95 % of them {low:.3f} to {high:.3f}",
        )
    rows = [road.rows_of(each, road.own_scales(each))[0] for each in four]
    w = newton(rows, RIDGE, ROUNDS)
    judged = {each.site: judge(road.rows_of(each, road.own_scales(each))[1], w) for each in four}
    yield Result(
        name="accuracy, pooled, own standardisation",
        value=over_clients(judged)[0],
        unit="",
        reference=FLAMBY,
        reference_value=0.7353,
        conditions="split 43; each site standardised by its own rows, which pooling does not mend",
    )


def together(splits: int) -> Iterator[Result]:
    """The study as we would run it, and what stands beside."""
    whole = tables()
    ours, homes, majorities = [], [], []
    owns: list[list[Three]] = []
    for seed in range(FIRST_SEED, FIRST_SEED + splits):
        four = clients(whole, seed)
        settings = road.scales(four)
        w = road.learn(road.newton_study(RIDGE, ROUNDS, settings), four)
        plain, refitted = global_and_home(four, settings, w)
        own, majority = own_models(four)
        ours.append(plain)
        homes.append(refitted)
        owns.append(own)
        majorities.append(majority)
    same = LOCAL_RIDGES.index(RIDGE)
    local = [each[same] for each in owns]
    best = max(range(len(LOCAL_RIDGES)), key=lambda at: mean(each[at][1] for each in owns))
    beside: dict[str, float | str | bool | None] = {"reference": LOCAL}
    yield Result(
        name="accuracy, global model, split 43",
        value=ours[0][0],
        unit="",
        goal=0.80,
        reference=LOCAL,
        reference_value=local[0][0],
        conditions=f"mean of four clients; majority class {majorities[0][0]:.3f}",
    )
    for name, at, goal, values, more in (
        ("accuracy, global model", 0, None, ours, True),
        ("accuracy, home intercept", 0, 0.82, homes, True),
        ("AUROC, global model", 1, 0.81, ours, True),
        ("Brier score, global model", 2, 0.140, ours, False),
        ("Brier score, home intercept", 2, None, homes, False),
    ):
        yield result(
            name,
            [each[at] for each in values],
            f"majority class {mean(each[at] for each in majorities):.3f}",
            goal=goal,
            more_is_better=more,
            reference_value=mean(each[at] for each in local),
            **beside,
        )
    for label, at in ((f"at the same ridge {RIDGE}", same), (f"at the ridge best for it, {LOCAL_RIDGES[best]}", best)):
        gained = [our[1] - own[at][1] for our, own in zip(ours, owns, strict=True)]
        yield result(f"AUROC gained over own models, {label}", gained, "Switzerland omitted", goal=0.02)


def private(splits: int) -> Iterator[Result]:
    """Declared ranges, clipped and noisy gradients, against Newton without noise on the same splits."""
    noise = least_noise(EPSILON, RATE_UNIT, 1, PRIVATE_ROUNDS, DELTA)
    settings: dict[str, Setting] = {
        "noise": noise,
        "steps": 1,
        "learning_rate": BILLION,
        "ridge": round(RIDGE * BILLION),
        "clip": BILLION,
    }
    study = road.Study("logistic", Rule.FEDAVG, PRIVATE_ROUNDS, Parameters(), settings)
    whole = tables()
    lost: list[tuple[float, float]] = []
    noisy_home, noisy_brier = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + splits):
        four = clients(whole, seed)
        scaled = road.scales(four)
        open_model = road.learn(road.newton_study(RIDGE, ROUNDS, scaled), four)
        without, _ = global_and_home(four, scaled, open_model)
        with_noise, refitted = global_and_home(four, {}, road.learn(study, four))
        lost.append((without[0] - with_noise[0], without[1] - with_noise[1]))
        noisy_home.append(refitted[0])
        noisy_brier.append(with_noise[2])
    epsilon = spent(noise, RATE_UNIT, 1, PRIVATE_ROUNDS, DELTA) / 1e6
    said = f"epsilon {epsilon:.3f}, delta 1e-{DELTA}: noise {noise / 1e6:.2f} x clip 1, {PRIVATE_ROUNDS} rounds"
    yield result("accuracy lost to privacy", [a for a, _ in lost], said, goal=0.01, more_is_better=False)
    yield result("AUROC lost to privacy", [b for _, b in lost], said, goal=0.01, more_is_better=False)
    yield result("accuracy, private, home intercept", noisy_home, said)
    yield result("Brier score, private global model", noisy_brier, said, more_is_better=False)


def newcomers(splits: int) -> Iterator[Result]:
    """Each site in turn left out of the learning: never seen, and with so few rows of its own as to refit by."""
    whole = tables()
    unseen: dict[str, list[Judged]] = {site: [] for site in whole}
    twenty: dict[str, list[Judged]] = {site: [] for site in whole}
    alone: dict[str, list[Judged]] = {site: [] for site in whole}
    for seed in range(FIRST_SEED, FIRST_SEED + splits):
        four = clients(whole, seed)
        for client in four:
            others = [each for each in four if each.site != client.site]
            settings = road.scales(others)
            w = road.learn(road.newton_study(RIDGE, ROUNDS, settings), others)
            few = road.fewer(client, OWN_ROWS)
            train, test = road.rows_of(few, settings)
            unseen[client.site].append(judge(test, w))
            twenty[client.site].append(judge(test, home(train, w)))
            mine, judged = road.rows_of(few, road.own_scales(few))
            alone[client.site].append(judge(judged, own_model(mine, RIDGE)))
    for site in whole:
        kept = "the other three learnt together"
        yield result(
            f"accuracy, {site} with {OWN_ROWS} own rows (home intercept)",
            [each.accuracy for each in twenty[site]],
            kept,
            reference=f"its own model of {OWN_ROWS} rows",
            reference_value=mean(each.accuracy for each in alone[site]),
        )
        yield result(f"accuracy, {site} never seen", [each.accuracy for each in unseen[site]], kept)
        if site != ONE_CLASS:
            yield result(
                f"AUROC, {site} never seen",
                [each.auroc for each in unseen[site]],
                kept,
                reference=f"its own model of {OWN_ROWS} rows",
                reference_value=mean(each.auroc for each in alone[site]),
            )
