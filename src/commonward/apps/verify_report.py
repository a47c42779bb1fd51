"""What `commonward verify` found of one file, as people and machines read it: the findings in sentences, the verdict.

Says no more than was checked. Never raises for what is in the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from commonward.apps.verify_text import CATALOGUES
from commonward.apps.verify_words import WORDS
from commonward.ledger.checkpoint import parse_note
from commonward.records.evidence import Evidence, EvidenceUnreadable
from commonward.records.findings import Fact, Finding, State
from commonward.records.judging import Judgement, judge
from commonward.records.misbehaviour import HEADER as TWO_ROOTS
from commonward.records.misbehaviour import ProofUnreadable, TwoRoots, parse_proofs
from commonward.records.trust import Trust, TrustRefused, TrustUnreadable, load_trust

CONVINCES: Final = 0
DOES_NOT: Final = 1
UNREADABLE: Final = 2

_TIMES: Final = frozenset({"time", "before", "starts", "ends"})
_LAST_MS: Final = 253_402_300_799_999
"""The last moment of the year 9999: later ones have no date that people read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step, as people read it."""

    number: int
    rule: str
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `verdict` is one sentence, and says no more than was checked."""

    exit_code: int
    verdict: str
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    genesis: str = ""
    trust_file: str = ""
    bracket: Mapping[str, int | str | None] = field(default_factory=dict)
    """In ms: signed after, ordered after, before; and before when a time-stamping authority says, and which."""
    earlier: tuple[str, ...] = ()
    """Fingerprints of the geneses of the ledgers that this one goes on from, the latest first."""

    def to_json(self) -> dict[str, object]:
        return {
            "convinces": self.exit_code == CONVINCES,
            "exit": self.exit_code,
            "verdict": self.verdict,
            "genesis": self.genesis,
            "earlier_geneses": list(self.earlier),
            "trust_file": self.trust_file,
            "bracket": dict(self.bracket),
            "notes": list(self.notes),
            "steps": [
                {"number": step.number, "rule": step.rule, "state": step.state, "text": step.text}
                for step in self.steps
            ],
        }


# ------------------------------------------------------------------------------------------------------------- text


@lru_cache(maxsize=4096)
def when(ms: int) -> str:
    """UTC to the second, or to the millisecond where there are any."""
    if not 0 <= ms <= _LAST_MS:
        return f"{ms} ms after 1970"
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{ms % 1000:03d}" if ms % 1000 else "") + " UTC"


