"""What passes between the sequencer and the nodes that follow it: frames, and the messages in them.

A frame is its length (4 bytes, big endian) and one value in the ledger's own encoding, [kind, fields...]. Both ends
refuse a frame that is too long before they read it. Nothing here is trusted for being well-formed: blocks are
executed, notes and cosignatures verified, by whoever receives them.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from commonward.ledger.encoding import EncodingError, decode, encode
from commonward.ledger.ids import Digest, Height, LedgerId, MemberId, parse_digest, parse_ledger_id, parse_member_id

__all__ = [
    "MAX_FRAME",
    "VERSION",
    "Bundle",
    "Checked",
    "Cosigned",
    "Frames",
    "Hello",
    "Message",
    "Sealed",
    "Welcome",
    "WireError",
    "frame",
    "parse",
]

VERSION: Final = 1
MAX_FRAME: Final = 3 << 20
"""A block has at most 2 MiB, a note 16 KiB; room for what frames them."""

_HEAD: Final = 4


class WireError(Exception):
    """The other end does not speak this protocol; the connection ends."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A node that wants to follow: which ledger, the height of the last block it holds, and the checkpoint signed after
    it (a note; empty before the first block), which shows a sequencer that has lost its log's end that it has."""

    kind: ClassVar[int] = 1
    version: int
    ledger: LedgerId
    height: Height
    head: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """The sequencer's answer: blocks up to `tip` are catching up, those above are live."""

    kind: ClassVar[int] = 2
    tip: Height


@dataclass(frozen=True, slots=True)
class Bundle:
    """Transactions on their way, under a number of the node's own that `Checked` repeats."""

    kind: ClassVar[int] = 3
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """The bundle is queued, or it is not and these are the transactions that stopped it: digest, code, sentence.

    With no refusals and `why`, the bundle as a whole was refused.
    """

    kind: ClassVar[int] = 4
    number: int
    refusals: tuple[tuple[Digest, int, str], ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A block with the checkpoint the sequencer signed after it (a C2SP note)."""

    kind: ClassVar[int] = 5
    height: Height
    record: bytes  # as the block log keeps it: see workflows.blocklog


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A member's cosignature line (text of C2SP signed-note, with its newline) over the checkpoint (size, root)."""

    kind: ClassVar[int] = 6
    member: MemberId
    size: int
    root: Digest
    line: str


Message: TypeAlias = Hello | Welcome | Bundle | Checked | Sealed | Cosigned


def frame(message: Message) -> bytes:
    """The message's frame."""
    match message:
        case Hello(version, ledger, height, head):
            body = encode([1, version, ledger, height, head])
        case Welcome(tip):
            body = encode([2, tip])
        case Bundle(number, data):
            body = encode([3, number, data])
        case Checked(number, refusals, why):
            body = encode([4, number, [list(refusal) for refusal in refusals], why])
        case Sealed(height, record):
            body = encode([5, height, record])
        case Cosigned(member, size, root, line):
            body = encode([6, member, size, root, line])
    if len(body) > MAX_FRAME:
        raise WireError(f"a frame may have {MAX_FRAME} bytes; this one would have {len(body)}")
    return len(body).to_bytes(_HEAD, "big") + body


def parse(body: bytes) -> Message:
    """The message in a frame. Raises WireError."""
    try:
        match decode(body):
            case [1, int(version), bytes(ledger), int(height), bytes(head)] if height >= 0:
                return Hello(version, parse_ledger_id(ledger), Height(height), head)
            case [2, int(tip)] if tip >= 0:
                return Welcome(Height(tip))
            case [3, int(number), bytes(data)]:
                return Bundle(number, data)
            case [4, int(number), list(refusals), str(why)]:
                return Checked(number, tuple(_refusal(each) for each in refusals), why)
            case [5, int(height), bytes(record)]:
                return Sealed(Height(height), record)
            case [6, str(member), int(size), bytes(root), str(line)]:
                return Cosigned(parse_member_id(member), size, parse_digest(root), line)
            case other:
                raise WireError(f"expected one of six messages, got {other!r:.80}")
    except (EncodingError, ValueError) as cause:
        raise WireError(f"not a message: {cause}") from cause


def _refusal(value: object) -> tuple[Digest, int, str]:
    match value:
        case [bytes(digest), int(code), str(text)] if len(digest) == 32:
            return Digest(digest), code, text
    raise WireError(f"expected [digest, code, text], got {value!r:.80}")


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._waiting = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of all frames that are whole now. Raises WireError for one that announces too much."""
        waiting = self._waiting
        waiting += data
        bodies, at = [], 0
        while len(waiting) - at >= _HEAD:
            length = int.from_bytes(waiting[at : at + _HEAD], "big")
            if length > self._limit:
                raise WireError(f"a frame may have {self._limit} bytes here; one announces {length}")
            end = at + _HEAD + length
            if len(waiting) < end:
                break
            bodies.append(bytes(waiting[at + _HEAD : end]))
            at = end
        if at:
            del waiting[:at]
        return bodies
