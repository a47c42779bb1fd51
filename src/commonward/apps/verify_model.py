"""`commonward verify MODEL.safetensors`: a model held against its lineage (MODEL.lineage beside it), each step said.

Numpy is loaded here, and only where a model is to be verified.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from commonward.apps.verify_report import CONVINCES, DOES_NOT, UNREADABLE, Report, Step, printable
from commonward.apps.verify_words import WORDS
from commonward.records.findings import Finding, State
from commonward.records.lineage import Lineage, LineageJudgement, LineageUnreadable, judge_lineage
from commonward.records.model import MAX_BYTES, ModelError
from commonward.records.model_file import MAX_HEADER, ModelFileError, read_model
from commonward.records.trust import TrustRefused, TrustUnreadable, load_trust

__all__ = ["LINEAGE_SUFFIX", "MODEL_SUFFIX", "is_model", "judged", "verify_model"]

MODEL_SUFFIX: Final = ".safetensors"
LINEAGE_SUFFIX: Final = ".lineage"
_MAX_LINEAGE: Final = 256 << 20

_STEPS: Final[Mapping[str, Mapping[str, tuple[str, str, str]]]] = {
    "en": {
        "chain": (
            "The chain holds: {rounds} rounds of study {study}, each from where the one before ended. Its end: {link}.",
            "The chain is broken: {why}.",
            "The chain was not checked.",
        ),
        "manifests": (
            "The manifests of the sites' rows are those that the rounds name ({shown}).",
            "A manifest here is none that the rounds name: {why}.",
            "Manifests that the rounds name and this file lacks: of {missing}.",
        ),
        "countersigned": (
            "{signers} countersigned the end of the chain: {wanted} of {voters} were needed, and each of these "
            "signatures was accepted by the ledger under a checkpoint that its members cosigned.",
            "Its end is not countersigned by enough sites: {why}.",
            "The countersignatures were not checked.",
        ),
        "model": (
            "The model's digest is the one that they signed: {digest}.",
            "This is another model: they signed {expected}, its digest is {digest}.",
            "The model was not compared.",
        ),
    },
    "zh": {
        "chain": (
            "链完整：研究 {study} 的 {rounds} 轮，每轮都从前一轮结束处开始。链尾：{link}。",
            "链断裂：{why}。",
            "链未检查。",
        ),
        "manifests": (
            "各机构数据清单与各轮所列一致（{shown} 份）。",
            "此处的清单并非各轮所列：{why}。",
            "各轮所列而本文件缺少的清单：{missing}。",
        ),
        "countersigned": (
            "{signers} 会签了链尾：{voters} 中需 {wanted} 家，每份签名均被账本接受，且在成员联署的检查点之下。",
            "会签链尾的机构不足：{why}。",
            "会签未检查。",
        ),
        "model": (
            "模型摘要与其所签一致：{digest}。",
            "这是另一个模型：所签为 {expected}，其摘要为 {digest}。",
            "模型未比较。",
        ),
    },
}  # fmt: skip

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "convinces": "This model came out of study {study} as its sites countersigned it.",
        "incomplete": "The study had more rounds to come: this is the model of round {rounds}.",
        "vouch": "That the aggregation itself was right, two thirds of the sites vouch for; who holds the sealed "
        "updates can compute it again (`commonward study verify --replay`).",
        "no-lineage": "no lineage beside it: expected {path}",
    },
    "zh": {
        "convinces": "该模型由研究 {study} 得出，与各机构会签的一致。",
        "incomplete": "该研究尚有后续轮次：这是第 {rounds} 轮的模型。",
        "vouch": "聚合本身是否正确，由三分之二的机构担保；"
        "持有密封更新者可重新计算（`commonward study verify --replay`）。",
        "no-lineage": "旁边没有沿革文件：应为 {path}",
    },
}


def is_model(path: Path) -> bool:
    """By its name: what a file is, is never found out by opening it."""
    return path.suffix == MODEL_SUFFIX


def verify_model(path: Path, trust_bytes: bytes, lang: str = "en") -> Report:
    """Reads the model and the lineage beside it. Never raises for what is in them. Raises OSError for the model."""
    beside = path.with_suffix(LINEAGE_SUFFIX)
    try:
        model_bytes = _bytes(path, MAX_BYTES + MAX_HEADER)
        lineage_bytes = _lineage(beside)
    except _Endless as cause:
        return Report(UNREADABLE, WORDS[lang]["unreadable"].format(why=printable(str(cause))))
    if lineage_bytes is None:
        why = _WORDS[lang]["no-lineage"].format(path=printable(str(beside)))
        return Report(UNREADABLE, WORDS[lang]["unreadable"].format(why=why))
    return judged(model_bytes, lineage_bytes, trust_bytes, lang)


def _lineage(path: Path) -> bytes | None:
    """None where there is none beside the model. Raises _Endless."""
    try:
        return _bytes(path, _MAX_LINEAGE)
    except OSError:
        return None


def _bytes(path: Path, most: int) -> bytes:
    """A file that somebody hands over may be as large as they like, or have no end. Raises OSError, and _Endless."""
    found = path.stat()
    if found.st_size > most or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise _Endless(f"{path}: expected a file of at most {most} bytes")
    return path.read_bytes()


class _Endless(ValueError):
    """A file that is not read at all."""


def judged(model_bytes: bytes, lineage_bytes: bytes, trust_bytes: bytes, lang: str = "en") -> Report:
    """Holds a model against its lineage. Never raises for what is in the files."""
    words = WORDS[lang]
    try:
        model, lineage, trust = read_model(model_bytes), Lineage.parse(lineage_bytes), load_trust(trust_bytes)
    except (ModelFileError, ModelError, LineageUnreadable, TrustUnreadable) as cause:
        return Report(UNREADABLE, words["unreadable"].format(why=printable(str(cause))))
    except TrustRefused as cause:
        return Report(DOES_NOT, words["untrusted"].format(why=printable(str(cause))))
    found = judge_lineage(lineage, trust, model)
    said = _WORDS[lang]
    verdict = said["convinces"].format(study=found.study.hex()) if found.convinces else words["refused"]
    return Report(
        CONVINCES if found.convinces else DOES_NOT,
        verdict,
        tuple(_step(number, each, lang) for number, each in enumerate(found.findings, 1)),
        _notes(found, len(lineage.rounds), said, words),
        trust.ledger_id.hex(),
        trust.fingerprint.hex(),
        earlier=tuple(each.ledger_id.hex() for each in trust.ledgers())[1:],
    )


def _notes(
    found: LineageJudgement, rounds: int, said: Mapping[str, str], words: Mapping[str, str]
) -> tuple[str, ...]:  # fmt: skip
    notes = [said["vouch"]] if found.convinces else []
    if found.convinces and not found.complete:
        notes.append(said["incomplete"].format(rounds=rounds))
    if found.pilot:
        notes.append(words["pilot"])
    return tuple(notes)


def _step(number: int, finding: Finding, lang: str) -> Step:
    which = (State.PASSED, State.FAILED, State.NOT_CHECKED).index(finding.state)
    facts = {name: _shown(value, lang) for name, value in finding.facts.items()}
    return Step(number, finding.rule, finding.state.value, _STEPS[lang][finding.rule][which].format_map(_Facts(facts)))


class _Facts(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


def _shown(value: object, lang: str) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return printable(", ".join(map(str, value))) or WORDS[lang]["none"]
    return printable(str(value))
