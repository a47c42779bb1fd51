"""Audit: marks of releases and receipts, broken glass and its review, erasures, and the roots of members' own logs.

A mark's tag is a pseudo-random number that custodian and requester (and patient) can compute, and nobody else can
join to another. Most of these change no state: the log is what they are for. What the ledger itself watches is broken
glass: each member's quota a day, and a review by other staff before its deadline. What is overdue is marked so by the
ledger, without anybody asking, and stays so until reviewed.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.ids import BlockTime, Digest, MemberId, Tag, parse_member_id, parse_tag
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.refusals import Refusal
from commonward.ledger.registry import Registry, Ticks, check_tick
from commonward.ledger.rules import DAY, Cells, Header, MemberSigner
from commonward.ledger.wire import DIGEST, FLAG, TIME, Payload, Struct, number, parsed, struct, wire


@dataclass(eq=False)
class LateOutOfBounds(Refusal):
    code: ClassVar[int] = 501
    late: int
    earliest: int
    now: int

    def __str__(self) -> str:
        return f"a late mark made at {self.now} ms is of a time from {self.earliest} ms to then, not {self.late} ms"


@dataclass(eq=False)
class BreakGlassQuota(Refusal):
    code: ClassVar[int] = 502
    member: str
    quota: int

    def __str__(self) -> str:
        return f"{self.member} has broken the glass {self.quota} times today, which is its quota"


@dataclass(eq=False)
class ReviewOutOfBounds(Refusal):
    code: ClassVar[int] = 503
    review_by: int
    now: int
    latest: int

    def __str__(self) -> str:
        return f"a review of what happens at {self.now} ms is due by {self.latest} ms, not at {self.review_by} ms"


@dataclass(eq=False)
class TagTaken(Refusal):
    code: ClassVar[int] = 504
    tag: bytes

    def __str__(self) -> str:
        return f"tag {self.tag.hex()} stands for another broken glass of the same member"


@dataclass(eq=False)
class NoReviewOpen(Refusal):
    code: ClassVar[int] = 505
    tag: bytes
    member: str

    def __str__(self) -> str:
        return f"no broken glass {self.tag.hex()} of {self.member} waits for review"


@struct
class Release(Payload):
    """A custodian's mark, on the ledger before anything leaves. `late`: when it left, if that was before its mark.

    Commitments: `request` the requester's signed request, `decision`, `consent`, `running` the patient's running
    number n, `previous` the mark before, `sealed` the digest of the sealed bundle.
    """

    KIND: ClassVar[int] = 48
    tag: Tag = wire(1, parsed(parse_tag))
    request: Digest = wire(2, DIGEST)
    decision: Digest = wire(3, DIGEST)
    consent: Digest = wire(4, DIGEST)
    running: Digest = wire(5, DIGEST)
    previous: Digest = wire(6, DIGEST)
    sealed: Digest = wire(7, DIGEST)
    late: BlockTime | None = wire(8, TIME, default=None)


@struct
class Receipt(Payload):
    """A requester's: it holds the bundle and has decided again. Nothing in clear joins it to a mark."""

    KIND: ClassVar[int] = 49
    tag: Digest = wire(1, DIGEST)
    sealed: Digest = wire(2, DIGEST)
    decision: Digest = wire(3, DIGEST)


@struct
class BreakGlass(Payload):
    """A requester's, before the custodian's `Release`. `review_by` (ms): when other staff will have looked at it."""

    KIND: ClassVar[int] = 50
    tag: Tag = wire(1, parsed(parse_tag))
    review_by: BlockTime = wire(2, TIME)
    request: Digest = wire(3, DIGEST)
    reason: Digest = wire(4, DIGEST)
    staff: Digest = wire(5, DIGEST)
    late: BlockTime | None = wire(6, TIME, default=None)


@struct
class Review(Payload):
    """Closes a broken glass. `finding`, `reviewer`: commitments."""

    KIND: ClassVar[int] = 51
    tag: Tag = wire(1, parsed(parse_tag))
    finding: Digest = wire(2, DIGEST)
    reviewer: Digest = wire(3, DIGEST)


@struct
class Erased(Payload):
    """Salt and key of something were destroyed. `what`, `ground`, `holds`: commitments."""

    KIND: ClassVar[int] = 52
    what: Digest = wire(1, DIGEST)
    ground: Digest = wire(2, DIGEST)
    holds: Digest = wire(3, DIGEST)


@struct
class LogRoot(Payload):
    """The root of a member's own log at a tick. `uses`, `refusals`: commitments to their counts and roots."""

    KIND: ClassVar[int] = 53
    tick: int = wire(1, number())
    root: Digest = wire(2, DIGEST)
    uses: Digest = wire(3, DIGEST)
    refusals: Digest = wire(4, DIGEST)


