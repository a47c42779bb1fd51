"""Checkpoints of the log, and the cosignatures that make them binding.

Exactly C2SP: signed-note, tlog-checkpoint and tlog-cosignature (cosignature/v1), so that witnesses and tools that
others wrote can read ours. A checkpoint says "the log `origin` has `size` leaves and this root". The sequencer signs
it with a plain Ed25519 note signature under the origin's name, so a fork names it; each member's node that replayed
the blocks adds a cosignature with its time under the member's name. More than two thirds of the weight makes it
valid (`check_quorum`).

Two rules of ours on top of C2SP:

- The checkpoint that ends a block is judged by the authority in force *before* that block. So a change of authority
  is vouched for by those who held it until then, and a trust file can prove each change under the one before.
- A member counts once, however many lines it has.

cosignature/v1 does not sign the cosigner's name, so one public key under two names could count twice; `Authority`
refuses that.
"""

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Value, decode, encode
from commonward.ledger.ids import Algorithm, BlockTime, Digest, LedgerId, MemberId, parse_member_id, parse_operator
from commonward.ledger.proofs import verify

NOTE_SIGNATURE: Final = 0x01
"""Signature type of a plain Ed25519 note signature (signed-note, Signature types)."""

COSIGNATURE: Final = 0x04
"""Signature type of an Ed25519 cosignature with a time (tlog-cosignature, Format)."""

MAX_LINES: Final = 64
"""Signature lines read in one note. signed-note wants at least 16."""

MAX_NOTE_BYTES: Final = 16 * 1024

_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")

Sign = Callable[[bytes], bytes]
"""Signs a message with Ed25519 and gives 64 bytes."""


class NoteError(ValueError):
    """Not a checkpoint note in the one form we read. Says what was expected, and what came."""


class CosignatureError(ValueError):
    """A line of a key that we know does not verify: the whole note is refused (signed-note, Signatures)."""


@dataclass(frozen=True, slots=True)
class WeakQuorum(Exception):
    """The members who cosigned do not carry more than two thirds of the weight."""

    weight: int
    total: int

    def __str__(self) -> str:
        return f"expected cosignatures of more than two thirds of weight {self.total}, got {self.weight}"


# ------------------------------------------------------------------------------------------------------------- text


def _number(text: str, what: str) -> int:
    """A decimal as C2SP writes it: ASCII digits, no leading zero, at most 2^63 - 1."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0") or len(text) > 19:
        raise NoteError(f"expected {what} as a decimal number without leading zeros, got {text!r:.40}")
    value = int(text)
    if value >= 1 << 63:
        raise NoteError(f"expected {what} below 2^63, got {value}")
    return value


def to_base64(data: bytes) -> str:
    """RFC 4648, section 4, with padding and without line breaks."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """The bytes whose one base64 form is `text`. Raises NoteError for any other form of them."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NoteError(f"expected {what} in base64, got {text!r:.60}") from None
    if to_base64(data) != text:  # bits behind the padding would give one thing two forms
        raise NoteError(f"expected {what} in its one base64 form, got {text!r:.60}")
    return data


def _check_name(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name) or not name.isprintable():
        raise NoteError(f"expected a key name without spaces or plus signs, got {name!r:.60}")
    return name


def app_hash(size: int, root: Digest) -> bytes:
    """What consensus agrees on after each block: size (8 bytes, big endian) and root of the log."""
    return size.to_bytes(8, "big") + root


def origin_of(ledger: LedgerId) -> str:
    """The origin line of a ledger's checkpoints: `commonward/` and 16 hex digits of the ledger id."""
    return f"commonward/{ledger[:8].hex()}"


