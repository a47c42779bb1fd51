"""Evidence held against evidence: two roots for one size are two histories, and who signed both of them is named."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from commonward.apps.verify_report import printable
from commonward.apps.verify_words import WORDS
from commonward.ledger.checkpoint import Note
from commonward.records.misbehaviour import TwoRoots, conflict, notes_in, who_signed_both
from commonward.records.trust import Trust, TrustRefused, TrustUnreadable, load_trust


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two files showed, side by side. `proofs`: one for each key that signed two roots for one size."""

    text: str
    fork: bool
    proofs: tuple[TwoRoots, ...] = ()

    def to_json(self) -> dict[str, object]:
        signed = [
            {"member": each.member, "role": "sequencer" if each.sequencer else "cosigner", "key": each.key.hex()}
            for each in self.proofs
        ]
        return {"fork": self.text, "signed_both": signed} if self.fork else {"compared": self.text}


def compare(
    files: Mapping[str, bytes], trust_bytes: bytes, against: Mapping[str, bytes] | None = None, *, lang: str = "en"
) -> list[Comparison]:
    """Holds every file against every other, and against each of `against`: checkpoints of other origin.

    Of two of `files` only what speaks against somebody is told; of `against`, which the reader asked about, all.

    Args:
        files: by name; evidence files.
        against: by name; evidence files, bare checkpoint notes as a member's node shows them, or trust files.
    """
    try:
        trust = load_trust(trust_bytes)
    except (TrustUnreadable, TrustRefused):
        return []
    ours = [(name, note) for name, data in sorted(files.items()) for note in _notes(data)]
    theirs = [(name, note) for name, data in sorted((against or {}).items()) for note in _notes(data)]
    pairs = [(one, other) for at, one in enumerate(ours) for other in ours[at + 1 :]]
    found = [each for one, other in pairs if (each := _compared(one, other, trust, lang)).fork]
    return found + [_compared(one, other, trust, lang) for one in ours for other in theirs]


def _notes(data: bytes) -> Iterator[Note]:
    """Of a file that cannot be read there is nothing to compare; that it cannot is said elsewhere."""
    try:
        yield from notes_in(data)
    except ValueError:
        return


def _compared(first: tuple[str, Note], second: tuple[str, Note], trust: Trust, lang: str) -> Comparison:
    words, one, other = WORDS[lang], first[1].checkpoint, second[1].checkpoint
    said = {"first": printable(first[0]), "second": printable(second[0]), "size": one.size, "more": other.size}
    if not conflict(first[1], second[1]):
        return Comparison(words["same" if one == other else "other-size"].format(**said), False)
    proofs = who_signed_both(first[1], second[1], trust)
    if not proofs:
        return Comparison(words["made-up"].format(**said), False)
    liars = ", ".join(each.member + (f" ({words['sequencer']})" if each.sequencer else "") for each in proofs)
    return Comparison(
        words["fork"].format(**said, one=one.root.hex(), other=other.root.hex(), members=liars), True, proofs
    )
