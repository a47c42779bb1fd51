"""Erasure: when retention and holds allow it, salt and key are destroyed, recipients are told, and a mark stands.

Intent is durable first, so a kill in the middle ends in erasure and never in a mark for something that still opens.
"""

from dataclasses import dataclass, replace

from commonward.ledger.audit import Erased
from commonward.records.openings import commit
from commonward.records.retention import Erasure, Ground, Hold, Kept, RetentionTable, default_retention, may_erase
from commonward.workflows import commitments
from commonward.workflows.holdings import Holdings
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Fault
from commonward.workflows.recall import Recalls
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message


class NotErasable(Exception):
    """Retention or a hold stands against it; `judgement` says which, and from when it may be."""

    def __init__(self, judgement: Erasure) -> None:
        named = ", ".join(judgement.holds)
        super().__init__(f"not to be erased: {judgement.obstacle.name}{f' ({named})' if named else ''}")
        self.judgement = judgement


@dataclass(frozen=True, slots=True)
class ErasurePaper(Message):
    """One erasure, from intent to mark."""

    record: bytes
    fingerprint: bytes
    ground: Ground
    words: str
    who: str
    at: int
    salts: tuple[bytes, ...]  # of what, ground, holds
    destroyed: bool = False
    index: int = -1


@dataclass(frozen=True, slots=True)
class HoldPaper(Message):
    """A legal hold at rest. Empty tuples mean all."""

    name: str
    patients: tuple[bytes, ...] = ()
    records: tuple[bytes, ...] = ()
    until: int | None = None

    def hold(self) -> Hold:
        return Hold(self.name, frozenset(self.patients) or None, frozenset(self.records) or None, None, self.until)


class Erasures:
    """One member's."""

    def __init__(
        self, member: Member, holdings: Holdings, recalls: Recalls, table: RetentionTable | None = None
    ) -> None:
        self._member = member
        self._holdings = holdings
        self._recalls = recalls
        self._table = table or default_retention()
        self._papers = Drawer(member.ports.vault, member.sealing, "erasures", ErasurePaper)
        self._holds = Drawer(member.ports.vault, member.sealing, "legal-holds", HoldPaper)

    def hold(self, paper: HoldPaper) -> None:
        """Nothing that it names is erased until it is lifted by name."""
        self._holds.put(self._member.sealing.name("hold", paper.name), paper)

    def lift(self, name: str) -> None:
        """Raises KeyError when no hold has this name: a slip must not look like a lifted hold."""
        key = self._member.sealing.name("hold", name)
        if self._holds.get(key) is None:
            raise KeyError(f"no hold is called {name!r}")
        self._holds.remove(key)

    def holds(self) -> list[HoldPaper]:
        """Those that stand, by name; also such as have ended by themselves."""
        return sorted((paper for _, paper in self._holds.every()), key=lambda paper: paper.name)

    def judge(self, record: bytes, ground: Ground, *, born: int | None = None) -> Erasure:
        """Whether this record may be erased now. Raises KeyError when it is not held, or erased already."""
        kept = self._kept(record, born)
        holds = [paper.hold() for _, paper in self._holds.every()]
        return may_erase(kept, ground, holds, self._table, self._member.now())

    def _kept(self, record: bytes, born: int | None) -> Kept:
        number, row = self._member.ports.vault.records([record])[record]
        held = self._holdings.open(number, row)
        if held is None:
            raise KeyError("this record is erased, or does not open")
        facts = self._member.sensitivity.facts(held.record)
        end = facts.period.end or facts.period.start if facts.period else None
        return Kept(facts.classes, end or self._member.now(), born, row.patient, record)

    async def erase(
        self, record: bytes, ground: Ground, words: str, who: str, *, born: int | None = None
    ) -> ErasurePaper:
        """Destroys and marks. Raises NotErasable, LedgerAway (destroyed; the mark follows at a tick)."""
        judgement = self.judge(record, ground, born=born)
        if not judgement.allowed:
            raise NotErasable(judgement)
        row = self._member.ports.vault.records([record])[record][1]
        salts = tuple(self._member.ports.entropy.bytes(32) for _ in range(3))
        paper = ErasurePaper(record, row.fingerprint, ground, words, who, self._member.now(), salts)
        self._papers.put(record, paper)
        self._member.ports.steps.reach("erasure.intended")
        return await self._go_on(paper)

    async def _go_on(self, paper: ErasurePaper) -> ErasurePaper:
        vault = self._member.ports.vault
        if not paper.destroyed:
            row = vault.records([paper.record])[paper.record][1]
            with vault.transaction():
                vault.destroy_records([paper.record])
                self._recalls.forget(paper.record, row.patient)
                self._recalls.file([paper.record], row.patient, Fault.ERASED)
                paper = replace(paper, destroyed=True)
                self._papers.put(paper.record, paper)
                self._member.log.note(Event.ERASED, f"{paper.ground.name}: {paper.words}", who=paper.who)
            self._member.ports.steps.reach("erasure.destroyed")
        if paper.index < 0:
            by_what, by_ground, by_holds = paper.salts
            payload = Erased(
                commit(commitments.WHAT, by_what, paper.fingerprint),
                commit(commitments.GROUND, by_ground, [int(paper.ground), paper.words]),
                commit(commitments.HOLDS, by_holds, [self._table.name, self._table.version, paper.at]),
            )
            landed = await self._member.submitter.land(b"erased" + paper.record, payload, step="erasure")
            paper = replace(paper, index=landed.index)
            with vault.transaction():
                self._papers.put(paper.record, paper)
                self._member.submitter.done(b"erased" + paper.record)
        return paper

    async def finish(self) -> None:
        """What was intended is done, and what was done is marked: at start and at each tick."""
        for _, paper in list(self._papers.every()):
            if not paper.destroyed or paper.index < 0:
                await self._go_on(paper)
