"""The linking attack: North, with the whole ledger, its own vault and all that passed through it, tries to find out
which patient of South is which patient of the clinic. With a handle for each custodian it does no better than chance.

The attacker is given more than it could know: which consent on the ledger was for which custodian. From there it uses
every byte, the order and time of everything, sizes, carriers, keys, and every message it ever saw. Two controls show
that the same attack succeeds where the page says that it would: one handle used everywhere, and withdrawals signed at
one moment.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import comb

from commonward.ledger.consent import Consent, Enrol, Withdraw
from commonward.ledger.ids import ConsentId
from commonward.ledger.transactions import Release
from tests.consortium import Consortium, Person, observation, permit
from tests.scenarios.calm import Calm
from tests.scenarios.reader import Seen, read

HOUR = 3_600_000
GRAM = 5
FEW = 4
"""Pieces of bytes that more dossiers share than this say nothing of two of them."""


# ------------------------------------------------------------------------------------------------ what the world does


@dataclass
class World:
    """What happened: for each patient the consent at South and the one at the clinic, which is the answer."""

    consortium: Consortium
    pairs: list[tuple[bytes, bytes]]


class Life:
    """Patients of South and of the clinic: who they are, and what they do."""

    def __init__(self, c: Consortium, *, one_handle: bool = False) -> None:
        self.c = c
        self.one_handle = one_handle
        self.persons: dict[tuple[int, str], Person] = {}
        self.consents: dict[tuple[int, str], ConsentId] = {}

    async def enrols(self, number: int, house: str) -> None:
        known = [person for (other, _), person in self.persons.items() if other == number]
        if self.one_handle and known:
            self.persons[number, house] = known[0]
            self.c.link(known[0], house)
        else:
            self.persons[number, house] = await self.c.patient(f"{number} {house}", at=(house,))
        await self.c.houses[house].takes(observation(f"o {number} {house}", self.persons[number, house].name))

    async def grants(self, number: int, house: str) -> None:
        self.persons[number, house].through(house)
        self.consents[number, house] = (await self.persons[number, house].grants(permit(_other(house)))).consent

    async def is_released(self, number: int, house: str) -> None:
        person = self.persons[number, house]
        await self.c.houses[_other(house)].fetches(person, house, consent=self.consents[number, house])

    async def withdraws(self, number: int, house: str) -> None:
        self.persons[number, house].through(house)
        await self.persons[number, house].client.withdraw(self.consents[number, house], "no longer")

    def world(self) -> World:
        numbers = sorted({number for number, _ in self.consents})
        return World(self.c, [(self.consents[n, "south"], self.consents[n, "clinic"]) for n in numbers])


def _other(house: str) -> str:
    return "clinic" if house == "south" else "south"


async def live(c: Consortium, people: int, seed: int = 1) -> World:
    """Each handle at times of its own over a day: enrolled, consents, is released, and a third withdraws."""
    chance, life = random.Random(seed), Life(c)
    plan: list[tuple[int, int, str]] = []
    for number in range(people):
        for house in ("south", "clinic"):
            at = chance.randrange(12 * HOUR)
            for step in range(4 if chance.random() < 1 / 3 else 3):
                plan.append((at, number * 4 + step, house))
                at += chance.randrange(3 * HOUR) + 1
    began = c.engine.clock.now()
    for at, what, house in sorted(plan):
        await c.engine.settle()
        await c.engine.pass_time(max(0, began + at - c.engine.clock.now()))
        await (life.enrols, life.grants, life.is_released, life.withdraws)[what % 4](what // 4, house)
    return life.world()


async def attackers_patients(c: Consortium, count: int) -> None:
    """North has patients of its own, who are at South too, and fetches their records from there."""
    for number in range(count):
        person = await c.patient(f"own {number}", at=("north",))
        await c.north.takes(observation(f"n {number}", f"own {number}"))
        there = await c.patient(f"own {number} south", at=("south",))
        await c.south.takes(observation(f"s {number}", f"own {number} south"))
        await person.grants(permit("south"))
        given = await there.grants(permit("north"))
        await c.north.fetches(there, "south", consent=given.consent)


# ---------------------------------------------------------------------------------------------- what the attacker has


@dataclass(frozen=True)
class Dossier:
    """All that the ledger ties to one consent: through its handle, its key, and its id."""

    handle: bytes
    seen: tuple[Seen, ...]
    marks: tuple[int, ...]  # times of the custodian's marks after the consent

    @property
    def bytes(self) -> bytes:
        return b"".join(each.transaction.raw for each in self.seen)

    def time(self, kind: type) -> int | None:
        return next((each.time for each in self.seen if isinstance(each.transaction.payload, kind)), None)

    def place(self, kind: type) -> int | None:
        return next((each.place for each in self.seen if isinstance(each.transaction.payload, kind)), None)


def dossiers(ledger: Sequence[Seen], consents: Sequence[bytes], custodian: str) -> list[Dossier]:
    handles = {
        each.transaction.payload.id: each.transaction.payload.handle
        for each in ledger
        if isinstance(each.transaction.payload, Consent)
    }
    of_handle: dict[bytes, list[Seen]] = {}
    marks = [
        each.time for each in ledger if isinstance(each.transaction.payload, Release) and each.carrier == custodian
    ]
    for each in ledger:
        payload = each.transaction.payload
        if isinstance(payload, Enrol | Consent):
            of_handle.setdefault(payload.handle, []).append(each)
        elif isinstance(payload, Withdraw):
            of_handle.setdefault(handles[payload.id], []).append(each)
    found = []
    for consent in consents:
        seen = tuple(of_handle[handles[consent]])  # type: ignore[index]
        at = next(each.time for each in seen if getattr(each.transaction.payload, "id", None) == consent)
        found.append(Dossier(handles[consent], seen, tuple(time for time in marks if time >= at)[:1]))  # type: ignore[index]
    return found


def what_passed_through(c: Consortium, member: str) -> list[bytes]:
    """Every message the member sent or got, every paper of its vault and every bundle it received, opened."""
    house = c.houses[member]
    said = [each for asker, asked, _, *both in c.peers.carried if member in (asker, asked) for each in both]
    sealing = house.office.member.sealing
    papers = []
    for (drawer, key), (sealed, _) in house.vault._papers.items():
        try:
            papers.append(sealing.open(drawer, key, sealed))
        except ValueError:
            papers.append(sealed)
    bundles = [house.office.requests.bundle(copy).to_bytes() for _, copy in house.office.requests.copies.every()]
    return [*said, *papers, *bundles]


# ------------------------------------------------------------------------------------------------------- its attacks

Score = Callable[[Dossier, Dossier], float]


def grams(data: bytes) -> frozenset[bytes]:
    return frozenset(data[at : at + GRAM] for at in range(len(data) - GRAM + 1))


def near(first: int | None, second: int | None) -> float:
    return (
        0.0 if first is None and second is None else -1e18 if first is None or second is None else -abs(first - second)
    )


def attacks(left: Sequence[Dossier], right: Sequence[Dossier], passed: Sequence[bytes]) -> dict[str, Score]:
    """Each says how alike two dossiers are, by one thing that might give a person away; `together` adds them up."""
    shared = Counter(gram for each in {d.handle: d for d in (*left, *right)}.values() for gram in grams(each.bytes))
    of = lru_cache(maxsize=None)(lambda d: frozenset(g for g in grams(d.bytes) if shared[g] <= FEW))
    mentions = lru_cache(maxsize=None)(
        lambda d: frozenset(n for n, message in enumerate(passed) if d.handle in message or _names(d) & grams8(message))
    )

    def digits(data: bytes) -> int:
        return int.from_bytes(data[:16], "big")

    alone: dict[str, Score] = {
        "bytes in common": lambda a, b: float(len(of(a) & of(b))) + 1000.0 * (a.handle == b.handle),
        "seen in one message": lambda a, b: float(len(mentions(a) & mentions(b))),
        "enrolled at about the time": lambda a, b: near(a.time(Enrol), b.time(Enrol)),
        "consented at about the time": lambda a, b: near(a.time(Consent), b.time(Consent)),
        "withdrew at about the time": lambda a, b: near(a.time(Withdraw), b.time(Withdraw)),
        "released at about the time": lambda a, b: near(*(d.marks[0] if d.marks else None for d in (a, b))),
        "stand near each other": lambda a, b: near(a.place(Consent), b.place(Consent)),
        "sizes": lambda a, b: (
            -float(
                sum(abs(x.size - y.size) for x, y in zip(a.seen, b.seen, strict=False))
                + 1000 * abs(len(a.seen) - len(b.seen))
            )
        ),
        "handles near each other": lambda a, b: -float(abs(digits(a.handle) - digits(b.handle))),
        "same carriers, keys and ends": lambda a, b: float(
            sum(
                (x.carrier == y.carrier) + (x.transaction.proof_kind == y.transaction.proof_kind)
                for x, y in zip(a.seen, b.seen, strict=False)
            )
            + (_end(a) == _end(b))
        ),
    }
    ranks = {name: _ranks(score, left, right) for name, score in alone.items()}

    def together(a: Dossier, b: Dossier) -> float:
        return sum(table[id(a), id(b)] for table in ranks.values())

    return {**alone, "together": together}


def _names(d: Dossier) -> frozenset[bytes]:
    return frozenset(piece for each in d.seen for piece in (each.transaction.digest[:8], each.author[:8]))


@cache
def grams8(data: bytes) -> frozenset[bytes]:
    return frozenset(data[at : at + 8] for at in range(len(data) - 7))


def _end(d: Dossier) -> int:
    return max(each.transaction.payload.end for each in d.seen if isinstance(each.transaction.payload, Consent))


def _ranks(score: Score, left: Sequence[Dossier], right: Sequence[Dossier]) -> dict[tuple[int, int], float]:
    """1 for the most alike, falling to 0; equal scores share their rank."""
    table = {}
    for a in left:
        order = sorted({score(a, b) for b in right})
        place = {value: n / max(1, len(order) - 1) for n, value in enumerate(order)}
        for b in right:
            table[id(a), id(b)] = place[score(a, b)]
    return table


@dataclass(frozen=True)
class Measured:
    """`hits`: how often the true one was ranked first of all. `pairs`: how often it beat one false one."""

    hits: int
    pairs: int
    of: int


def measure(score: Score, left: Sequence[Dossier], right: Sequence[Dossier], seed: int = 7) -> Measured:
    """left[n] and right[n] are one person. Ties fall by lot."""
    chance = random.Random(seed)
    hits = pairs = 0
    for n, a in enumerate(left):
        lots = [(score(a, b), chance.random()) for b in right]
        hits += max(range(len(right)), key=lambda m: lots[m]) == n
        false = chance.choice([m for m in range(len(right)) if m != n])
        pairs += lots[n] > lots[false]
    return Measured(hits, pairs, len(left))


def interval(trials: int, p: float, outside: float = 1e-4) -> tuple[int, int]:
    """Within which a binomial count lies but for `outside` of the time."""
    mass = [comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1)]
    low = high = 0
    below = 0.0
    for k in range(trials + 1):
        if below + mass[k] > outside / 2:
            low = k
            break
        below += mass[k]
    above = 0.0
    for k in range(trials, -1, -1):
        if above + mass[k] > outside / 2:
            high = k
            break
        above += mass[k]
    return low, high


def attack(world: World) -> dict[str, Measured]:
    ledger = list(read(world.consortium))
    left = dossiers(ledger, [south for south, _ in world.pairs], "south")
    right = dossiers(ledger, [clinic for _, clinic in world.pairs], "clinic")
    passed = what_passed_through(world.consortium, "north")
    return {name: measure(score, left, right) for name, score in attacks(left, right, passed).items()}


# ---------------------------------------------------------------------------------------------------------- the tests


async def test_with_a_handle_for_each_custodian_no_attack_does_better_than_chance() -> None:
    async with Calm() as c:
        await attackers_patients(c, 4)
        found = attack(await live(c, 60))
    low, high = interval(60, 1 / 2)
    _, most = interval(60, 1 / 60)
    assert (low, high) == (15, 45) and most <= 8
    for name, measured in found.items():
        assert low <= measured.pairs <= high, f"{name}: {measured}"
        assert measured.hits <= most, f"{name}: {measured}"


async def test_one_handle_used_everywhere_is_linked_at_once() -> None:
    """The control: the same attack, where it must succeed. So the test above can fail."""
    async with Calm() as c:
        life = Life(c, one_handle=True)
        for house in ("south", "clinic"):
            for number in range(12):
                await life.enrols(number, house)
                await life.grants(number, house)
        found = attack(life.world())
    assert found["bytes in common"] == Measured(12, 12, 12)
    assert found["together"].hits > interval(12, 1 / 12)[1]


async def test_withdrawals_signed_at_one_moment_are_linked_by_their_time() -> None:
    """A stated leak: who withdraws everywhere at once shows which handles are one person's."""
    async with Calm() as c:
        life = Life(c)
        for house in ("south", "clinic"):
            for number in range(12):
                await life.enrols(number, house)
                await life.grants(number, house)
        for number in range(12):
            await life.withdraws(number, "south")
            await life.withdraws(number, "clinic")
            await c.engine.settle()
            await c.engine.pass_time(60_000)
        found = attack(life.world())
    assert found["withdrew at about the time"].hits >= 11
    assert found["enrolled at about the time"].hits <= interval(12, 1 / 12)[1]


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    low, high = interval(60, 0.5)
    outside = sum(comb(60, k) for k in range(61) if not low <= k <= high) / 2**60
    assert outside <= 1e-4 < outside + 2 * comb(60, low) / 2**60


def test_a_score_that_says_nothing_is_at_chance() -> None:
    blank = [Dossier(bytes([n]) * 16, (), ()) for n in range(60)]
    measured = measure(lambda a, b: 0.0, blank, blank)
    low, high = interval(60, 0.5)
    assert low <= measured.pairs <= high and measured.hits <= interval(60, 1 / 60)[1]
