"""What `commonward verify` says, in plain words: a sentence for each step and each way it went, in two languages.

Each sentence says what was checked and no more. Braces hold the facts of the finding.
"""

from collections.abc import Mapping
from typing import Final

Sentences = Mapping[str, tuple[str, str, str]]
"""Rule -> (passed, failed, not checked)."""

EN: Final[Sentences] = {
    "ledger": (
        "It speaks of the ledger whose genesis has the fingerprint {expected}.",
        "It speaks of another ledger ({got}) than the trust file ({expected}).",
        "",
    ),
    "checkpoint": (
        "It rests on the checkpoint of {origin} at {size} entries.",
        "It rests on no checkpoint of this ledger. {why}",
        "",
    ),
    "cosigners": (
        "Members with {weight} of {total} votes, more than two thirds, signed that checkpoint: {members}.",
        "That checkpoint is not binding: {why}. (If members changed lately, get a newer trust file.)",
        "",
    ),
    "term": (
        "",
        "{member} signed that checkpoint at {time} with a key that is valid from {starts} until {ends}: outside its "
        "term it does not count.",
        "",
    ),
    "replaced": (
        "",
        "{member} signed that checkpoint with a key that the authority in force for it does not name (it was replaced, "
        "revoked, or came later): it does not count.",
        "",
    ),
    "weightless": (
        "",
        "{member} signed that checkpoint, but had no weight then (suspended, reweighted, or never given any): it does "
        "not count.",
        "",
    ),
    "stranger": (
        "",
        "A signature under the name {name} is by no key that the trust file knows: it does not count.",
        "",
    ),
    "logged": (
        "The outcome is entry {index} of the ledger's history, in block {height}.",
        "The outcome is not in the history under that checkpoint.",
        "",
    ),
    "block": (
        "Block {height}, of {time}, is in the same history.",
        "Block {height} is not in the history under that checkpoint.",
        "",
    ),
    "own-block": ("", "Block {height} does not fit the outcome that is said to stand in it.", ""),
    "fact": ("", "The state after block {height} did not hold what the file says.", ""),
    "accepted": (
        "The ledger accepted it.",
        "The ledger refused it (number {code} {name}): it has no effect.",
        "",
    ),
    "recent": (
        "It was signed after {time}: it names a checkpoint that did not exist before.",
        "It names a checkpoint that is later than itself.",
        "Since when it may have been signed was not checked: the file does not show the checkpoint it names.",
    ),
    "stamped": (
        "Its time stamp is over the same history at {size} entries, which hold it already.",
        "Its time stamp is over {size} entries of which nothing shows that they are this history and hold it.",
        "",
    ),
    "time-stamp": (
        "The time-stamping authority {name} signed that this history stood before {before} (its number {serial}).",
        "Its time stamp does not hold: {why}.",
        "Its time stamp says that it is by {name}, of {time}. Whether it is was not checked: give the authority's "
        "certificate with --tsa-certificate FILE.",
    ),
    "no-stamp": (
        "",
        "",
        "That a time-stamping authority vouches for a time was not checked: the file has no time stamp.",
    ),
    "signature": (
        "Its signature holds.",
        "Its signature does not hold: {why}.",
        "",
    ),
    "author": (
        "The key that signed it was registered for {member} at the time.",
        "The key that signed it was not a valid key of {member} at the time.",
        "Whose key signed it was not checked: the file does not show who registered it.",
    ),
    "passkey": (
        "The passkey that signed it spoke for handle {handle} (registered by {member}).",
        "The passkey shown is not the one that was registered.",
        "Whose passkey signed it was not checked: the file does not show its registration.",
    ),
    "same-bytes": (
        "The record given is the one inside the file.",
        "The record given is not the one inside the file.",
        "",
    ),
    "batch": (
        "The record ({bytes} bytes, fingerprint {fingerprint}) is in the batch that was anchored, to the byte.",
        "The record given is not the one that was anchored: not one byte of it is vouched for.",
        "No record was given, so nothing can be said about one. Give it with --record FILE.",
    ),
    "original": (
        "The anchored original ({type}, {bytes} bytes) is inside the file.",
        "The original given is not the one that was anchored.",
        "",
    ),
    "opening": ("", "What the file says about '{field}' is not what was committed to.", ""),
    "openings": (
        "It committed to what the file opens: {opened}. Still closed: {closed}.",
        "What the file opens is not what was committed to.",
        "Nothing of what it commits to is opened in this file (closed: {closed}).",
    ),
    "rules": (
        "{count} of the rules that the patient agreed to are opened, and are under the consent's root.",
        "A rule shown is not one that the patient agreed to.",
        "",
    ),
    "request": (
        "The request was signed by a {role} of {member} ({department}, number {number}), certified at the time.",
        "The request is not properly signed: {why}.",
        "Who asked was not checked: the file does not open the request.",
    ),
    "not-revoked": (
        "That certificate was not revoked at {time}.",
        "That certificate had been revoked by {time}.",
        "Whether that certificate was revoked was not checked: the file does not show it.",
    ),
    "consent": (
        "Consent {id} was open at {time}.",
        "Consent {id} was not open at {time}.",
        "Whether a consent was open at the time was not checked: the file does not show it.",
    ),
    "sealed": (
        "The sealed bundle given is the one that was offered (digest {digest}).",
        "The sealed bundle given is not the one that was offered.",
        "What was in the bundle was not checked: it was not given.",
    ),
    "withdrawn": (
        "Consent {id} was no longer open after it.",
        "Consent {id} was still open after it.",
        "Whether consent {id} was still open after it was not checked: the file does not show it.",
    ),
}