def printable(text: str) -> str:
    """Text of others, without what could move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _shown(name: str, fact: Fact, words: Mapping[str, str]) -> str:
    if isinstance(fact, bytes):
        return fact.hex()
    if isinstance(fact, tuple):
        return printable(", ".join(fact)) or words["none"]
    if isinstance(fact, int) and name in _TIMES:
        return when(fact)
    return printable(str(fact))


def _step(number: int, finding: Finding, lang: str) -> Step:
    words, sentences = WORDS[lang], CATALOGUES[lang][finding.rule]
    which = (State.PASSED, State.FAILED, State.NOT_CHECKED).index(finding.state)
    text = sentences[which].format_map(_Facts(finding.facts, words)).strip()
    return Step(number, finding.rule, finding.state.value, text)


class _Facts(dict[str, str]):
    """Facts as a sentence asks for them; those that a finding lacks read as nothing."""

    def __init__(self, facts: Mapping[str, Fact], words: Mapping[str, str]) -> None:
        super().__init__()
        self._facts = facts
        self._words = words

    def __missing__(self, name: str) -> str:
        fact = self._facts.get(name)
        return "" if fact is None else _shown(name, fact, self._words)


def _verdict(judgement: Judgement, words: Mapping[str, str]) -> str:
    if not judgement.convinces or judgement.before is None:
        return words["refused"]
    sentence = words.get(judgement.kind, words["other"])
    return sentence.format(
        before=when(judgement.before), member=judgement.member or words["nobody"], kind=judgement.kind
    )


# ------------------------------------------------------------------------------------------------------------ report


def verify_file(
    evidence_bytes: bytes,
    trust_bytes: bytes,
    record_bytes: bytes | None = None,
    authorities: bytes | None = None,
    *,
    lang: str = "en",
) -> Report:
    """Judges one evidence file, or a proof that a key signed two roots. Never raises for what is in the files.

    Args:
        record_bytes: the record's stored bytes, the raw source message, or a release's sealed bundle, when it is not
            inside the evidence or is to be compared with it.
        authorities: certificates (PEM) of the time-stamping authorities that the reader believes.
    """
    words = WORDS[lang]
    try:
        accused = evidence_bytes.startswith(TWO_ROOTS.encode())
        shown = parse_proofs(evidence_bytes) if accused else Evidence.parse(evidence_bytes)
        trust = load_trust(trust_bytes)
    except (EvidenceUnreadable, ProofUnreadable, TrustUnreadable) as cause:
        return Report(UNREADABLE, words["unreadable"].format(why=printable(str(cause))))
    except TrustRefused as cause:
        return Report(DOES_NOT, words["untrusted"].format(why=printable(str(cause))))
    if isinstance(shown, Evidence):
        return _report(judge(shown, trust, record_bytes, authorities), trust, lang)
    return _accusation(shown, trust, lang)


def _report(judgement: Judgement, trust: Trust, lang: str) -> Report:
    words = WORDS[lang]
    notes = []
    if judgement.before is not None:
        after, ordered = judgement.signed_after, judgement.ordered
        notes.append(
            words["bracket" if judgement.stamped is None else "stamped-bracket"].format(
                after=words["unknown"] if after is None else when(after),
                ordered=words["unknown"] if ordered is None else when(ordered),
                before=when(judgement.before),
                stamped="" if judgement.stamped is None else when(judgement.stamped),
                stamper=printable(judgement.stamper),
            )
        )
    if judgement.pilot:
        notes.append(words["pilot"])
    elif judgement.before is not None:
        notes.append(
            words["rests-solo" if judgement.operator else "rests-consensus"].format(operator=judgement.operator)
        )
    return Report(
        CONVINCES if judgement.convinces else DOES_NOT,
        _verdict(judgement, words),
        tuple(_step(number, finding, lang) for number, finding in enumerate(judgement.findings, 1)),
        tuple(notes),
        trust.ledger_id.hex(),
        trust.fingerprint.hex(),
        {
            "after": judgement.signed_after,
            "ordered": judgement.ordered,
            "before": judgement.before,
            "stamped_before": judgement.stamped,
            "stamped_by": judgement.stamper or None,
        },
        _earlier(trust),
    )


def _earlier(trust: Trust) -> tuple[str, ...]:
    return tuple(each.ledger_id.hex() for each in trust.ledgers())[1:]


def _accusation(proofs: tuple[TwoRoots, ...], trust: Trust, lang: str) -> Report:
    """Of a file of proofs that keys signed two roots for one size: convinces when every one of them holds."""
    words, steps, liars, whole = WORDS[lang], [], [], True
    for number, proof in enumerate(proofs, 1):
        role = words["sequencer" if proof.sequencer else "cosigner"]
        signer = proof.holds(trust)
        if signer is None:
            whole = False
            why = words["why-not-signed"].format(role=role)
            text = words["no-two-roots"].format(member=printable(proof.member), why=why)
            steps.append(Step(number, "two-roots", State.FAILED.value, text))
            continue
        liars.append(str(signer.member))
        one, other = parse_note(proof.first).checkpoint, parse_note(proof.second).checkpoint
        text = words["two-roots"].format(
            member=signer.member, role=role, key=proof.key.hex(), size=one.size, one=one.root.hex(),
            other=other.root.hex(),
        )  # fmt: skip
        steps.append(Step(number, "two-roots", State.PASSED.value, text))
    return Report(
        CONVINCES if whole else DOES_NOT,
        words["misbehaved"].format(members=", ".join(dict.fromkeys(liars))) if whole else words["refused"],
        tuple(steps),
        (),
        trust.ledger_id.hex(),
        trust.fingerprint.hex(),
        earlier=_earlier(trust),
    )
