"""Twin patients: the same records, but one has records that are withheld. Nothing in any answer tells which.

Form, size and refusal are compared over many pairs, with a real grid of time; the time that answers take is compared
by a rank test that asks whether an asker could tell the twins apart, so a slow machine slows both.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from math import erfc, sqrt

from commonward.ledger.encoding import decode
from commonward.workflows.member import Practice
from commonward.workflows.memory import SteppedPace
from commonward.workflows.messages import ASK, Answer, Delivery, Why
from commonward.workflows.requests import RequestRefused
from tests.consortium import Consortium, Person, answers_between, deny, observation, permit, psychiatric
from tests.scenarios.calm import Calm

GRID_MS = 20


class SpentPace(SteppedPace):
    """The grid of the real one, without the wait: keeps how many steps of the grid each answer took."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.spent: list[float] = []

    def start(self) -> float:
        return time.process_time()

    async def settle(self, started: float, grid_ms: int) -> None:
        await super().settle(started, grid_ms)
        spent = time.process_time() - started  # of this process alone: neighbours on the machine do not count
        self.spent.append(spent)
        self.steps.append(int(spent * 1000 // grid_ms) + 1)


def paced(c: Consortium) -> SpentPace:
    pace = SpentPace()
    c.north.pace = pace
    c.north.wakes()
    return pace


async def twins(c: Consortium, pairs: int, *, withheld: int = 1, shown: int = 2) -> list[tuple[Person, Person]]:
    """Pairs of patients with the same open records and consents; the first of each has withheld records besides."""
    found = []
    for number in range(pairs):
        pair = []
        for kind in ("a", "b"):
            name = f"{kind}{number:03}"
            person = await c.patient(name, at=("north",))
            pieces = [observation(f"{name}-{n}", name) for n in range(shown)]
            if kind == "a":
                pieces += [psychiatric(f"{name}-p{n}", name) for n in range(withheld)]
            await c.north.takes(*pieces)
            await person.grants(permit("south"), deny(classes=frozenset({"mental-health"})))
            pair.append(person)
        found.append((pair[0], pair[1]))
    await c.north.ticks()
    return found


def shape(answer: bytes) -> object:
    """An answer without its content: the types, keys and lengths in it, and in what it delivers."""

    def outline(value: object) -> object:
        if isinstance(value, dict):
            return {key: outline(each) for key, each in value.items()}
        if isinstance(value, list):
            return [outline(each) for each in value]
        return type(value).__name__, len(value) if isinstance(value, bytes | str) else 0

    parsed = Answer.parse(answer)
    if parsed.delivery is None:
        return len(answer), outline(decode(answer))
    fields = decode(answer)  # the padding makes up for how many digits the mark's index has: all can count them
    assert isinstance(fields, dict)
    return len(answer), sorted(fields), outline(decode(Delivery.parse(parsed.delivery).to_bytes()))


def told_apart(first: Sequence[float], second: Sequence[float]) -> float:
    """Mann-Whitney: the probability that two samples of one source lie at least as far apart (normal, with ties)."""
    both = sorted((*first, *second))
    rank = {value: both.index(value) + (both.count(value) + 1) / 2 for value in set(both)}
    n, m = len(first), len(second)
    u = sum(rank[value] for value in first) - n * (n + 1) / 2
    ties = sum(both.count(value) ** 3 - both.count(value) for value in set(both))
    spread = sqrt(n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1))))
    return 1.0 if spread == 0 else erfc(abs(u - n * m / 2) / spread / sqrt(2))


async def ask_all(c: Consortium, pairs: Sequence[tuple[Person, Person]], seed: int = 3) -> list[tuple[Person, int]]:
    """Both of each pair ask once, in an order by lot. Returns who asked, with the place of the answer."""
    chance, order = random.Random(seed), [person for pair in pairs for person in pair]
    chance.shuffle(order)
    asked = []
    for person in order:
        before = len(answers_between(c, ASK))
        with suppress(RequestRefused):
            await c.south.fetches(person, "north")
        asked.append((person, before))
    return asked


async def test_twins_get_answers_of_one_form_and_size_in_one_class_of_time() -> None:
    async with Calm(practice=Practice(cosign_wait_ms=60_000, answer_grid_ms=GRID_MS)) as c:
        pairs = await twins(c, 16)
        pace = paced(c)
        places = {person.name: place for person, place in await ask_all(c, pairs)}
        answers = answers_between(c, ASK)
        for with_withheld, without in pairs:
            one, other = answers[places[with_withheld.name]], answers[places[without.name]]
            assert len(one) == len(other)
            assert shape(one) == shape(other)
        first = [float(pace.steps[places[a.name]]) for a, _ in pairs]
        second = [float(pace.steps[places[b.name]]) for _, b in pairs]
        assert told_apart(first, second) > 1e-4, f"{first} against {second}"
        assert len(pace.steps) == len(answers) == 32


