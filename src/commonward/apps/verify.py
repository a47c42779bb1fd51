"""`commonward verify FILE`: checks evidence offline, with no account and no data directory, and says each step.

    python -m commonward.apps.verify FILE... --trust TRUST [--record RECORD] [--against FILE]
        [--tsa-certificate PEM] [--lang zh] [--json]

A model (`.safetensors`) is held against the lineage that lies beside it (`.lineage`).

Exit status: 0 when every file convinces, 1 when one does not, 2 when one cannot be read. Without --trust, the file
`trust` or `*.trust` beside the evidence is taken, if there is exactly one. Two files that rest on two histories of one
length, or one such and what --against gives (evidence, a trust file, a checkpoint that a member's node showed), are a
proof of misbehaviour of who signed both: it is shown, and written where --proof says, for a court and for the
transaction `Equivocation`.

Imports the ledger and the records alone, so that an auditor can read all that it rests on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from commonward.apps.verify_forks import Comparison, compare
from commonward.apps.verify_report import CONVINCES, DOES_NOT, UNREADABLE, Report, printable, verify_file
from commonward.apps.verify_words import WORDS
from commonward.records.misbehaviour import notes_in, write_proofs
from commonward.records.timestamps import TokenUnreadable, read_authorities
from commonward.records.trust import fingerprint_words

__all__ = ["CONVINCES", "DOES_NOT", "UNREADABLE", "Report", "main", "verify_file"]


def _trust_beside(evidence: Path) -> Path | None:
    found = sorted({*evidence.parent.glob("*.trust"), *evidence.parent.glob("trust")})
    return found[0] if len(found) == 1 else None


def _print(name: str, report: Report, lang: str) -> None:
    words = WORDS[lang]
    print(name)
    if report.genesis:
        print("  " + words["genesis"].format(fingerprint=fingerprint_words(bytes.fromhex(report.genesis))))
        for each in report.earlier:
            print("  " + words["earlier"].format(fingerprint=fingerprint_words(bytes.fromhex(each))))
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
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="an evidence file, or a model (.safetensors, its .lineage beside it)",
    )
    parser.add_argument("--trust", type=Path, help="the trust file; get it from two members and compare")
    parser.add_argument("--record", type=Path, help="the record, raw message or sealed bundle it is about")
    parser.add_argument(
        "--against", type=Path, action="append", default=[],
        help="evidence, trust file or checkpoint of another history",
    )  # fmt: skip
    parser.add_argument("--proof", type=Path, help="where to write the proof, if a key signed two roots for one size")
    parser.add_argument(
        "--tsa-certificate", type=Path, help="certificates (PEM) of the time-stamping authority, up to its root"
    )
    parser.add_argument("--lang", choices=sorted(WORDS), default="en")
    parser.add_argument("--json", action="store_true", help="one JSON object a file and line")
    asked = parser.parse_args(argv)
    try:
        authorities = None if asked.tsa_certificate is None else asked.tsa_certificate.read_bytes()
        if authorities is not None:
            read_authorities(authorities)
    except (OSError, TokenUnreadable) as cause:
        why = cause.strerror if isinstance(cause, OSError) else cause
        _tell(str(asked.tsa_certificate), _unreadable(f"{why}", asked.lang), asked.lang, as_json=asked.json)
        return UNREADABLE
    worst = CONVINCES
    by_trust: dict[bytes, dict[str, bytes]] = {}
    for path in asked.files:
        try:
            report = _judged(path, asked.trust, asked.record, authorities, asked.lang, by_trust)
        except OSError as cause:
            report = _unreadable(f"{cause.filename}: {cause.strerror}", asked.lang)
        worst = max(worst, report.exit_code)
        _tell(str(path), report, asked.lang, as_json=asked.json)
    against, unread = _read(asked.against)
    for name, why in unread.items():
        worst = UNREADABLE
        _tell(name, _unreadable(why, asked.lang), asked.lang, as_json=asked.json)
    compared = [
        each
        for trust_bytes, files in by_trust.items()
        for each in compare(files, trust_bytes, against, lang=asked.lang)
    ]
    for each in compared:
        worst = max(worst, DOES_NOT if each.fork else CONVINCES)
        print(json.dumps(each.to_json(), ensure_ascii=False) if asked.json else each.text)
    if asked.proof is not None:
        worst = max(worst, _write_proof(asked.proof, compared, asked.lang, as_json=asked.json))
    return worst


def _judged(
    path: Path,
    trust: Path | None,
    record: Path | None,
    authorities: bytes | None,
    lang: str,
    by_trust: dict[bytes, dict[str, bytes]],
) -> Report:
    """Reads and judges one file, and notes it under its trust file if it could be read. Raises OSError."""
    trust = trust or _trust_beside(path)
    if trust is None:
        return Report(UNREADABLE, WORDS[lang]["no-trust"])
    trust_bytes = trust.read_bytes()
    if path.suffix == ".safetensors":
        from commonward.apps.verify_model import verify_model  # with numpy, which nothing else here needs

        return verify_model(path, trust_bytes, lang)
    evidence_bytes = path.read_bytes()
    about = None if record is None else record.read_bytes()
    report = verify_file(evidence_bytes, trust_bytes, about, authorities, lang=lang)
    if report.exit_code != UNREADABLE:
        by_trust.setdefault(trust_bytes, {})[str(path)] = evidence_bytes
    return report


def _read(paths: Sequence[Path]) -> tuple[dict[str, bytes], dict[str, str]]:
    """What --against gives by name, and why one of them cannot be read."""
    read, unread = {}, {}
    for path in paths:
        try:
            data = path.read_bytes()
            notes_in(data)
        except OSError as cause:
            unread[str(path)] = f"{cause.strerror}"
        except ValueError as cause:
            unread[str(path)] = str(cause)
        else:
            read[str(path)] = data
    return read, unread


def _write_proof(path: Path, compared: Sequence[Comparison], lang: str, *, as_json: bool) -> int:
    proofs = tuple({each.key: each for one in compared for each in one.proofs}.values())
    words = WORDS[lang]
    if proofs:
        try:
            path.write_bytes(write_proofs(proofs))
        except OSError as cause:
            _tell(str(path), _unreadable(f"{cause.strerror}", lang), lang, as_json=as_json)
            return UNREADABLE
    said = words["proof"].format(path=printable(str(path))) if proofs else words["no-proof"]
    print(json.dumps({"proof": str(path) if proofs else None, "text": said}, ensure_ascii=False) if as_json else said)
    return CONVINCES


def _unreadable(why: str, lang: str) -> Report:
    return Report(UNREADABLE, WORDS[lang]["unreadable"].format(why=printable(why)))


def _tell(name: str, report: Report, lang: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"file": name, **report.to_json()}, ensure_ascii=False))
    else:
        _print(name, report, lang)


if __name__ == "__main__":
    sys.exit(main())