ZH: Final[Sentences] = {
    "ledger": (
        "它所说的账本，其创世指纹为 {expected}。",
        "它所说的账本（{got}）与信任文件的账本（{expected}）不同。",
        "",
    ),
    "checkpoint": ("它依据 {origin} 在 {size} 条记录时的检查点。", "它没有依据本账本的检查点。{why}", ""),
    "cosigners": (
        "持有 {total} 票中 {weight} 票（超过三分之二）的成员签署了该检查点：{members}。",
        "该检查点没有约束力：{why}。（若成员近期有变动，请取得较新的信任文件。）",
        "",
    ),
    "term": ("", "{member} 于 {time} 签署该检查点，其密钥有效期为 {starts} 至 {ends}：有效期之外不计。", ""),
    "replaced": ("", "{member} 签署该检查点所用的密钥不属于当时有效的授权（已更换、已吊销或其后才登记）：不计。", ""),
    "weightless": ("", "{member} 签署了该检查点，但当时没有票数（被暂停、票数被调整或从未获得）：不计。", ""),
    "stranger": ("", "名为 {name} 的签名不属于信任文件所知的任何密钥：不计。", ""),
    "logged": (
        "其结果是账本历史的第 {index} 条，位于区块 {height}。",
        "该检查点下的历史中没有这一结果。",
        "",
    ),
    "block": ("区块 {height}（{time}）在同一历史中。", "区块 {height} 不在该检查点下的历史中。", ""),
    "own-block": ("", "区块 {height} 与据称在其中的结果不符。", ""),
    "fact": ("", "区块 {height} 之后的状态与文件所说不符。", ""),
    "accepted": ("账本接受了它。", "账本拒绝了它（编号 {code} {name}）：它没有效力。", ""),
    "recent": (
        "它签署于 {time} 之后：它引用的检查点在此之前并不存在。",
        "它引用的检查点晚于它自己。",
        "它最早何时签署未检查：文件没有给出它引用的检查点。",
    ),
    "stamped": (
        "其时间戳针对同一段历史的前 {size} 条，其中已有此结果。",
        "其时间戳针对的 {size} 条，没有任何内容表明它们属于这段历史并含有此结果。",
        "",
    ),
    "time-stamp": (
        "时间戳机构 {name} 签署：这段历史在 {before} 之前已经存在（编号 {serial}）。",
        "其时间戳不成立：{why}。",
        "其时间戳自称由 {name} 于 {time} 签发；是否属实未检查：请用 --tsa-certificate 文件 给出该机构的证书。",
    ),
    "no-stamp": ("", "", "是否有时间戳机构为时间作证未检查：文件没有时间戳。"),
    "signature": ("其签名有效。", "其签名无效：{why}。", ""),
    "author": (
        "签署它的密钥当时登记在 {member} 名下。",
        "签署它的密钥当时不是 {member} 的有效密钥。",
        "签署者是谁未检查：文件没有给出密钥的登记。",
    ),
    "passkey": (
        "签署它的通行密钥代表标识 {handle}（由 {member} 登记）。",
        "文件给出的通行密钥不是登记的那一个。",
        "通行密钥属于谁未检查：文件没有给出其登记。",
    ),
    "same-bytes": ("给出的病历就是文件中的那一份。", "给出的病历不是文件中的那一份。", ""),
    "batch": (
        "该病历（{bytes} 字节，指纹 {fingerprint}）逐字节存在于已锚定的批次中。",
        "给出的病历不是锚定的那一份：其中没有任何内容得到证明。",
        "没有给出病历，因此无法作出任何判断。请用 --record 文件 给出。",
    ),
    "original": ("锚定的原件（{type}，{bytes} 字节）在文件中。", "给出的原件不是锚定的那一份。", ""),
    "opening": ("", "文件关于“{field}”的说法与所承诺的不符。", ""),
    "openings": (
        "文件公开的内容与承诺相符：{opened}。仍未公开：{closed}。",
        "文件公开的内容与承诺不符。",
        "文件没有公开它承诺的任何内容（未公开：{closed}）。",
    ),
    "rules": (
        "公开了患者所同意的 {count} 条规则，均属于该同意。",
        "所示规则中有患者没有同意过的。",
        "",
    ),
    "request": (
        "请求由 {member} 的 {role}（{department}，编号 {number}）签署，当时证书有效。",
        "请求的签署不成立：{why}。",
        "由谁请求未检查：文件没有公开请求。",
    ),
    "not-revoked": (
        "该证书在 {time} 未被吊销。",
        "该证书在 {time} 之前已被吊销。",
        "该证书是否被吊销未检查：文件没有给出。",
    ),
    "consent": (
        "同意 {id} 在 {time} 有效。",
        "同意 {id} 在 {time} 无效。",
        "当时同意是否有效未检查：文件没有给出。",
    ),
    "sealed": (
        "给出的密封包就是当时提供的那一个（摘要 {digest}）。",
        "给出的密封包不是当时提供的那一个。",
        "密封包的内容未检查：没有给出。",
    ),
    "withdrawn": (
        "此后同意 {id} 不再有效。",
        "此后同意 {id} 仍然有效。",
        "此后同意 {id} 是否有效未检查：文件没有给出。",
    ),
}

CATALOGUES: Final[Mapping[str, Sentences]] = {"en": EN, "zh": ZH}
