"""What `commonward verify` says around the steps: verdicts, the time bracket, what the evidence rests on, forks."""

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "passed": "passed",
        "failed": "FAILED",
        "not checked": "not checked",
        "step": "Step {number}",
        "AnchorBatch": "The record is unchanged since {before}, when {member} had anchored it.",
        "Release": "{member} marked this release before {before}; what the file opens is what it committed to.",
        "AnchorPublic": "The original is unchanged since {before}, when {member} had published it.",
        "Consent": "This consent was signed and accepted before {before}.",
        "Withdraw": "This withdrawal was signed and accepted before {before}.",
        "other": "This {kind} was signed and accepted before {before}; what the file opens is what it committed to.",
        "refused": "This file does NOT convince: see the steps that failed or could not be checked.",
        "unreadable": "This cannot be read: {why}.",
        "untrusted": "The trust file does not hold: {why}.",
        "no-trust": "No trust file: give one with --trust FILE (get it from two members and compare).",
        "bracket": "Time: signed after {after}; ordered after {ordered}; all of it before {before}.",
        "stamped-bracket": "Time: signed after {after}; ordered after {ordered}; all of it before {stamped}, as the "
        "time-stamping authority {stamper} says, and before {before}, as the members who cosigned say.",
        "unknown": "an unknown time",
        "pilot": "This ledger is a pilot: one party could rewrite it.",
        "genesis": "Genesis fingerprint: {fingerprint}",
        "earlier": "which goes on from: {fingerprint} (its members signed that)",
        "trust-file": "Trust file fingerprint: {fingerprint} (compare it with another member's)",
        "fork": "PROOF OF MISBEHAVIOUR: {first} and {second} rest on two histories of one length ({size} entries; "
        "roots {one} and {other}). One is false; who signed both: {members}.",
        "made-up": "{first} and {second} rest on two histories of one length ({size} entries), and no key that the "
        "trust file knows signed both: at least one is made up, which proves nothing against a member.",
        "same": "{first} and {second} rest on one history: the same root for {size} entries.",
        "other-size": "{first} and {second} rest on checkpoints of {size} and {more} entries: whether one history "
        "continues the other was not checked.",
        "proof": "Wrote the proof to {path}: `commonward evidence accuse` puts it to the ledger.",
        "no-proof": "No proof was written: no key signed two roots for one size in these files.",
        "two-roots": "{member}'s {role} key {key} signed two roots for {size} entries: {one} and {other}. One of the "
        "histories is false, and it vouched for both.",
        "no-two-roots": "This does not prove that a key of {member} signed two roots for one size: {why}.",
        "why-not-signed": "no {role} key of this id that the trust file knows signed both",
        "misbehaved": "This proves misbehaviour of {members}.",
        "cosigner": "cosigning",
        "sequencer": "sequencer",
        "rests-consensus": "What it rests on: the members agree on each block, and nobody orders alone. It holds as "
        "long as less than a third of the weight is false.",
        "rests-solo": "What it rests on: {operator} orders this ledger, and the members' nodes execute it again and "
        "sign. It holds as long as less than a third of the weight is false. What {operator} left out or delayed does "
        "not show here.",
        "none": "none",
        "nobody": "nobody",
    },
    "zh": {
        "passed": "通过",
        "failed": "不通过",
        "not checked": "未检查",
        "step": "第 {number} 步",
        "AnchorBatch": "该病历自 {before} 起未被改动，{member} 在此之前已将其锚定。",
        "Release": "{member} 在 {before} 之前登记了这次发放；文件公开的内容与其承诺相符。",
        "AnchorPublic": "该原件自 {before} 起未被改动，{member} 在此之前已将其公布。",
        "Consent": "该同意在 {before} 之前签署并被接受。",
        "Withdraw": "该撤回在 {before} 之前签署并被接受。",
        "other": "该 {kind} 在 {before} 之前签署并被接受；文件公开的内容与其承诺相符。",
        "refused": "该文件不足以令人信服：请看未通过或未能检查的步骤。",
        "unreadable": "无法读取：{why}。",
        "untrusted": "信任文件不成立：{why}。",
        "no-trust": "没有信任文件：请用 --trust 文件 给出（从两个成员处取得并比较）。",
        "bracket": "时间：签署于 {after} 之后；排序于 {ordered} 之后；全部在 {before} 之前。",
        "stamped-bracket": "时间：签署于 {after} 之后；排序于 {ordered} 之后；"
        "时间戳机构 {stamper} 证明全部在 {stamped} 之前，联署成员证明全部在 {before} 之前。",
        "unknown": "未知时间",
        "pilot": "该账本为试点：单独一方就可以改写它。",
        "genesis": "创世指纹：{fingerprint}",
        "earlier": "延续自：{fingerprint}（原账本成员已签名确认）",
        "trust-file": "信任文件指纹：{fingerprint}（请与另一成员的比较）",
        "fork": "不当行为的证明：{first} 与 {second} 依据长度相同（{size} 条）而内容不同的两段历史"
        "（根 {one} 与 {other}），其中一段是假的；两段都签署的：{members}。",
        "made-up": "{first} 与 {second} 依据长度相同（{size} 条）而内容不同的两段历史，"
        "但没有信任文件所知的密钥同时签署两者：至少一段是编造的，不能证明任何成员有过错。",
        "same": "{first} 与 {second} 依据同一段历史：{size} 条时的根相同。",
        "other-size": "{first} 与 {second} 依据 {size} 条与 {more} 条时的检查点：一段历史是否延续另一段未检查。",
        "proof": "证明已写入 {path}：用 `commonward evidence accuse` 提交给账本。",
        "no-proof": "没有写出证明：这些文件中没有密钥为同一长度签署两个根。",
        "two-roots": "{member} 的{role}密钥 {key} 为 {size} 条签署了两个根：{one} 与 {other}。"
        "其中一段历史是假的，而它为两段都作了担保。",
        "no-two-roots": "这不能证明 {member} 的密钥为同一长度签署了两个根：{why}。",
        "why-not-signed": "信任文件所知的{role}密钥中没有这一编号的密钥同时签署两者",
        "misbehaved": "这证明了 {members} 的不当行为。",
        "cosigner": "联署",
        "sequencer": "排序",
        "rests-consensus": "其依据：成员们就每个区块达成一致，没有任何一方单独排序。"
        "只要作假的票数不足三分之一，它就成立。",
        "rests-solo": "其依据：{operator} 为该账本排序，各成员的节点重新执行并签署。"
        "只要作假的票数不足三分之一，它就成立。{operator} 遗漏或拖延了什么，这里看不出来。",
        "none": "无",
        "nobody": "无",
    },
}
