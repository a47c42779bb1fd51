"""`commonward verify FILE`: checks evidence offline, with no account and no data directory, and says each step.

    python -m commonward.apps.verify FILE... --trust TRUST [--record RECORD] [--lang zh] [--json]

Exit status: 0 when every file convinces, 1 when one does not, 2 when one cannot be read. Without --trust, the file
`trust` or `*.trust` beside the evidence is taken, if there is exactly one. Of several files, two that rest on two
histories of one length show a fork, and who signed both is named.

Imports the ledger and the records alone, so that an auditor can read all that it rests on.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from commonward.apps.verify_text import CATALOGUES, WORDS
from commonward.ledger.checkpoint import CosignatureError, WeakQuorum, parse_note
from commonward.records.evidence import Evidence, EvidenceUnreadable
from commonward.records.judging import Fact, Finding, Judgement, State, forks, judge
from commonward.records.trust import Trust, TrustRefused, TrustUnreadable, fingerprint_words, load_trust

CONVINCES: Final = 0
DOES_NOT: Final = 1
UNREADABLE: Final = 2

_TIMES: Final = frozenset({"time", "before"})


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

    def to_json(self) -> dict[str, object]:
        return {
            "convinces": self.exit_code == CONVINCES,
            "exit": self.exit_code,
            "verdict": self.verdict,
            "genesis": self.genesis,
            "trust_file": self.trust_file,
            "notes": list(self.notes),
            "steps": [
                {"number": step.number, "rule": step.rule, "state": step.state, "text": step.text}
                for step in self.steps
            ],
        }


# ------------------------------------------------------------------------------------------------------------- text


@lru_cache(maxsize=4096)
def _when(ms: int) -> str:
    """UTC to the second, or to the millisecond where there are any."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{ms % 1000:03d}" if ms % 1000 else "") + " UTC"


def _printable(text: str) -> str:
    """Text of others, without what could move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _shown(name: str, fact: Fact, words: Mapping[str, str]) -> str:
    if isinstance(fact, bytes):
        return fact.hex()
    if isinstance(fact, tuple):
        return _printable(", ".join(fact)) or words["none"]
    if isinstance(fact, int) and name in _TIMES:
        return _when(fact)
    return _printable(str(fact))


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
        before=_when(judgement.before), member=judgement.member or words["nobody"], kind=judgement.kind
    )


# ------------------------------------------------------------------------------------------------------------ report


def verify_file(
    evidence_bytes: bytes, trust_bytes: bytes, record_bytes: bytes | None = None, *, lang: str = "en"
) -> Report:
    """Judges one evidence file. Never raises for what is in the files.

    Args:
        record_bytes: the record's stored bytes, the raw source message, or a release's sealed bundle, when it is not
            inside the evidence or is to be compared with it.
    """
    words = WORDS[lang]
    try:
        evidence = Evidence.parse(evidence_bytes)
    except EvidenceUnreadable as cause:
        return Report(UNREADABLE, words["unreadable"].format(why=_printable(str(cause))))
    try:
        trust = load_trust(trust_bytes)
    except TrustUnreadable as cause:
        return Report(UNREADABLE, words["unreadable"].format(why=_printable(str(cause))))
    except TrustRefused as cause:
        return Report(DOES_NOT, words["untrusted"].format(why=_printable(str(cause))))
    return _report(judge(evidence, trust, record_bytes), trust, lang)


def _report(judgement: Judgement, trust: Trust, lang: str) -> Report:
    words = WORDS[lang]
    notes = []
    if judgement.before is not None:
        after, ordered = judgement.signed_after, judgement.ordered
        notes.append(
            words["bracket"].format(
                after=words["unknown"] if after is None else _when(after),
                ordered=words["unknown"] if ordered is None else _when(ordered),
                before=_when(judgement.before),
            )
        )
    if judgement.pilot:
        notes.append(words["pilot"])
    return Report(
        CONVINCES if judgement.convinces else DOES_NOT,
        _verdict(judgement, words),
        tuple(_step(number, finding, lang) for number, finding in enumerate(judgement.findings, 1)),
        tuple(notes),
        trust.ledger_id.hex(),
        trust.fingerprint.hex(),
    )


def find_forks(files: Mapping[str, bytes], trust_bytes: bytes, *, lang: str = "en") -> list[str]:
    """A sentence for each pair of files that rest on two roots for one size, naming who signed both."""
    try:
        trust = load_trust(trust_bytes)
        read = {name: Evidence.parse(data) for name, data in files.items()}
    except (TrustUnreadable, TrustRefused, EvidenceUnreadable):
        return []
    names = sorted(read)
    found = []
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            if forks(read[first], read[second]):
                both = _signers(read[first], trust) & _signers(read[second], trust)
                liars = ", ".join(sorted(both)) or WORDS[lang]["nobody"]
                found.append(WORDS[lang]["fork"].format(first=first, second=second, members=liars))
    return found


def _signers(evidence: Evidence, trust: Trust) -> set[str]:
    """Members whose signature over the checkpoint holds, by the quorum's own check."""
    try:
        quorum = trust.quorum(evidence.note)
    except (ValueError, CosignatureError, WeakQuorum):
        return set()
    operator = trust.authority_for(parse_note(evidence.note).checkpoint.size).operator
    return {*quorum.members, *([f"{operator} (sequencer)"] if quorum.operator_signed else [])}


