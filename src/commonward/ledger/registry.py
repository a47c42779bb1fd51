"""The registry: at each tick every member anchors one root over the fingerprints of its records, even over none.

A root says nothing of how many records it covers: cadence and depth are fixed. A hospital that brings in an archive
announces a number of extra batches first, so that a reader learns of the announcement and not of the archive's days.
Public originals (bulletin, code map, model card) may be anchored whole.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

from commonward.ledger.ids import BlockTime, Digest, MemberId, MemberKind
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells, Header, MemberSigner
from commonward.ledger.wire import DIGEST, TIME, Payload, Struct, choice, number, octets, struct, wire


@dataclass(eq=False)
class TooEarly(Refusal):
    code: ClassVar[int] = 301
    tick: int
    now: int

    def __str__(self) -> str:
        return f"tick {self.tick} has not begun; now is tick {self.now}"


@dataclass(eq=False)
class TickRepeated(Refusal):
    code: ClassVar[int] = 302
    tick: int
    last: int  # ms

    def __str__(self) -> str:
        return f"tick {self.tick} does not come after the last one anchored, which began at {self.last} ms"


@dataclass(eq=False)
class ExtraOutOfTurn(Refusal):
    code: ClassVar[int] = 303
    extra: int
    next: int
    announced: int

    def __str__(self) -> str:
        return f"extra batch {self.extra} is out of turn: the next is {self.next} of {self.announced} announced"


@dataclass(eq=False)
class TooManyAnnounced(Refusal):
    code: ClassVar[int] = 304
    announced: int
    most: int

    def __str__(self) -> str:
        return f"{self.announced} extra batches cannot be announced at once; at most {self.most} can"


@dataclass(eq=False)
class NotYourPublication(Refusal):
    code: ClassVar[int] = 305
    member: str
    type: int

    def __str__(self) -> str:
        return f"genesis does not let {self.member}'s kind of member publish originals of type {self.type}"


class PublicType(IntEnum):
    BULLETIN = 1
    CODE_MAP = 2
    MODEL_CARD = 3
    SIGNING_PAGE = 4


@struct
class AnchorBatch(Payload):
    """The root over a tick's records. Tick n begins n tick lengths after 1970.

    `announce`: that so many extra batches follow; `extra`: that this is extra batch 1, 2, ... of those.
    """

    KIND: ClassVar[int] = 16
    tick: int = wire(1, number())
    root: Digest = wire(2, DIGEST)
    announce: int | None = wire(3, number(1, 1 << 20), default=None)
    extra: int | None = wire(4, number(1, 1 << 20), default=None)


@struct
class AnchorPublic(Payload):
    """A public original, whole."""

    KIND: ClassVar[int] = 17
    MAX_BYTES: ClassVar[int] = 64 * 1024
    type: PublicType = wire(1, choice(PublicType))
    original: bytes = wire(2, octets(1, 64 * 1024))


@struct
class Ticks(Struct):
    """When a member last anchored (ms: the beginning of the tick) and what it has announced."""

    batch: BlockTime | None = wire(1, TIME, default=None)
    log: BlockTime | None = wire(2, TIME, default=None)
    announced: int = wire(3, number(0, 1 << 20), default=0)
    used: int = wire(4, number(0, 1 << 20), default=0)


def ticks_key(member: str) -> bytes:
    return b"ticks/" + member.encode()


_NEVER: Final = Ticks(None, None, 0, 0)


class Registry:
    """The slice: `ticks/` member -> Ticks."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def ticks(self, member: str) -> Ticks:
        data = self._cells.get(ticks_key(member))
        return _NEVER if data is None else Ticks.parse(data)

    def put(self, member: MemberId, ticks: Ticks) -> None:
        self._cells.put(ticks_key(member), ticks.to_bytes())


def check_tick(tick: int, last: BlockTime | None, now: int, length: int) -> BlockTime:
    """The beginning of a tick that may be anchored now. Raises TooEarly, TickRepeated.

    Kept and compared as a time, so that changing the length of ticks neither repeats nor blocks any.
    """
    starts = tick * length
    if starts > now:
        raise TooEarly(tick, now // length)
    if last is not None and starts <= last:
        raise TickRepeated(tick, last)
    return BlockTime(starts)


def anchor_batch(
    asked: AnchorBatch, signer: MemberSigner, header: Header, *, registry: Registry, parameters: Parameters
) -> None:
    ticks = registry.ticks(signer.member)
    if asked.extra is not None:
        if asked.extra != ticks.used + 1 or asked.extra > ticks.announced or asked.announce is not None:
            raise ExtraOutOfTurn(asked.extra, ticks.used + 1, ticks.announced)
        registry.put(signer.member, Ticks(ticks.batch, ticks.log, ticks.announced, asked.extra))
        return
    starts = check_tick(asked.tick, ticks.batch, header.time, parameters[Parameter.TICK])
    if asked.announce is None:
        registry.put(signer.member, Ticks(starts, ticks.log, ticks.announced, ticks.used))
        return
    most = parameters[Parameter.BACKFILL]
    if asked.announce > most:
        raise TooManyAnnounced(asked.announce, most)
    # a new announcement replaces what is left of the last
    registry.put(signer.member, Ticks(starts, ticks.log, asked.announce, 0))


def anchor_public(
    asked: AnchorPublic, signer: MemberSigner, *, publishers: dict[PublicType, tuple[MemberKind, ...]]
) -> None:
    if signer.kind not in publishers.get(asked.type, ()):
        raise NotYourPublication(signer.member, int(asked.type))