def key_hash(name: str, kind: int, public: bytes) -> bytes:
    """4 bytes: the key id of signed-note. It finds a key; it does not vouch for one."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((kind,)) + public).digest()[:4]


# ------------------------------------------------------------------------------------------------------------ notes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head (tlog-checkpoint, Note text). We write no extension lines and refuse those of others."""

    origin: str
    size: int
    root: Digest

    def note_body(self) -> bytes:
        """The note text: three lines, each with its newline. What signatures are over."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n".encode()

    @classmethod
    def parse(cls, body: bytes) -> "Checkpoint":
        """The checkpoint with this note text. Raises NoteError."""
        lines = _text(body).split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteError(f"expected three lines (origin, size, root), got {len(lines) - 1}")
        root = from_base64(lines[2], "a root hash")
        if len(root) != 32:
            raise NoteError(f"expected a root hash of 32 bytes, got {len(root)}")
        return cls(_check_name(lines[0]), _number(lines[1], "a tree size"), Digest(root))


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature line of a note: who says it signed, which of its keys (4 bytes), and the signature."""

    name: str
    key_hash: bytes
    signature: bytes

    def to_text(self) -> str:
        return f"\N{EM DASH} {self.name} {to_base64(self.key_hash + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> "SignatureLine":
        """One line, without its newline. Raises NoteError."""
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "\N{EM DASH}" or not encoded:
            raise NoteError(f"expected a signature line (em dash, name, base64), got {line!r:.60}")
        data = from_base64(encoded, f"the signature of {name}")
        if len(data) < 5:
            raise NoteError(f"expected a key id and a signature from {name}, got {len(data)} bytes")
        return cls(_check_name(name), data[:4], data[4:])

    @property
    def seconds(self) -> int | None:
        """The POSIX time that a cosignature says, or None if this line cannot be one."""
        if len(self.signature) != 72:
            return None
        seconds = int.from_bytes(self.signature[:8], "big")
        return seconds if seconds < 1 << 63 else None


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signature lines, in the order they stood."""

    checkpoint: Checkpoint
    lines: tuple[SignatureLine, ...]

    def to_bytes(self) -> bytes:
        return self.checkpoint.note_body() + b"\n" + "".join(line.to_text() for line in self.lines).encode()

    def with_lines(self, more: Iterable[SignatureLine]) -> "Note":
        """This note and those of `more` that it lacks."""
        return Note(self.checkpoint, tuple(dict.fromkeys((*self.lines, *more))))


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as cause:
        raise NoteError(f"expected UTF-8, got another byte at {cause.start}") from None
    if _CONTROL.search(text):
        raise NoteError("expected no control character but newline")
    return text


def parse_note(data: bytes) -> Note:
    """Reads a signed checkpoint. Nothing in it is true until `check_quorum` has judged the lines. Raises NoteError."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"expected a note of at most {MAX_NOTE_BYTES} bytes, got {len(data)}")
    body, blank, signatures = data.rpartition(b"\n\n")
    if not blank:
        raise NoteError("expected a blank line between the checkpoint and its signatures")
    checkpoint = Checkpoint.parse(body + b"\n")
    lines = _text(signatures).split("\n")
    if lines.pop() or not lines:
        raise NoteError("expected signature lines, each ending in a newline")
    if len(lines) > MAX_LINES:
        raise NoteError(f"expected at most {MAX_LINES} signature lines, got {len(lines)}")
    return Note(checkpoint, tuple(map(SignatureLine.parse, lines)))


# ---------------------------------------------------------------------------------------------------------- signing


def sign_note(checkpoint: Checkpoint, public: bytes, sign: Sign) -> SignatureLine:
    """The sequencer's line: a plain note signature under the origin's name (tlog-checkpoint, Signatures)."""
    return SignatureLine(
        checkpoint.origin, key_hash(checkpoint.origin, NOTE_SIGNATURE, public), sign(checkpoint.note_body())
    )


def cosigned_message(checkpoint: Checkpoint, seconds: int) -> bytes:
    """What a cosignature is over (tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {seconds}\n".encode() + checkpoint.note_body()


def cosign(checkpoint: Checkpoint, name: str, public: bytes, at: BlockTime, sign: Sign) -> SignatureLine:
    """A member's line: "at this time, the log's consistent head was this". The whole second of `at` is signed.

    The caller has replayed the log to this root, and remembers durably that it signs it: never two roots for a size.
    """
    seconds = at // 1000
    signature = sign(cosigned_message(checkpoint, seconds))
    return SignatureLine(name, key_hash(name, COSIGNATURE, public), seconds.to_bytes(8, "big") + signature)


def _holds(checkpoint: Checkpoint, line: SignatureLine, kind: int, public: bytes) -> bool:
    """Whether a line whose name and key id match is this key's signature."""
    if kind == NOTE_SIGNATURE:
        return verify(Algorithm.EDDSA, public, checkpoint.note_body(), line.signature)
    seconds = line.seconds
    if seconds is None:
        return False
    return verify(Algorithm.EDDSA, public, cosigned_message(checkpoint, seconds), line.signature[8:])


def check_line(checkpoint: Checkpoint, line: SignatureLine, name: str, kind: int, public: bytes) -> bool:
    """Whether this line is a signature of that kind, over this checkpoint, by the key of that name."""
    claimed = line.name == name and line.key_hash == key_hash(name, kind, public)
    return claimed and _holds(checkpoint, line, kind, public)


# -------------------------------------------------------------------------------------------------------- authority


