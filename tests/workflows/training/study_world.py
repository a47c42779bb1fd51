"""A study in memory: four sites learn a line together, each from its own consented points, with a learner of numpy.

    async with Consortium() as c:
        world = await Study.begun(c)                 proposed, approved, consented, enrolled
        await world.works(until=world.over)          every site's loop, pass after pass, until it is closed
        assert world.model() == world.plainly()      what a plain loop over the same points gives

Sites die and wake (`world.wakes`), are away (`world.away`), and are false where a test makes them so.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from commonward.ledger.consent import Assurance, Consent, Research, Withdraw
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import BlockTime, ConsentId, MemberId, StudyId
from commonward.ledger.rounds import Mode, ProposeStudy, Rule, Status, Waits
from commonward.ledger.rounds.study import Round
from commonward.ledger.rounds.study import Study as Standing
from commonward.records.model import EMPTY_MODEL, Model, Tensor
from commonward.records.rule_parameters import Parameters
from commonward.records.table import Column, Table, Type
from commonward.records.updates import Kind, delta_tensors, sum_tensors
from commonward.workflows.memory import Killed
from commonward.workflows.study_papers import Noise, Protocol, StudyPapers, settings_bytes
from commonward.workflows.studying import Proposal
from commonward.workflows.training.cohorts import Rows
from commonward.workflows.training.loop import Training
from commonward.workflows.training.ports import Description, LearnerFailed, Setting, Task, Trained
from tests.consortium import Consortium, House
from tests.ledgerkit import commitment, handle_of

SITES = ("clinic", "health", "north", "south")
DAY = 86_400_000
MINUTE = 60_000
PATIENTS = 10
LEARNER = commitment("learner of a line")
COHORT = b'{"key": "patient", "views": []}'
FIRST = Model.from_floats({"line": np.zeros(2)})
_COLUMNS = (Column("x", Type.DECIMAL), Column("y", Type.DECIMAL))


def points(site: str, count: int = PATIENTS) -> list[tuple[float, float]]:
    """y = 2 x + 1, each site's x and noise its own."""
    rng = np.random.default_rng(SITES.index(site))
    xs = rng.uniform(-1, 1, count) + 0.1 * SITES.index(site)
    return [(float(x), float(2 * x + 1 + e)) for x, e in zip(xs, rng.normal(0, 0.1, count), strict=True)]


def step(line: np.ndarray[Any, Any], rows: Sequence[tuple[float, float]]) -> np.ndarray[Any, Any]:
    """One step of least squares over these points: the change."""
    x, y = np.array(rows).T
    error = line[0] * x + line[1] - y
    change: np.ndarray[Any, Any] = -0.5 * np.array([np.mean(error * x), np.mean(error)])
    return change


@dataclass
class Line:
    """`ports.Learner`: y = a x + b. `fails`: how often it fails yet. `trained`: what it was asked for."""

    fails: int = 0
    trained: list[Task] = field(default_factory=list)
    closed: bool = False
    train_rows: list[tuple[float, float]] = field(default_factory=list)
    test_rows: list[tuple[float, float]] = field(default_factory=list)

    def describe(self) -> Description:
        return Description("line", LEARNER, "a line", ("x", "y"), {})

    def load(self, train: Table, test: Table) -> None:
        self.train_rows = [(float(x), float(y)) for x, y in train.rows]  # type: ignore[arg-type]
        self.test_rows = [(float(x), float(y)) for x, y in test.rows]  # type: ignore[arg-type]

    def first_model(self, settings: Mapping[str, Setting]) -> Model:
        return FIRST

    def train(self, base: Model, task: Task) -> Trained:
        self.trained.append(task)
        if self.fails:
            self.fails -= 1
            raise LearnerFailed("it fell over")
        if task.rule is Rule.SUM:
            sums = np.array([len(self.train_rows), sum(x > 0 for x, _ in self.train_rows)], np.int64)
            return Trained(Kind.SUM, 1, sum_tensors({"counts": sums}))
        change = step(base.weights()["line"], self.train_rows)
        return Trained(Kind.DELTA, len(self.train_rows), delta_tensors({"line": change}))

    def evaluate(self, model: Model, task: Task) -> tuple[Tensor, ...]:
        a, b = model.weights()["line"]
        close = sum(abs(a * x + b - y) < 1 for x, y in self.test_rows)
        return sum_tensors({"close": np.array([close, len(self.test_rows)], np.int64)})

    def close(self) -> None:
        self.closed = True


