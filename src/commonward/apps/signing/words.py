"""What a patient reads, in plain words, in English and Chinese: one catalogue, and the sentences made from it."""

# ruff: noqa: E501  # a catalogue reads best with both languages of a text in one place
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timezone
from typing import Final

from commonward.records.rules import Carve, Effect, Rule, Scope

LANGUAGES: Final = ("en", "zh")

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # what is signed
    "consent": ("Give a consent", "给予同意"),
    "hold": ("Stop all releases of your records at once", "立即停止提供您的任何记录"),
    "withdraw": ("Withdraw a consent", "撤回同意"),
    "lift": ("Lift a stop", "解除停止"),
    "stop-recovery": ("Stop the recovery of your handle: a new passkey would have taken over", "阻止找回：否则新的通行密钥将接管"),
    "end-mandate": ("End the right of a representative to speak for you", "终止代理人代表您的权利"),
    "rotate": ("Add or replace a passkey of yours", "增加或更换您的通行密钥"),
    "study": ("to take part in study {study} at {site}; a model that learnt from it before you withdraw stays", "参加 {site} 的研究 {study}；撤回之前已学成的模型不会消失"),
    "until": ("until {date} (UTC)", "有效期至 {date}（UTC）"),
    "expires": ("this signature can be used until {time}", "此签名在 {time} 之前可用"),
    "handle": ("for handle {handle}", "标识 {handle}"),
    "consent-id": ("consent {id}", "同意书 {id}"),
    "new-key": ("new passkey {id}", "新的通行密钥 {id}"),
    "key": ("passkey {id}", "通行密钥 {id}"),
    "signing": ("You are about to sign:", "您将签署："),
    "sign-it": ("Sign it?", "是否签署？"),
    "ask-yes": ("expected --yes where nobody can be asked; nothing was signed", "无法询问时请加 --yes；未签署任何内容"),
    "declined": ("Nothing was signed.", "未签署任何内容。"),
    # rules
    "permit": ("{who} may see {what}{whose}, for {why}{when}", "允许 {who} 查看{whose}{what}，用途：{why}{when}"),
    "deny": ("{who} may not see {what}{whose}{why}{when}", "禁止 {who} 查看{whose}{what}{why}{when}"),
    "anyone": ("nobody at all", "任何机构"),
    "deny-all": ("Nothing is released to anyone", "不向任何机构提供任何记录"),
    "everything": ("what is not sensitive", "不属于敏感类别的记录"),
    "everything-deny": ("anything", "一切记录"),
    "classes": ("your {classes} records", "您的{classes}记录"),
    "labels": ("records labelled {labels}", "带有 {labels} 标签的记录"),
    "period": ("from {start} to {end}", "{start} 至 {end} 期间"),
    "held-by": (" held by {custodians}", "{custodians} 保存的"),
    "rule-ends": (", until {date}", "，至 {date} 止"),
    "for": (", for {why}", "，用途：{why}"),
    "but": ("but not: {scope}", "但不包括：{scope}"),
    "TREAT": ("treatment", "治疗"),
    "ETREAT": ("emergency treatment", "紧急治疗"),
    "HPAYMT": ("payment", "医保结算"),
    "HRESCH": ("research", "科学研究"),
    "PUBHLTH": ("public health", "公共卫生"),
    "PATRQT": ("your own request", "您本人的请求"),
    "mental-health": ("mental health", "精神卫生"),
    "hiv": ("HIV", "艾滋病"),
    "substance-use": ("substance use", "物质使用"),
    "sexual-reproductive": ("sexual and reproductive health", "性与生殖健康"),
    "genetic": ("genetic", "遗传"),
    "HOSPITAL": ("every hospital", "所有医院"),
    "INSURER": ("every insurer", "所有保险机构"),
    "AUTHORITY": ("every health authority", "所有卫生主管部门"),
    "RESEARCH": ("every research institute", "所有研究机构"),
    "violence": ("violence and abuse", "暴力与虐待"),
    "restricted": ("restricted", "受限"),
    "very-restricted": ("very restricted", "高度受限"),
    "sensitive": ("sensitive records of every kind", "所有敏感类别的记录"),
    # the log
    "log-title": ("Who saw what", "谁看过什么"),
    "log-line": (
        "{at}  {requester} got {count} records from {custodian} for {why} ({role}, {department}, staff {number})",
        "{at}  {requester} 从 {custodian} 获得 {count} 份记录，用途：{why}（{role}，{department}，人员编号 {number}）",
    ),
    "log-nothing-here": ("nothing was released", "没有提供过任何记录"),
    "log-late": ("the ledger was away: its mark came or comes later", "当时账本不可用，标记随后补上"),
    "log-void": ("{at}  {custodian}: number {n} was reserved and never used", "{at}  {custodian}：编号 {n} 已预留但从未使用"),
    "log-glass": ("in an emergency, without asking you: {reason}", "紧急情况，未经您同意：{reason}"),
    "log-whole": ("The list has no gap: every number is there, and each stands on the ledger.", "清单没有缺口：每个编号都在，且都记在账本上。"),
    "log-gap": ("The list does not add up:", "清单有问题："),
    "log-away": ("Not asked, because it does not answer: {member}", "无法询问（没有应答）：{member}"),
    "log-not-linked": ("No custodian has linked your handle yet.", "还没有医疗机构关联您的标识。"),
    "followed": (
        "The members moved to another ledger and took everything along; more than two thirds of those you trusted "
        "signed for it. It was {before}; it is {now}",
        "各成员已迁移到新的账本，全部内容保持不变；您所信任的成员中超过三分之二已签名确认。原账本：{before}；现账本：{now}",
    ),
    "not-fresh": (
        "Careful: the members last stood by this at {at}. What happened since may be missing.",
        "注意：各成员最后一次确认是在 {at}，此后发生的事可能没有显示。",
    ),
    "doubt": ("{member} said what it could not prove: {what}", "{member} 所说的无法证实：{what}"),
    # notices
    "glass": (
        "{at}  {requester} broke the glass at {custodian} ({role}, {department}, staff {number}): {reason}. "
        "Others there must review it by {by}.",
        "{at}  {requester} 在 {custodian} 紧急调阅（{role}，{department}，人员编号 {number}）：{reason}。须在 {by} 前由他人复核。",
    ),
    "glass-not-yet": ("(not on the ledger yet)", "（尚未记入账本）"),
    "link": ("{member} has linked your handle to its own patient number.", "{member} 已将您的标识与其患者编号关联。"),
    "receipt": ("{at}  {requester} confirmed that it received records of yours.", "{at}  {requester} 确认收到了您的记录。"),
    "recovery-pending": (
        "A new passkey was asked for at {member} and takes over at {at}. If it was not you: commonward recovery stop",
        "有人在 {member} 申请了新的通行密钥，将于 {at} 接管。如非本人：commonward recovery stop",
    ),
    "mandate": ("A representative (passkey {id}) speaks for you until {date}.", "代理人（通行密钥 {id}）可代表您，至 {date}。"),
    "nothing-new": ("There is nothing to tell.", "没有新的通知。"),
    # consents
    "acknowledged": ("acknowledged by {members}", "已确认：{members}"),
    "partly": ("only the permits reached {members}, not yet all rules", "仅许可已送达，其余规则尚未送达：{members}"),
    "waiting": (
        "not yet by {members}: they release nothing of yours until they have it. Try again: commonward consent deliver",
        "尚未确认：{members}。在其收到之前不会提供您的任何记录。重试：commonward consent deliver",
    ),
    "consents-none": ("You have given no consent from this wallet.", "您还没有用此钱包给予任何同意。"),
    "state-open": ("open", "有效"),
    "state-withdrawn": ("withdrawn", "已撤回"),
    "state-pending": ("sent, not yet on the ledger", "已发送，尚未记入账本"),
    "state-ended": ("ended", "已终止"),
    "landed": ("It stands on the ledger.", "已记入账本。"),
    # wallet
    "new": (
        "Made a wallet in {folder} with a passkey of its own. Your handle is {handle}.",
        "已在 {folder} 建立钱包和通行密钥。您的标识是 {handle}。",
    ),
    "new-next": (
        "Bring {request} and your identity card to a member's desk, which runs:\n"
        "  commonward patient enrol --data MEMBER --request {request} --words WORDS --staff NUMBER",
        "请携带 {request} 和身份证件到任一成员的窗口，由其执行：\n"
        "  commonward patient enrol --data MEMBER --request {request} --words WORDS --staff NUMBER",
    ),
    "one-handle": (
        "One handle everywhere, or one for each hospital? With one, every member that reads the ledger can see that the "
        "consents and their times belong together (not whose they are, nor what they permit), and hospitals that "
        "compare notes can see that they share you. With a wallet for each hospital, they cannot; but you then give "
        "and withdraw each consent there by itself, and doing several at one moment may still give you away.",
        "处处用同一个标识，还是每家医院各用一个？用同一个时，能读账本的每个成员都能看出这些同意及其时间属于同一人"
        "（看不出是谁，也看不出内容），医院之间互相核对也能发现你们是同一位患者。每家医院各用一个钱包则看不出；"
        "但您要分别给予和撤回，而同一时刻的多次操作仍可能暴露您。",
    ),
    "show-handle": ("Your handle is {handle}.", "您的标识是 {handle}。"),
    "show-page": ("Your passkey signs on {origin}.", "您的通行密钥用于 {origin}。"),
    "show-linked": ("Linked at: {members}", "已关联：{members}"),
    "show-seen": ("The ledger has {size} entries; its members last stood by them at {at} (UTC).", "账本共有 {size} 条，各成员最近确认于 {at}（UTC）。"),
    "sheet-title": ("Recovery sheet. Keep it on paper, away from your devices.", "找回凭据。请打印后与设备分开保存。"),
    "sheet-use": (
        "Who has this sheet can read what is sealed to you, and cannot sign for you. With it and your identity card, "
        "two members let a new passkey take over after a waiting time.",
        "持有此单者可以阅读密封给您的内容，但不能代您签名。凭此单和身份证件，两个成员可在等待期后让新的通行密钥接管。",
    ),
}  # fmt: skip