@dataclass(frozen=True, slots=True)
class CheckpointKey:
    """An Ed25519 key that signs checkpoints, and when: from `starts` until before `ends`."""

    public: bytes
    starts: BlockTime
    ends: BlockTime

    def covers(self, at: int) -> bool:
        return self.starts <= at < self.ends

    def to_value(self) -> list[Value]:
        return [int(Algorithm.EDDSA), self.public, self.starts, self.ends]

    @classmethod
    def from_value(cls, value: Value) -> "CheckpointKey":
        match value:
            case [int(algorithm), bytes(public), int(starts), int(ends)] if len(public) == 32:
                if algorithm != Algorithm.EDDSA:
                    raise ValueError(f"expected an Ed25519 key ({int(Algorithm.EDDSA)}), got algorithm {algorithm}")
                return cls(public, BlockTime(starts), BlockTime(ends))
        raise ValueError(f"expected [algorithm, public key, from, to], got {value!r:.80}")


def _keys(value: Value) -> tuple[CheckpointKey, ...]:
    if not isinstance(value, list):
        raise ValueError(f"expected an array of keys, got {type(value).__name__}")
    return tuple(map(CheckpointKey.from_value, value))


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A member as the authority names it. `ca` is the digest of its CA certificate's bytes (32 bytes)."""

    member: MemberId
    weight: int
    kind: int
    ca: Digest
    keys: tuple[CheckpointKey, ...]

    def to_value(self) -> list[Value]:
        return [self.member, self.weight, self.kind, self.ca, [key.to_value() for key in self.keys]]

    @classmethod
    def from_value(cls, value: Value) -> "Cosigner":
        match value:
            case [str(member), int(weight), int(kind), bytes(ca), list(keys)] if weight >= 0 and len(ca) == 32:
                return cls(parse_member_id(member), weight, kind, Digest(ca), _keys(keys))
        raise ValueError(f"expected [member, weight, kind, digest of its CA, keys], got {value!r:.80}")


@dataclass(frozen=True, slots=True)
class Authority:
    """Who makes checkpoints binding: the state value under the key `authority`.

    Wire: {1: epoch, 2: [cosigner...] in ascending order of member, 3: [operator, [sequencer key...]], 4: 1 for a
    pilot, else 0}. The epoch grows by one with each change. `operator` is "" where consensus orders.
    """

    epoch: int
    cosigners: tuple[Cosigner, ...]
    operator: MemberId
    sequencer: tuple[CheckpointKey, ...]
    pilot: bool

    def __post_init__(self) -> None:
        members = [cosigner.member for cosigner in self.cosigners]
        if members != sorted(set(members)):
            raise ValueError("expected each cosigner once, in ascending order of member")
        owner: dict[bytes, str] = {}
        if any(
            owner.setdefault(key.public, each.member) != each.member for each in self.cosigners for key in each.keys
        ):
            raise ValueError("expected no cosigning key under two members: a cosignature does not sign its name")

    @property
    def total(self) -> int:
        return sum(cosigner.weight for cosigner in self.cosigners)

    def cosigner(self, member: str) -> Cosigner | None:
        return next((cosigner for cosigner in self.cosigners if cosigner.member == member), None)

    @property
    def consensus(self) -> bool:
        """Whether the members agree on each block, and nobody signs checkpoints before they do."""
        return not self.operator

    def to_value(self) -> dict[int, Value]:
        return {
            1: self.epoch,
            2: [cosigner.to_value() for cosigner in self.cosigners],
            3: [self.operator, [key.to_value() for key in self.sequencer]],
            4: int(self.pilot),
        }

    @classmethod
    def from_value(cls, value: Value) -> "Authority":
        match value:
            case {1: int(epoch), 2: list(cosigners), 3: [str(operator), list(sequencer)], 4: int(pilot), **rest} if (
                epoch >= 0 and pilot in (0, 1) and not rest
            ):
                return cls(
                    epoch,
                    tuple(map(Cosigner.from_value, cosigners)),
                    parse_operator(operator),
                    _keys(sequencer),
                    pilot == 1,
                )
        raise ValueError(f"expected an authority {{epoch, cosigners, sequencer, pilot}}, got {value!r:.80}")

    def to_bytes(self) -> bytes:
        return encode(self.to_value())

    @classmethod
    def parse(cls, data: bytes) -> "Authority":
        """Raises ValueError (EncodingError for bytes that are not our encoding)."""
        return cls.from_value(decode(data))


# ----------------------------------------------------------------------------------------------------------- quorum