@dataclass
class Holding:
    """`Cohorts` of one site: a point for each consent that is open."""

    house: House
    points: dict[bytes, tuple[float, float]]

    async def rows(self, study: StudyId, papers: StudyPapers) -> Rows:
        reading = self.house.office.member.reading
        open_ = [each for each in sorted(self.points) if reading.consent(ConsentId(each)) is not None]
        table = Table(_COLUMNS, tuple(self.points[each] for each in open_))
        return Rows(table, tuple(commitment("record", each) for each in open_), tuple(open_))


class Study:
    """One study over a consortium."""

    def __init__(self, consortium: Consortium, sites: Sequence[str] = SITES) -> None:
        self.c = consortium
        self.id = StudyId(bytes(16))
        self.sites = tuple(sites)
        self.trainings: dict[str, Training] = {}
        self.holdings: dict[str, Holding] = {}
        self.learners: dict[str, Line] = {each: Line() for each in sites}
        self.away: set[str] = set()
        self.killed: list[str] = []

    @classmethod
    async def begun(
        cls,
        c: Consortium,
        *,
        mode: Mode = Mode.OPEN,
        rule: Rule = Rule.FEDAVG,
        rounds: int = 3,
        sites: Sequence[str] = SITES,
        parameters: Parameters | None = None,
        test_share: int = 200,
        evaluate_every: int = 1,
        contributions: bool | None = None,
        per_site: bool | None = None,
        settings: Mapping[str, Setting] | None = None,
        noise: Noise | None = None,
        **bent: Any,
    ) -> "Study":
        """Proposed by north, approved, with consents at every site, and enrolled."""
        for node in c.engine.nodes.values():
            node._submit_ms = 60_000  # nothing may turn on how fast the machine is
        self = cls(c, sites)
        protocol = Protocol(
            "A line", "to learn it", "line", settings_bytes(settings or {"rate": 500}),
            (parameters or Parameters(f=0)).to_bytes(), test_share, evaluate_every, noise,
            contributions=contributions, per_site=per_site,
        )  # fmt: skip
        first = EMPTY_MODEL if rule is Rule.SUM else FIRST

        def terms(study: StudyId, paper: Digest, cohort: Digest, viewers: Digest) -> ProposeStudy:
            return replace(
                ProposeStudy(
                    study, mode, rule, 0, LEARNER, first.digest, 3, 1, rounds,
                    Waits(DAY, 0, 10 * MINUTE, 8 * MINUTE, DAY),
                    BlockTime(c.north.office.member.ledger_now() + 30 * DAY), paper, cohort, viewers,
                    mode == Mode.OPEN, len(sites),
                ),
                **bent,
            )  # fmt: skip

        wanted = Proposal(protocol, COHORT, (MemberId("shield"),), terms)
        self.id, _ = await c.north.office.studying.propose(wanted)
        await c.engine.settle()
        for name in SITES[:3]:
            house = c.houses[name]
            officer = house.staff("ethics-officer", "e1")
            await house.office.studying.vote(self.id, True, mode == Mode.OPEN, "sound", officer)
            await c.engine.settle()
        await self._consents()
        for name in sites:
            await self.enrols(name)
            self.wakes(name)
        await c.engine.settle()
        return self

    async def _consents(self) -> None:
        wanted = []
        for site in self.sites:
            held = {}
            for n, point in enumerate(points(site)):
                consent = self.consent(site, n)
                held[bytes(consent)] = point
                end = BlockTime((self.c.engine.clock.now() // DAY + 90) * DAY)
                payload = Consent(
                    consent, handle_of(f"{site} {n}"), Assurance.WITNESSED, end, commitment("rules"),
                    commitment("recipients"), commitment("form"), False, Research(self.id, MemberId(site)),
                )  # fmt: skip
                node = self.c.engine.nodes[MemberId(site)]
                wanted.append(node.submit(self.c.engine.sign(payload, by=site)))
            self.holdings[site] = Holding(self.c.houses[site], held)
        assert {each.code for each in await asyncio.gather(*wanted)} == {0}

    def consent(self, site: str, n: int) -> ConsentId:
        return ConsentId(commitment("research", site, n)[:16])

    async def withdraws(self, site: str, n: int) -> None:
        """One patient of a site takes the consent back."""
        payload = Withdraw(self.consent(site, n), commitment("reason"))
        done = await self.c.engine.nodes[MemberId(site)].submit(self.c.engine.sign(payload, by=site))
        assert done.code == 0
        await self.c.engine.settle()

    async def enrols(self, name: str) -> None:
        house = self.c.houses[name]
        officer = house.staff("ethics-officer", "e1")
        await house.office.studying.enrol(self.id, "line", LEARNER, "we take part", bytes(32), officer)

    def wakes(self, name: str) -> Training:
        """A new process over the same vault and node."""
        house = self.c.houses[name]
        if name in self.trainings:
            self.trainings[name].close()
            house.wakes()
        made = Training(house.office, self.holdings[name], lambda learner, approved: self.learners[name])
        self.trainings[name] = made
        house.office.desk.handlers.update(made.handlers)
        self.away.discard(name)
        return made

    def close(self) -> None:
        for each in self.trainings.values():
            each.close()

    # going on

    async def works(self, until: "Callable[[], bool]", passes: int = 80, minutes: int = 0) -> None:
        """Every site's loop, pass after pass; one that is killed wakes again before the next. `minutes`: that pass
        between two passes."""
        for _ in range(passes):
            if until():
                return
            await self.once()
            if minutes:
                await self.c.engine.pass_time(minutes * MINUTE)
        waits = {name: each._waits for name, each in self.trainings.items()}
        raise AssertionError(f"not there after {passes} passes: {self.standing.status.name}, {self.round}, {waits}")

    async def once(self) -> None:
        there = [name for name in self.trainings if name not in self.away]
        done = await asyncio.gather(*(self.trainings[name].tick() for name in there), return_exceptions=True)
        for name, outcome in zip(there, done, strict=True):
            if isinstance(outcome, Killed):
                self.killed.append(str(outcome))
                self.wakes(name)
            elif isinstance(outcome, BaseException):
                raise outcome
        await self.c.engine.pass_time(1)  # whoever orders looks whether something is due

    async def comes(self, what: "Callable[[], bool]") -> None:
        """Waits for something that is under way, without a pass: 90 s at most."""
        async with asyncio.timeout(90):
            while not what():
                await self.c.engine.pass_time(50)

    def leaves_alone(self, name: str) -> None:
        """The site's loop stands still, and nobody reaches it."""
        self.away.add(name)
        self.c.peers.cut(MemberId(name))

    def comes_back(self, name: str) -> None:
        self.away.discard(name)
        self.c.peers.mend(MemberId(name))

    # looking

    @property
    def standing(self) -> Standing:
        return self.c.north.office.studying.study(self.id)

    @property
    def round(self) -> Round | None:
        """The attempt under way, or the last one."""
        rounds, study = self.c.north.office.studying.rounds, self.standing
        return rounds.round(self.id, study.round + 1) or rounds.round(self.id, study.round)

    def final(self, number: int) -> Round:
        found = self.c.north.office.studying.rounds.round(self.id, number)
        assert found is not None and found.final is not None
        return found

    def over(self) -> bool:
        return self.standing.status == Status.CLOSED

    def at(self, number: int) -> Callable[[], bool]:
        """Until so many rounds are final."""
        return lambda: self.standing.round >= number

    def computed(self, site: str, number: int) -> bool:
        """Whether a site has made a final round's model itself."""
        paper = self.trainings[site]._site.store.final(self.id, number)
        return paper is not None and bool(paper.metrics_salt)

    def added_up(self, site: str) -> list[int]:
        """How many test rows were counted over all sites, by round, as far as a site knows."""
        progress = self.trainings[site].progress(self.id)
        assert progress is not None
        return [int(each.all_sites[0].integers[1]) for each in progress.rounds if each.all_sites]

    async def learnt(self, site: str = "north") -> np.ndarray[Any, Any]:
        """The model of the last final round, as a site has it."""
        found = await self.trainings[site].model(self.id)
        assert found is not None
        return found.weights()["line"]

    def rows(self, site: str) -> list[tuple[float, float]]:
        """What this site's learner was given last."""
        return self.learners[site].train_rows

    def kept(self, site: str) -> list[tuple[float, float]]:
        """The rows that rest in this site's vault."""
        tables = self.trainings[site]._site.store.tables(self.id)
        parts = () if tables is None else (tables.train, tables.test)
        return [(float(x), float(y)) for part in parts for x, y in Table.parse(part).rows]  # type: ignore[arg-type]

    def plainly(
        self, rounds: int, sites: Sequence[str] | None = None, start: np.ndarray[Any, Any] | None = None
    ) -> np.ndarray[Any, Any]:
        """A loop without any of this, in float64: the weighted mean of the sites' steps, over the same rows."""
        line = np.zeros(2) if start is None else start
        for _ in range(rounds):
            parts = [(step(line, self.rows(each)), len(self.rows(each))) for each in sites or self.sites]
            line = line + sum(change * n for change, n in parts) / sum(n for _, n in parts)
        return line

    def flagged(self, site: str) -> list[str]:
        """What a site's log says people should look at."""
        return [entry.detail for _, _, entry in self.c.houses[site].office.member.log.entries(1)]