@struct
class Glass(Struct):
    """A broken glass that waits for review."""

    member: MemberId = wire(1, parsed(parse_member_id))
    broken: BlockTime = wire(2, TIME)
    review_by: BlockTime = wire(3, TIME)
    overdue: bool = wire(4, FLAG)


@struct
class GlassCount(Struct):
    """Of a member: how many today (`day`: days since 1970 by header time), how many open, how many of them overdue."""

    day: int = wire(1, number())
    today: int = wire(2, number())
    open: int = wire(3, number())
    overdue: int = wire(4, number())


def glass_key(member: str, tag: bytes) -> bytes:
    """A tag counts together with who used it: nobody takes another's by being first."""
    return b"glass/" + member.encode() + b"\0" + tag


def glass_count_key(member: str) -> bytes:
    return b"glasses/" + member.encode()


_NONE: Final = GlassCount(0, 0, 0, 0)
TAG_BYTES: Final = 32


class Glasses:
    """The slice: `glass/` member, 00, tag -> Glass; `glasses/` member -> GlassCount."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def get(self, member: str, tag: bytes) -> Glass | None:
        data = self._cells.get(glass_key(member, tag))
        return None if data is None else Glass.parse(data)

    def put(self, tag: Tag, glass: Glass) -> None:
        self._cells.put(glass_key(glass.member, tag), glass.to_bytes())

    def drop(self, member: str, tag: Tag) -> None:
        self._cells.delete(glass_key(member, tag))

    def count(self, member: str) -> GlassCount:
        data = self._cells.get(glass_count_key(member))
        return _NONE if data is None else GlassCount.parse(data)

    def put_count(self, member: str, count: GlassCount) -> None:
        self._cells.put(glass_count_key(member), count.to_bytes())


def _check_late(late: BlockTime | None, header: Header, parameters: Parameters) -> None:
    if late is None:
        return
    earliest = header.time - parameters[Parameter.LATE_BY]
    if not earliest <= late <= header.time:
        raise LateOutOfBounds(late, earliest, header.time)


def release(asked: Release, header: Header, *, parameters: Parameters) -> None:
    """Whether the consent was live, the ledger cannot judge: the mark does not say which it was."""
    _check_late(asked.late, header, parameters)


def break_glass(
    asked: BreakGlass, signer: MemberSigner, header: Header, *, glasses: Glasses, dues: Dues, parameters: Parameters
) -> None:
    _check_late(asked.late, header, parameters)
    latest = header.time + parameters[Parameter.REVIEW_WITHIN]
    if not header.time < asked.review_by <= latest:
        raise ReviewOutOfBounds(asked.review_by, header.time, latest)
    if glasses.get(signer.member, asked.tag) is not None:
        raise TagTaken(asked.tag)
    count, day = glasses.count(signer.member), header.time // DAY
    today = count.today if count.day == day else 0
    quota = parameters[Parameter.BREAK_GLASS_A_DAY]
    if today >= quota:
        raise BreakGlassQuota(signer.member, quota)
    glasses.put_count(signer.member, GlassCount(day, today + 1, count.open + 1, count.overdue))
    glasses.put(asked.tag, Glass(signer.member, header.time, asked.review_by, False))
    dues.add(asked.review_by, DueKind.REVIEW_OVERDUE, signer.member.encode() + b"\0" + asked.tag)


def review(asked: Review, signer: MemberSigner, *, glasses: Glasses) -> None:
    """Late is better than never: an overdue one is closed too, and the log shows when."""
    glass = glasses.get(signer.member, asked.tag)
    if glass is None:
        raise NoReviewOpen(asked.tag, signer.member)
    count = glasses.count(signer.member)
    glasses.put_count(
        signer.member, GlassCount(count.day, count.today, count.open - 1, count.overdue - int(glass.overdue))
    )
    glasses.drop(signer.member, asked.tag)


def review_overdue(ref: bytes, now: int, *, glasses: Glasses) -> None:
    """Due: a broken glass that nobody reviewed in time shows by itself. `ref`: member, 00, tag."""
    member, tag = ref[: -TAG_BYTES - 1].decode(), Tag(ref[-TAG_BYTES:])
    glass = glasses.get(member, tag)
    if glass is None or glass.overdue or glass.review_by > now:
        return
    glasses.put(tag, Glass(glass.member, glass.broken, glass.review_by, True))
    count = glasses.count(glass.member)
    glasses.put_count(glass.member, GlassCount(count.day, count.today, count.open, count.overdue + 1))


def log_root(
    asked: LogRoot, signer: MemberSigner, header: Header, *, registry: Registry, parameters: Parameters
) -> None:
    """Shares the registry's tick, so that its time tells nothing either."""
    ticks = registry.ticks(signer.member)
    starts = check_tick(asked.tick, ticks.log, header.time, parameters[Parameter.TICK])
    registry.put(signer.member, Ticks(ticks.batch, starts, ticks.announced, ticks.used))