async def test_a_patient_whose_records_are_all_withheld_and_one_without_any_are_refused_alike() -> None:
    async with Calm(practice=Practice(cosign_wait_ms=60_000, answer_grid_ms=GRID_MS)) as c:
        pairs = await twins(c, 12, withheld=2, shown=0)
        pace = paced(c)
        places = {person.name: place for person, place in await ask_all(c, pairs)}
        answers = answers_between(c, ASK)
        assert len(set(answers)) == 1, "byte for byte"
        assert Answer.parse(answers[0]).why is Why.NOTHING
        first = [float(pace.steps[places[a.name]]) for a, _ in pairs]
        second = [float(pace.steps[places[b.name]]) for _, b in pairs]
        assert told_apart(first, second) > 1e-4, f"{first} against {second}"


async def test_what_twins_leave_on_the_ledger_is_alike() -> None:
    async with Calm() as c:
        pairs = await twins(c, 4)
        sizes = []
        for pair in pairs:
            for person in pair:
                before = len(c.north.node.entries(0, 10_000))
                await c.south.fetches(person, "north")
                sizes.append([(entry.kind, len(entry.raw)) for entry in c.north.node.entries(0, 10_000)[before:]])
        assert all(each == sizes[0] for each in sizes), "a mark and a receipt, of one size"


async def test_a_withheld_record_that_others_refer_to_takes_them_along_and_is_not_named() -> None:
    """What refers to a withheld record is withheld too, so no dangling reference tells of it."""
    async with Calm() as c:
        (pair,) = await twins(c, 1)
        a, b = pair
        await c.north.takes(
            observation("a000-ref", "a000", hasMember=[{"reference": "Observation/a000-p0"}]),
        )
        await c.north.ticks()
        shown = []
        for person in (a, b):
            copy = await c.south.fetches(person, "north")
            shown.append(await c.south.shows(person, copy.tag))
        assert len(shown[0]) == len(shown[1]) == 2
        assert not any(b"a000-p0" in each.sent.stored for each in shown[0])


async def test_every_answer_leaves_on_the_grid() -> None:
    """The grid itself, with a clock on the wall: nothing leaves before the next step of it."""
    from commonward.apps.wiring import GridPace

    pace = GridPace()
    for work in (0.0, 0.004, 0.011):
        started = pace.start()
        await asyncio.sleep(work)
        await pace.settle(started, 10)
        spent = (time.monotonic() - started) * 1000
        assert spent >= 10 * (int(work * 100) + 1) - 0.5, "late on a busy machine, never early"


def test_the_rank_test_tells_apart_what_differs() -> None:
    """The control: so that the tests above can fail."""
    assert told_apart([1.0] * 12 + [2.0] * 12, [1.0] * 12 + [2.0] * 12) > 0.9
    assert told_apart([1.0] * 20 + [2.0] * 4, [2.0] * 20 + [3.0] * 4) < 1e-4
    assert told_apart([1.0] * 24, [1.0] * 24) == 1.0


async def test_how_long_a_refusal_takes_does_not_show_a_long_withheld_history() -> None:
    """All that is held is opened before it is decided; refusals leave on a grid that is coarse beside that work."""
    async with Calm() as c:
        (pair,) = await twins(c, 1, withheld=400, shown=0)
        pace = paced(c)
        await ask_all(c, [pair])
        assert max(pace.spent) > 2 * min(pace.spent), "the control: the work does differ"
        assert pace.steps == [1, 1], f"{pace.spent} on a grid of {pace.settled} ms"


async def test_how_long_an_offer_takes_shows_about_how_much_is_held() -> None:
    """A stated leak: an offer leaves as soon as it can, so a long withheld history shows, in steps of the grid."""
    async with Calm() as c:
        (pair,) = await twins(c, 1, withheld=400, shown=1)
        pace = paced(c)
        asked = await ask_all(c, [pair] * 3)
        much = min(pace.spent[place] for person, place in asked if person is pair[0])
        little = min(pace.spent[place] for person, place in asked if person is pair[1])
        assert much > 1.3 * little
