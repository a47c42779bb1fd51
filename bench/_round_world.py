"""A study of four sites on the embedded engine, on disk, in one process (for `bench.round`).

The sequencer, every node's replica with its block log, tiles and RocksDB, every vault (SQLite, `synchronous = full`)
and the loop of `workflows.training` are those of production; each learner is a Flower ClientApp in a worker process.
Members talk through memory instead of mutual TLS, and their keys are the test kit's.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from bench._heart_data import Client
from commonward.adapters.flower import BUNDLED, FlowerLearner, digest_of
from commonward.adapters.store.vault import SqlVault
from commonward.apps.engines import ChainFiles
from commonward.ledger.consent import Assurance, Consent, Research
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import BlockTime, ConsentId, MemberId, StudyId
from commonward.ledger.parameters import Parameter
from commonward.ledger.rounds import Mode, ProposeStudy, Rule, Waits
from commonward.ledger.rounds.study import Round
from commonward.records.aggregation import Expected, aggregate_received
from commonward.records.model import Model, Tensor
from commonward.records.rule_parameters import Parameters
from commonward.records.table import Table
from commonward.records.updates import Update
from commonward.workflows.study_papers import Protocol, StudyPapers, settings_bytes
from commonward.workflows.studying import Proposal
from commonward.workflows.training.cohorts import Rows
from commonward.workflows.training.loop import Training
from commonward.workflows.training.ports import Description, Setting, Task, Trained
from tests.consortium import Consortium, House
from tests.evidence_world import world_genesis
from tests.ledgerkit import commitment, handle_of
from tests.memory_agreement import MemoryAgreement
from tests.memory_engine import Disk

LEARNER = "heart_newton"
SITES = {"clinic": "hungarian", "health": "switzerland", "north": "cleveland", "south": "va"}
DAY = 86_400_000
MINUTE = 60_000
COHORT = b'{"key": "patient", "views": []}'
PATIENCE_S = 300.0


class Span(NamedTuple):
    """What a round took (s): by the clock on the wall, of this process's processor time, and of its learners'."""

    wall: float
    own: float
    learners: float = 0.0

    @property
    def processor(self) -> float:
        return self.own + self.learners


class Kept:
    """A learner of a site that outlives its study: the loop without a ledger has the same ones, with their rows."""

    def __init__(self, name: str = LEARNER) -> None:
        self._learner = FlowerLearner(name, digest_of(BUNDLED, name))

    def describe(self) -> Description:
        return self._learner.describe()

    def load(self, train: Table, test: Table) -> None:
        self._learner.load(train, test)

    def first_model(self, settings: Mapping[str, Setting]) -> Model:
        return self._learner.first_model(settings)

    def train(self, base: Model, task: Task) -> Trained:
        return self._learner.train(base, task)

    def evaluate(self, model: Model, task: Task) -> tuple[Tensor, ...]:
        return self._learner.evaluate(model, task)

    def close(self) -> None:
        """Not at the study's end."""

    def processor(self) -> float:
        """Seconds of its process so far."""
        return processor_seconds(self._learner.pid)

    def end(self) -> None:
        self._learner.close()


