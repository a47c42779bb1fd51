"""Whose lines stand under a checkpoint: every key that a trust file names, and why a line of one may not count."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from commonward.ledger.checkpoint import (
    COSIGNATURE,
    NOTE_SIGNATURE,
    Authority,
    CheckpointKey,
    Note,
    SignatureLine,
    check_line,
    key_hash,
)
from commonward.ledger.ids import Algorithm, KeyId, MemberId, key_id
from commonward.records.trust import Trust


@dataclass(frozen=True, slots=True)
class Signer:
    """One key that signs checkpoints: a member's own, or that of the sequencer it operates."""

    member: MemberId
    name: str
    kind: int
    key: CheckpointKey

    @property
    def sequencer(self) -> bool:
        return self.kind == NOTE_SIGNATURE

    @property
    def id(self) -> KeyId:
        return key_id(Algorithm.EDDSA, self.key.public)

    def claimed_by(self, line: SignatureLine) -> bool:
        return line.name == self.name and line.key_hash == key_hash(self.name, self.kind, self.key.public)


def signers_of(authority: Authority, origin: str) -> Iterator[Signer]:
    """Every key that one authority names."""
    for key in authority.sequencer:
        yield Signer(authority.operator, origin, NOTE_SIGNATURE, key)
    for cosigner in authority.cosigners:
        for key in cosigner.keys:
            yield Signer(cosigner.member, str(cosigner.member), COSIGNATURE, key)


def known_signers(trust: Trust) -> tuple[Signer, ...]:
    """Every key that any authority since genesis names, also of ledgers before: an ended one still says who signed."""
    found = (
        signer
        for ledger in trust.ledgers()
        for _, authority in ledger.epochs
        for signer in signers_of(authority, ledger.origin)
    )
    return tuple({(each.name, each.kind, each.key.public): each for each in found}.values())


class Why(Enum):
    """Why a line adds nothing to a checkpoint's weight."""

    TERM = "the key is the member's, and was not valid at the cosigning time"
    REPLACED = "the key was the member's under another authority than the one in force for this size"
    WEIGHTLESS = "the member had no weight at this size"
    STRANGER = "no authority of the trust file names such a key"


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A line that adds nothing. `at` is the cosigning time in ms; the key's term is in `key`."""

    why: Why
    member: str
    at: int = 0
    key: CheckpointKey | None = None


def uncounted(note: Note, trust: Trust) -> list[Uncounted]:
    """The lines of a note that the authority in force for its size gives no weight, each with the reason.

    Only a signature that holds is said to be the member's: anybody can write a line under another's name.
    """
    authority = trust.authority_for(note.checkpoint.size)
    now, ever = list(signers_of(authority, trust.origin_for(note.checkpoint.size))), known_signers(trust)
    found = []
    for line in dict.fromkeys(note.lines):
        at = (line.seconds or 0) * 1000 + 999
        current = next((each for each in now if each.claimed_by(line)), None)
        known = current or next((each for each in ever if each.claimed_by(line)), None)
        if known is None or not check_line(note.checkpoint, line, known.name, known.kind, known.key.public):
            found.append(Uncounted(Why.STRANGER, line.name))
        elif current is None:
            found.append(Uncounted(Why.REPLACED, known.member, at))
        elif known.kind == COSIGNATURE and not any(each.claimed_by(line) and each.key.covers(at) for each in now):
            found.append(Uncounted(Why.TERM, known.member, at - 999, known.key))
        elif known.kind == COSIGNATURE and not _weight(authority, known.member):
            found.append(Uncounted(Why.WEIGHTLESS, known.member, at))
    return found


def _weight(authority: Authority, member: MemberId) -> int:
    cosigner = authority.cosigner(member)
    return 0 if cosigner is None else cosigner.weight
