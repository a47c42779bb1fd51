"""Two roots for one size: the one lie about history that a pair of signatures proves, and whose it is.

Two checkpoints of one log with one size and different roots are two histories. A key of which both bear a good
signature belongs to a liar: the sequencer's, or a member's that cosigned. One such pair is what the transaction
`Equivocation` takes, and what a court can read:

    commonward/equivocation@v1
    key (id of the key that signed both, 64 hex digits)
    signer (member) (cosigner, or sequencer)

    (the first checkpoint: origin, size, root)

    (the key's signature line)

    (the second checkpoint)

    (the key's signature line)

A file may hold several, one after the other with a blank line between.
"""

from dataclasses import dataclass
from typing import Final

from commonward.ledger.checkpoint import Note, NoteError, check_line, parse_note, two_roots
from commonward.ledger.ids import KeyId, parse_key_id
from commonward.records.evidence import HEADER as EVIDENCE
from commonward.records.evidence import Evidence, read_note
from commonward.records.signers import Signer, known_signers
from commonward.records.trust import HEADER as TRUST
from commonward.records.trust import Trust, TrustFile

HEADER: Final = "commonward/equivocation@v1"
MAX_BYTES: Final = 1 << 20
_ROLES: Final = {True: "sequencer", False: "cosigner"}


class ProofUnreadable(ValueError):
    """Not a proof of two roots. Says what was expected, and what came."""


@dataclass(frozen=True, slots=True)
class TwoRoots:
    """A proof as it stands in a file, not believed. `first` and `second` are notes with one line each."""

    key: KeyId
    member: str
    sequencer: bool
    first: bytes
    second: bytes

    def to_text(self) -> str:
        head = f"{HEADER}\nkey {self.key.hex()}\nsigner {self.member} {_ROLES[self.sequencer]}\n"
        return f"{head}\n{self.first.decode()}\n{self.second.decode()}"

    def holds(self, trust: Trust) -> Signer | None:
        """Whose key it is, if that key is one that the trust file names and signed both; None if nothing is proven."""
        try:
            first, second = parse_note(self.first), parse_note(self.second)
        except NoteError:
            return None
        if first.checkpoint.origin not in {ledger.origin for ledger in trust.ledgers()}:
            return None
        for signer in known_signers(trust):
            if (signer.id, signer.sequencer) == (self.key, self.sequencer) and signed_both(first, second, signer):
                return signer
        return None


def write_proofs(proofs: "tuple[TwoRoots, ...]") -> bytes:
    return "\n".join(each.to_text() for each in proofs).encode()


def parse_proofs(data: bytes) -> tuple[TwoRoots, ...]:
    """The proofs of a file, at least one. Raises ProofUnreadable."""
    if len(data) > MAX_BYTES:
        raise ProofUnreadable(f"expected a proof of two roots of at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        parts = data.decode().split("\n\n")
    except UnicodeDecodeError:
        raise ProofUnreadable("expected a proof of two roots in UTF-8 text") from None
    if len(parts) % 5 or not data.endswith(b"\n"):
        raise ProofUnreadable(f"expected {HEADER!r}, then two checkpoints with one signature line each")
    return tuple(_proof(parts[at : at + 5]) for at in range(0, len(parts), 5))


def _proof(parts: list[str]) -> TwoRoots:
    head, first, first_line, second, second_line = parts
    match head.split("\n"):
        case [start, key, signer] if start == HEADER and key.startswith("key ") and signer.startswith("signer "):
            _, member, role = f"{signer} ".split(" ")[:3]
            notes = [
                f"{first}\n\n{first_line}\n".encode(),
                f"{second}\n\n{second_line.removesuffix(chr(10))}\n".encode(),
            ]
            try:
                if role not in _ROLES.values() or any(len(parse_note(each).lines) != 1 for each in notes):
                    raise ProofUnreadable("expected a cosigner or a sequencer, and one signature line in each note")
                return TwoRoots(parse_key_id(bytes.fromhex(key[4:])), member, role == _ROLES[True], *notes)
            except ProofUnreadable:
                raise
            except ValueError as cause:
                raise ProofUnreadable(f"expected a proof of two roots ({cause})") from cause
    raise ProofUnreadable(f"expected {HEADER!r}, a line 'key ...' and a line 'signer ...', got {head!r:.60}")


# ---------------------------------------------------------------------------------------------------------- finding


def signed_both(first: Note, second: Note, signer: Signer) -> bool:
    return two_roots(first, second, signer.name, signer.kind, signer.key.public)


def conflict(first: Note, second: Note) -> bool:
    """Whether these are two roots for one size of one log, whoever signed them."""
    one, other = first.checkpoint, second.checkpoint
    return one.origin == other.origin and one.size == other.size and one.root != other.root


def who_signed_both(first: Note, second: Note, trust: Trust) -> tuple[TwoRoots, ...]:
    """A proof for each key of the trust file that signed both of two roots for one size; in order of member.

    The term of a key does not matter here: who signs two histories with an ended key lies no less.
    """
    if first.checkpoint.origin not in {ledger.origin for ledger in trust.ledgers()} or not conflict(first, second):
        return ()
    liars = [signer for signer in known_signers(trust) if signed_both(first, second, signer)]
    liars.sort(key=lambda signer: (signer.member, signer.sequencer, signer.id))
    return tuple(
        TwoRoots(each.id, each.member, each.sequencer, _line_alone(first, each), _line_alone(second, each))
        for each in liars
    )


def _line_alone(note: Note, signer: Signer) -> bytes:
    good = next(
        line for line in note.lines if check_line(note.checkpoint, line, signer.name, signer.kind, signer.key.public)
    )
    return Note(note.checkpoint, (good,)).to_bytes()


def notes_in(data: bytes) -> tuple[Note, ...]:
    """The checkpoints that a file shows: an evidence file's, those of a trust file's steps, or a bare note's.

    Raises ValueError, whose sentence says what was expected.
    """
    if data.startswith(EVIDENCE.encode() + b"\n"):
        return (read_note(Evidence.parse(data).note),)
    if data.startswith(TRUST.encode() + b"\n"):
        return tuple(read_note(step.note) for step in TrustFile.parse(data).steps)
    return (read_note(data),)