def processor_seconds(pid: int | None) -> float:
    """Of a process so far; 0 where it is not there."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@dataclass(frozen=True)
class Strategy:
    """What both roads do: the same learners, rows, rule and rounds."""

    learners: Mapping[str, Kept]
    clients: Mapping[str, Client]
    first: Model
    parameters: Parameters
    settings: Mapping[str, Setting]
    name: str = LEARNER
    rule: Rule = Rule.NEWTON

    def now(self) -> Span:
        """What was taken so far."""
        learners = sum(each.processor() for each in self.learners.values())
        return Span(time.perf_counter(), time.process_time(), learners)

    def plainly(self, rounds: int, *, at_once: bool = False) -> tuple[Model, list[Span]]:
        """A loop in this process, without a ledger, over the rows that the learners hold: every site trains, the rule
        makes the next model of the updates' bytes, every site judges it. `at_once`: the sites side by side.
        """
        with ThreadPoolExecutor(len(self.learners) if at_once else 1) as threads:
            return self._plainly(rounds, threads)

    def _plainly(self, rounds: int, threads: ThreadPoolExecutor) -> tuple[Model, list[Span]]:
        base, study, took = self.first, bytes(16), []
        for number in range(1, rounds + 1):
            began = self.now()
            task = Task(study, number, 1, self.rule, self.settings)
            received, rows = {}, {}
            given = base.artefact()
            trained = threads.map(lambda each, model=given, task=task: each.train(model, task), self.learners.values())
            for site, made in zip(self.learners, trained, strict=True):
                update = Update(study, number, 1, site, base.digest, made.kind, made.rows, made.tensors)
                received[site], rows[site] = update.to_bytes(), made.rows
            expected = Expected(study, number, 1, base.digest, rows)
            base = aggregate_received(self.rule, self.parameters, base, expected, received).model
            judged = base.artefact()
            list(threads.map(lambda each, model=judged, task=task: each.evaluate(model, task), self.learners.values()))
            took.append(between(began, self.now()))
        return base, took


def between(before: Span, after: Span) -> Span:
    return Span(*(end - start for start, end in zip(before, after, strict=True)))


@dataclass
class Holding:
    """`Cohorts` of one site: a row for each consent, to learn from and to be judged by."""

    house: House
    table: Table
    consents: tuple[bytes, ...]

    async def rows(self, study: StudyId, papers: StudyPapers) -> Rows:
        return Rows(self.table, tuple(commitment("record", each) for each in self.consents), self.consents)


@dataclass
class OnDisk:
    """A consortium whose stores are files under a folder, each with its own fsyncs."""

    folder: Path
    c: Consortium
    closing: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator["OnDisk"]:
        """On the embedded engine."""
        made = cls(folder, Consortium())
        engine = made.c.engine
        engine.disks = {member: made._disk(member) for member in engine.disks}
        engine.sequencer_disk = made._disk("sequencer")
        try:
            async with made.c:
                made.vaults()
                yield made
        finally:
            for close in made.closing:
                close()

    def _disk(self, name: str) -> Disk:
        files = ChainFiles(self.folder / name)
        self.closing.append(files.close)
        return Disk(files.state, files.tiles, files.blocks)  # type: ignore[arg-type]

    def vaults(self) -> None:
        for name, house in self.c.houses.items():
            vault = SqlVault(self.folder / f"vault-{name}" / "vault.sqlite")
            self.closing.insert(0, vault.close)
            house.vault = vault  # type: ignore[assignment]
            house.wakes()


class Paced(MemoryAgreement):
    """Consensus in memory that makes a block only so often, as CometBFT does: what waits then is in it."""

    interval_s = 0.0

    async def _round(self) -> None:
        await asyncio.sleep(self.interval_s)
        await super()._round()


@asynccontextmanager
async def agreeing() -> AsyncIterator[Consortium]:
    """A consortium under `Paced` consensus, in memory."""
    made = Consortium()
    made.engine = Paced(world_genesis(parameters={Parameter.TICK: 1000}, consensus=True))  # type: ignore[assignment]
    async with made:
        yield made


@dataclass
class GovernedStudy:
    """One study of four sites, from its proposal to its last round."""

    c: Consortium
    strategy: Strategy
    rounds: int
    id: StudyId = field(default_factory=lambda: StudyId(bytes(16)))
    trainings: dict[str, Training] = field(default_factory=dict)
    patience_s: float = PATIENCE_S
    passed: list[Span] = field(default_factory=list)
    """Clocks when each round became final at north; before them, when round 1 opened."""

    opened: dict[int, int] = field(default_factory=dict)
    """Round -> height of the block that opened it."""

    async def begun(self) -> None:
        """Proposed, approved, consented to and enrolled: its loops not running yet."""
        for node in self.c.engine.nodes.values():
            node._submit_ms = 60_000
        protocol = Protocol(
            "A study", "what does a round cost", self.strategy.name, settings_bytes(self.strategy.settings),
            self.strategy.parameters.to_bytes(), 250, 1,
        )  # fmt: skip
        learner = digest_of(BUNDLED, self.strategy.name)

        def terms(study: StudyId, paper: Digest, cohort: Digest, viewers: Digest) -> ProposeStudy:
            return ProposeStudy(
                study, Mode.OPEN, self.strategy.rule, 0, learner, self.strategy.first.digest, 3, 1, self.rounds,
                Waits(DAY, 0, 10 * MINUTE, 8 * MINUTE, DAY), BlockTime(self._now() + 30 * DAY), paper, cohort, viewers,
                True, len(SITES),
            )  # fmt: skip

        wanted = Proposal(protocol, COHORT, (), terms)
        self.id, _ = await self.c.north.office.studying.propose(wanted)
        await self.c.engine.settle()
        for name in ("clinic", "health", "north"):
            house = self.c.houses[name]
            await house.office.studying.vote(self.id, True, True, "sound", house.staff("ethics-officer", "e1"))
            await self.c.engine.settle()
        for name in SITES:
            await self._enrolled(name)

    def _now(self) -> int:
        return int(self.c.north.office.member.ledger_now())

    async def _enrolled(self, name: str) -> None:
        house, client = self.c.houses[name], self.strategy.clients[name]
        table = replace(client.train, rows=(*client.train.rows, *client.test.rows))
        consents = tuple(commitment("research", name, n)[:16] for n in range(len(table)))
        node, end = self.c.engine.nodes[MemberId(name)], BlockTime((self._now() // DAY + 90) * DAY)
        raws = [
            self.c.engine.sign(
                Consent(
                    ConsentId(each), handle_of(f"{name} {n}"), Assurance.WITNESSED, end, commitment("rules"),
                    commitment("recipients"), commitment("form"), False, Research(self.id, MemberId(name)),
                ),
                by=name,
            )
            for n, each in enumerate(consents)
        ]  # fmt: skip
        for at in range(0, len(raws), 100):
            done = await asyncio.gather(*(node.submit(each) for each in raws[at : at + 100]))
            assert {each.code for each in done} == {0}
        officer = house.staff("ethics-officer", "e1")
        learner = self.strategy.name, digest_of(BUNDLED, self.strategy.name)
        await house.office.studying.enrol(self.id, *learner, "we take part", bytes(32), officer)
        await self.c.engine.settle()
        training = Training(
            house.office, Holding(house, table, consents), lambda *_: self.strategy.learners[name], auto_close=False
        )
        house.office.desk.handlers.update(training.handlers)
        self.trainings[name] = training

    def round(self, number: int) -> Round | None:
        return self.c.north.office.studying.rounds.round(self.id, number)

    async def over(self) -> None:
        """Runs the loops, as nodes do, until the last round is final."""
        done = asyncio.Event()

        def heard(_: object) -> None:
            study = self.c.north.office.studying.study(self.id)
            if (current := self.round(study.round + 1)) is not None:
                self.opened.setdefault(current.round, current.height)
            if self.round(1) is not None and study.round >= len(self.passed):
                self.passed.append(self.strategy.now())
            if study.round == self.rounds:
                done.set()

        self.c.north.node.listen(heard)
        running = [
            asyncio.create_task(each.run(self.c.engine.nodes[MemberId(name)])) for name, each in self.trainings.items()
        ]
        try:
            async with asyncio.timeout(self.patience_s):
                await done.wait()
            await self.c.engine.settle()
        finally:
            for each in running:
                each.cancel()
            for each in running:
                with suppress(asyncio.CancelledError):
                    await each

    def spans(self) -> list[Span]:
        """What each round took, from its opening to the next one's."""
        return [between(before, after) for before, after in pairwise(self.passed)]

    def blocks(self) -> list[int]:
        """How many blocks each round took, from its opening to the next one's."""
        stood = [self.opened[number] for number in sorted(self.opened)]
        return [after - before for before, after in pairwise(stood)]

    def close(self) -> None:
        for each in self.trainings.values():
            each.close()

    async def learnt(self) -> Model:
        found = await self.trainings["north"].model(self.id)
        assert found is not None
        return found


def strategy_of(four: Sequence[Client], settings: Mapping[str, Setting], parameters: Parameters) -> Strategy:
    """Of the heart study. Starts a learner's process."""
    by_hospital = {each.site: each for each in four}
    clients = {site: by_hospital[hospital] for site, hospital in SITES.items()}
    learners = {site: Kept() for site in SITES}
    return Strategy(learners, clients, learners["north"].first_model(settings), parameters, settings)