@dataclass(frozen=True, slots=True)
class Quorum:
    """What the cosignatures of one checkpoint add up to.

    `median_time` (ms) is the weighted median of the members' earliest cosigning times: less than a third of the
    weight is dishonest, so some honest member had seen this root by the end of that second (`before`).
    `fresh_time` (ms) is the latest time that more than two thirds of the weight reached with their latest: honest
    members of more than a third still held this root to be the log's head then, so no quorum had passed it yet. A
    median would show less: one dishonest member and one that is cut off from the rest could keep an old root young
    for ever (docs/decisions/0013). `unknown` counts lines of keys that the authority does not name; they prove nothing.
    """

    weight: int
    total: int
    median_time: BlockTime
    fresh_time: BlockTime
    members: tuple[MemberId, ...]
    operator_signed: bool
    unknown: int

    @property
    def before(self) -> BlockTime:
        """The root existed before this time: a cosignature says a whole second, and may come late in it."""
        return BlockTime(self.median_time + 1000)


def check_quorum(
    checkpoint: Checkpoint, cosignatures: Iterable[SignatureLine], authority: Authority, at: BlockTime | None = None
) -> Quorum:
    """Judges the lines under a checkpoint by the authority in force for it.

    A cosigning key counts at the times it is valid for. `at` is the latest time believed (a node passes its clock
    and some seconds; offline there is none): a later cosignature is refused. Unknown lines are ignored, as C2SP asks.

    Raises CosignatureError when a line of a known key does not hold, WeakQuorum at two thirds of the weight or less.
    """
    times: dict[MemberId, list[int]] = {}
    operator_signed, unknown = False, 0
    for line in dict.fromkeys(cosignatures):
        signer = _signer(checkpoint, line, authority)
        if signer is None:
            unknown += 1
            continue
        member, kind, public = signer
        if not _holds(checkpoint, line, kind, public):
            raise CosignatureError(
                f"expected a signature of {line.name} over {checkpoint.origin} at size {checkpoint.size}, "
                f"got one that does not verify"
            )
        if kind == NOTE_SIGNATURE:
            operator_signed = True
            continue
        seconds = line.seconds
        assert seconds is not None
        if at is not None and seconds * 1000 > at:
            raise CosignatureError(f"expected a cosigning time up to {at} ms, got {seconds} s from {member}")
        times.setdefault(member, []).append(seconds)
    weights = {cosigner.member: cosigner.weight for cosigner in authority.cosigners}
    members = tuple(sorted(times))
    weight, total = sum(weights[member] for member in members), authority.total
    if weight * 3 <= total * 2:
        raise WeakQuorum(weight, total)
    earliest = _median([(min(times[member]), weights[member]) for member in members])
    latest = _reached_by_quorum([(max(times[member]), weights[member]) for member in members], total)
    return Quorum(
        weight, total, BlockTime(earliest * 1000), BlockTime(latest * 1000), members, operator_signed, unknown
    )


def _signer(checkpoint: Checkpoint, line: SignatureLine, authority: Authority) -> tuple[MemberId, int, bytes] | None:
    """The member, kind of signature and public key that a line claims, if the authority knows it for that time."""
    if line.name == checkpoint.origin:
        for key in authority.sequencer:  # a plain note signature says no time, so validity cannot be judged by it
            if key_hash(line.name, NOTE_SIGNATURE, key.public) == line.key_hash:
                return authority.operator, NOTE_SIGNATURE, key.public
        return None
    cosigner, seconds = authority.cosigner(line.name), line.seconds
    if cosigner is None or seconds is None:
        return None
    for key in cosigner.keys:
        if key.covers(seconds * 1000 + 999) and key_hash(line.name, COSIGNATURE, key.public) == line.key_hash:
            return cosigner.member, COSIGNATURE, key.public
    return None


def known_lines(note: Note, authority: Authority) -> Note:
    """The note without lines of keys that the authority does not name: what evidence and trust files carry."""
    return Note(
        note.checkpoint, tuple(line for line in note.lines if _signer(note.checkpoint, line, authority) is not None)
    )


def _median(times: list[tuple[int, int]]) -> int:
    """The smallest time by which more than half of the weight had come."""
    weight = sum(each for _, each in times)
    reached = 0
    for time, each in sorted(times):
        reached += each
        if reached * 2 > weight:
            return time
    raise ValueError("expected some weight")


def _reached_by_quorum(times: list[tuple[int, int]], total: int) -> int:
    """The largest time that members with more than two thirds of all weight reached."""
    reached = 0
    for time, each in sorted(times, reverse=True):
        reached += each
        if reached * 3 > total * 2:
            return time
    raise ValueError("expected more than two thirds of the weight")


def two_roots(first: Note, second: Note, name: str, kind: int, public: bytes) -> bool:
    """Whether one key signed two roots for one size of one log: the proof of a fork, which names who made it."""
    one, other = first.checkpoint, second.checkpoint
    return (
        one.origin == other.origin
        and one.size == other.size
        and one.root != other.root
        and any(check_line(one, line, name, kind, public) for line in first.lines)
        and any(check_line(other, line, name, kind, public) for line in second.lines)
    )