class Words:
    """Sentences in one language. Times are shown in the given zone."""

    def __init__(self, language: str = "en", zone: timezone | None = None) -> None:
        """Raises ValueError for a language there is no catalogue of."""
        if language not in LANGUAGES:
            raise ValueError(f"expected a language of {', '.join(LANGUAGES)}, got {language!r}")
        self.language = language
        self._place = LANGUAGES.index(language)
        self._zone = zone or UTC

    def __call__(self, key: str, **facts: object) -> str:
        return TEXTS[key][self._place].format(**facts)

    def name(self, key: str) -> str:
        """The word for a code; the code itself where the catalogue has none."""
        found = TEXTS.get(key)
        return key if found is None else found[self._place]

    def names(self, keys: object) -> str:
        joint = ", " if self.language == "en" else "、"
        return joint.join(sorted(self.name(str(key)) for key in keys))  # type: ignore[attr-defined]

    def time(self, at: int) -> str:
        return datetime.fromtimestamp(at / 1000, self._zone).strftime("%Y-%m-%d %H:%M")

    def date(self, at: int) -> str:
        return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")

    # rules

    def rule(self, rule: Rule, member: Callable[[str], str] = str, sensitive: frozenset[str] = frozenset()) -> str:
        """One rule as a sentence. `member`: how a member is called; `sensitive`: all classes of the adopted table."""
        scope = rule.scope
        if rule.effect is Effect.DENY and scope == Scope():
            return self._carved(self("deny-all"), rule.exceptions, member, sensitive)
        facts = {
            "who": self._who(scope, member) or self("anyone"),
            "what": self._what(scope, rule.effect, sensitive),
            "whose": "" if scope.custodians is None else self("held-by", custodians=self._list(scope.custodians, member)),
            "why": self._why(scope, rule.effect),
            "when": "" if rule.expires is None else self("rule-ends", date=self.date(rule.expires)),
        }  # fmt: skip
        text = self("permit" if rule.effect is Effect.PERMIT else "deny", **facts)
        return self._carved(text, rule.exceptions, member, sensitive)

    def _carved(
        self, text: str, carves: tuple[Carve, ...], member: Callable[[str], str], sensitive: frozenset[str]
    ) -> str:
        for carve in carves:
            parts = [self._who(carve.scope, member), self._what(carve.scope, Effect.DENY, sensitive)]
            inside = " ".join(part for part in parts if part)
            text += "; " + self("but", scope=self._carved(inside, carve.exceptions, member, sensitive))
        return text

    def _who(self, scope: Scope, member: Callable[[str], str]) -> str:
        named = [member(each) for each in sorted(scope.members or ())]
        kinds = [self.name(_KINDS[kind]) for kind in sorted(scope.kinds or ()) if kind in _KINDS]
        roles = [f"({', '.join(sorted(scope.roles))})"] if scope.roles else []
        joint = ", " if self.language == "en" else "、"
        return joint.join([*named, *kinds]) + ("" if not roles else " " + roles[0])

    def _what(self, scope: Scope, effect: Effect, sensitive: frozenset[str]) -> str:
        parts = []
        if scope.classes is not None:
            every = bool(sensitive) and scope.classes >= sensitive
            parts.append(self("sensitive") if every else self("classes", classes=self.names(scope.classes)))
        if scope.labels is not None:
            parts.append(self("labels", labels=", ".join(sorted(scope.labels))))
        if not parts:
            parts.append(self("everything" if effect is Effect.PERMIT else "everything-deny"))
        if scope.period is not None:
            start, end = (self.date(at) if at is not None else "…" for at in scope.period)
            parts.append(self("period", start=start, end=end))
        return " ".join(parts)

    def _why(self, scope: Scope, effect: Effect) -> str:
        if scope.purposes is None:
            return ""
        named = self.names(scope.purposes)
        return named if effect is Effect.PERMIT else self("for", why=named)

    def _list(self, members: frozenset[str], member: Callable[[str], str]) -> str:
        joint = ", " if self.language == "en" else "、"
        return joint.join(member(each) for each in sorted(members))


_KINDS: Final = {1: "HOSPITAL", 2: "INSURER", 3: "AUTHORITY", 4: "RESEARCH"}