# ----------------------------------------------------------------------------------------------------- command line


def _trust_beside(evidence: Path) -> Path | None:
    found = sorted({*evidence.parent.glob("*.trust"), *evidence.parent.glob("trust")})
    return found[0] if len(found) == 1 else None


def _print(name: str, report: Report, lang: str) -> None:
    words = WORDS[lang]
    print(name)
    if report.genesis:
        print("  " + words["genesis"].format(fingerprint=fingerprint_words(bytes.fromhex(report.genesis))))
        print("  " + words["trust-file"].format(fingerprint=fingerprint_words(bytes.fromhex(report.trust_file))))
    for step in report.steps:
        print(f"  {words['step'].format(number=step.number)} [{words[step.state]}] {step.text}")
    for note in report.notes:
        print("  " + note)
    print("  => " + report.verdict)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="commonward verify",
        description="Checks evidence files offline. Exit status: 0 convinces, 1 does not, 2 cannot be read.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an evidence file (.tlog-proof)")
    parser.add_argument("--trust", type=Path, help="the trust file; get it from two members and compare")
    parser.add_argument("--record", type=Path, help="the record, raw message or sealed bundle it is about")
    parser.add_argument("--lang", choices=sorted(WORDS), default="en")
    parser.add_argument("--json", action="store_true", help="one JSON object a file and line")
    asked = parser.parse_args(argv)
    worst = CONVINCES
    by_trust: dict[bytes, dict[str, bytes]] = {}
    for path in asked.files:
        try:
            report = _judged(path, asked.trust, asked.record, asked.lang, by_trust)
        except OSError as cause:
            why = f"{cause.filename}: {cause.strerror}"
            report = Report(UNREADABLE, WORDS[asked.lang]["unreadable"].format(why=why))
        worst = max(worst, report.exit_code)
        if asked.json:
            print(json.dumps({"file": str(path), **report.to_json()}, ensure_ascii=False))
        else:
            _print(str(path), report, asked.lang)
    for trust_bytes, files in by_trust.items():
        for fork in find_forks(files, trust_bytes, lang=asked.lang):
            worst = max(worst, DOES_NOT)
            print(json.dumps({"fork": fork}, ensure_ascii=False) if asked.json else fork)
    return worst


def _judged(
    path: Path, trust: Path | None, record: Path | None, lang: str, by_trust: dict[bytes, dict[str, bytes]]
) -> Report:
    """Reads and judges one file, and notes it under its trust file if it could be read. Raises OSError."""
    evidence_bytes = path.read_bytes()
    trust = trust or _trust_beside(path)
    if trust is None:
        return Report(UNREADABLE, WORDS[lang]["no-trust"])
    trust_bytes = trust.read_bytes()
    report = verify_file(evidence_bytes, trust_bytes, None if record is None else record.read_bytes(), lang=lang)
    if report.exit_code != UNREADABLE:
        by_trust.setdefault(trust_bytes, {})[str(path)] = evidence_bytes
    return report


if __name__ == "__main__":
    sys.exit(main())
