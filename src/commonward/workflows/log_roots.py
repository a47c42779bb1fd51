"""The member's log, anchored: at each tick one `LogRoot` that commits to its head, and tells nothing of its length."""

from dataclasses import dataclass

from commonward.ledger.audit import LogRoot
from commonward.ledger.encoding import encode
from commonward.ledger.ids import Digest
from commonward.ledger.parameters import Parameter
from commonward.ledger.registry import TooEarly
from commonward.records.openings import commit
from commonward.workflows import commitments
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event, log_root
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

_REFUSALS = frozenset({Event.RELEASE_REFUSED, Event.DISPLAY_REFUSED})


@dataclass(frozen=True, slots=True)
class RootPaper(Message):
    """What opens one LogRoot: the head it stands for, and the counts up to it."""

    tick: int
    number: int
    head: Digest
    uses: int
    refusals: int
    salts: tuple[bytes, ...]  # of root, uses, refusals
    index: int = -1


class LogRoots:
    """One member's roots. Planned durably before they are submitted, as batches are."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._roots = Drawer(member.ports.vault, member.sealing, "log-roots", RootPaper)

    async def tick(self) -> RootPaper | None:
        """Anchors this tick's root, and first what was planned and has not landed; None when it is done already."""
        length = self._member.reading.parameter(Parameter.TICK)
        tick = self._member.ports.ledger.next_time() // length
        last = self._last()
        if last is not None and last.index < 0:
            last = await self._land(last)
        if last is not None and last.tick >= tick:
            return None
        return await self._land(self._plan(tick, last))

    def _plan(self, tick: int, last: RootPaper | None) -> RootPaper:
        number, head = self._member.log.head()
        uses, refusals = (last.uses, last.refusals) if last else (0, 0)
        for _, _, entry in self._member.log.entries((last.number if last else 0) + 1):
            refusals += entry.event in _REFUSALS
            uses += entry.event not in _REFUSALS
        salts = tuple(self._member.ports.entropy.bytes(32) for _ in range(3))
        paper = RootPaper(tick, number, head, uses, refusals, salts)
        with self._member.ports.vault.transaction():
            self._roots.put(_key(tick), paper)
            self._roots.put(b"last", paper)
        self._member.ports.steps.reach("log-root.planned")
        return paper

    async def _land(self, paper: RootPaper) -> RootPaper:
        by_root, by_uses, by_refusals = paper.salts
        payload = LogRoot(
            paper.tick,
            log_root(by_root, paper.number, paper.head),
            commit(commitments.USES, by_uses, paper.uses),
            commit(commitments.REFUSALS, by_refusals, paper.refusals),
        )
        key = b"log-root" + encode(paper.tick)
        landed = await self._member.submitter.land(key, payload, step="log-root", early=TooEarly.code)
        done = RootPaper(paper.tick, paper.number, paper.head, paper.uses, paper.refusals, paper.salts, landed.index)
        with self._member.ports.vault.transaction():
            self._roots.put(_key(paper.tick), done)
            self._roots.put(b"last", done)
            self._member.submitter.done(key)
        return done

    def _last(self) -> RootPaper | None:
        """The newest planned, landed or not."""
        return self._roots.get(b"last")


def _key(tick: int) -> bytes:
    return b"t" + tick.to_bytes(8, "big")
