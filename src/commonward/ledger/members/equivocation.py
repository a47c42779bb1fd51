"""Two roots for one size: whoever signed both loses its weight, whoever shows it."""

from dataclasses import dataclass
from typing import ClassVar

from commonward.ledger.checkpoint import COSIGNATURE, NOTE_SIGNATURE, NoteError, origin_of, parse_note, two_roots
from commonward.ledger.ids import KeyId, LedgerId, Purpose, parse_key_id
from commonward.ledger.members.roll import Roll
from commonward.ledger.refusals import Refusal
from commonward.ledger.wire import Payload, octets, parsed, struct, wire


@dataclass(eq=False)
class NoConflict(Refusal):
    code: ClassVar[int] = 231
    what: str

    def __str__(self) -> str:
        return f"this proves no fork: {self.what}"


@struct
class Equivocation(Payload):
    """Two checkpoint notes of one size and different roots with lines of one key (a sequencer's or a cosigner's)."""

    KIND: ClassVar[int] = 6
    SECOND_SIGNATURES: ClassVar[int] = 2
    key: KeyId = wire(1, parsed(parse_key_id))
    first: bytes = wire(2, octets(1, 6144))
    second: bytes = wire(3, octets(1, 6144))


def equivocation(asked: Equivocation, *, ledger: LedgerId, roll: Roll) -> None:
    """Anyone may show it, and a key that has since been revoked or has ended still names who forked."""
    key = roll.key(asked.key)
    if key is None or key.purpose not in (Purpose.COSIGN, Purpose.SEQUENCE):
        raise NoConflict("expected a registered cosigning or sequencer key")
    try:
        first, second = parse_note(asked.first), parse_note(asked.second)
    except NoteError as cause:
        raise NoConflict(str(cause)) from cause
    origin = origin_of(ledger)
    if first.checkpoint.origin != origin:
        raise NoConflict(f"expected checkpoints of {origin}, got {first.checkpoint.origin}")
    if max(len(first.lines), len(second.lines)) > 1:
        # each of a note's lines may cost a signature check; who shows a fork leaves the other lines out
        raise NoConflict("expected one signature line in each note: that of the key")
    name, kind = (origin, NOTE_SIGNATURE) if key.purpose == Purpose.SEQUENCE else (str(key.member), COSIGNATURE)
    if not two_roots(first, second, name, kind, key.public):
        raise NoConflict("expected one size, two roots and this key's signature under both")
    # No majority and no bound on what this leaves to the others: a third is better than a liar's share.
    roll.put(key.member, roll.must(key.member).but(weight=0))
