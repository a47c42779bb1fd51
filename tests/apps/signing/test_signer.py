"""What is shown is what is signed; and what the passkey refuses."""

from hashlib import sha256
from string import Formatter

import pytest

from commonward.apps.signing.passkey import SoftwarePasskey, WrongRelyingParty
from commonward.apps.signing.signer import Declined, NotWhatIsShown, Shown, SoftwareSigner
from commonward.apps.signing.words import LANGUAGES, TEXTS, Words
from commonward.ledger.consent import Assurance, Consent, StopRecovery
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import ConsentId, Handle, LedgerId
from commonward.ledger.proofs import ProofKind, check_passkey, parse_proof
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.transactions import Payload, build_body, transaction_digest
from commonward.records.openings import RulesTree
from commonward.records.rules import Carve, Effect, Rule, Scope
from commonward.workflows.enrolment import consent_payload
from commonward.workflows.messages import ConsentOpening

RP = "commonward.test"
PAGE = f"https://north.{RP}"
LEDGER = LedgerId(b"l" * 32)
HANDLE = Handle(b"h" * 16)
PERMIT = Rule(1, Effect.PERMIT, Scope(members=frozenset({"south"}), purposes=frozenset({"TREAT"})))
DENY = Rule(2, Effect.DENY, Scope(classes=frozenset({"mental-health"})))


class Desk:
    """A signer, and what it showed."""

    def __init__(self, language: str = "en") -> None:
        self.shown: list[Shown] = []
        self.passkey = SoftwarePasskey.create(PAGE, RP)
        self.signer = SoftwareSigner(
            self.passkey, PAGE, LEDGER, b"s" * 32, self.shown.append, words=Words(language),
            member={"south": "South City Hospital"}.get,  # type: ignore[arg-type]
        )  # fmt: skip

    def body(self, payload: Payload, *, ledger: LedgerId = LEDGER, author: bytes | None = None) -> bytes:
        return build_body(
            ledger, payload, b"n" * 16, (1, bytes(32)), 1_790_000_000_000,
            author=author or author_of_passkey(self.signer.credential),
        )  # fmt: skip


def consent(*rules: Rule) -> tuple[ConsentOpening, Consent]:
    tree = RulesTree([rule.to_value() for rule in rules], b"r" * 32)
    opening = ConsentOpening(ConsentId(b"c" * 16), tree.open_all(), ("south",), b"1" * 32, b"", b"2" * 32)
    payload = consent_payload(opening, tree.root, HANDLE, Assurance.PASSKEY, 1_800_000_000_000, False)
    return opening, payload


async def test_a_consent_is_shown_rule_by_rule_and_signed_as_a_browser_would() -> None:
    desk = Desk()
    opening, payload = consent(PERMIT, DENY)
    desk.signer.knows(opening)
    body = desk.body(payload)
    proof = parse_proof(ProofKind.PASSKEY, await desk.signer.prove(body, transaction_digest(body)))
    check_passkey(proof, transaction_digest(body), -7, desk.signer.public, _rp_hash(), (PAGE,))  # type: ignore[arg-type]
    (shown,) = desk.shown
    assert shown.title == "Give a consent"
    assert "South City Hospital may see what is not sensitive, for treatment" in shown.lines[0]
    assert "may not see your mental health records" in shown.lines[1]
    assert shown.digest == transaction_digest(body)


def _rp_hash() -> bytes:
    return sha256(RP.encode()).digest()


async def test_rules_other_than_those_under_the_signature_are_not_shown_for_them() -> None:
    desk = Desk()
    _, payload = consent(PERMIT)
    other, _ = consent(DENY)
    desk.signer.knows(other)
    body = desk.body(payload)
    with pytest.raises(NotWhatIsShown, match="are not those of this consent"):
        await desk.signer.prove(body, transaction_digest(body))
    assert not desk.shown


async def test_a_consent_whose_rules_are_unknown_is_not_signed() -> None:
    desk = Desk()
    _, payload = consent(PERMIT)
    body = desk.body(payload)
    with pytest.raises(NotWhatIsShown, match="were not given"):
        await desk.signer.prove(body, transaction_digest(body))


async def test_the_digest_of_another_transaction_is_not_signed() -> None:
    desk = Desk()
    body, other = desk.body(StopRecovery(HANDLE)), desk.body(StopRecovery(Handle(b"x" * 16)))
    with pytest.raises(NotWhatIsShown, match="digest"):
        await desk.signer.prove(body, transaction_digest(other))


@pytest.mark.parametrize("wrong", ["ledger", "author", "kind", "bytes"])
async def test_what_is_not_for_this_patient_to_sign_is_refused(wrong: str) -> None:
    desk = Desk()
    body = {
        "ledger": desk.body(StopRecovery(HANDLE), ledger=LedgerId(b"o" * 32)),
        "author": desk.body(StopRecovery(HANDLE), author=b"o" * 32),
        "kind": desk.body(AnchorBatch(1, Digest(bytes(32)))),
        "bytes": b"\x01",
    }[wrong]
    with pytest.raises(NotWhatIsShown):
        await desk.signer.prove(body, transaction_digest(body))
    assert not desk.shown


async def test_who_declines_has_signed_nothing() -> None:
    desk = Desk()

    def no(_: Shown) -> None:
        raise Declined("no")

    signer = SoftwareSigner(desk.passkey, PAGE, LEDGER, b"s" * 32, no)
    body = desk.body(StopRecovery(HANDLE))
    with pytest.raises(Declined):
        await signer.prove(body, transaction_digest(body))


async def test_a_portal_that_asks_the_passkey_for_a_consent_digest_gets_nothing() -> None:
    desk = Desk()
    opening, payload = consent(PERMIT)
    digest = transaction_digest(desk.body(payload))
    for origin, rp_id in (("https://portal.example", "portal.example"), ("https://portal.example", RP)):
        with pytest.raises(WrongRelyingParty):
            desk.passkey.get(origin, rp_id, digest)
    portal = SoftwareSigner(desk.passkey, "https://portal.example", LEDGER, b"s" * 32, desk.shown.append)
    portal.knows(opening)
    with pytest.raises(WrongRelyingParty):
        await portal.prove(desk.body(payload), digest)


def test_every_text_is_there_in_both_languages_and_tells_the_same_facts() -> None:
    for key, texts in TEXTS.items():
        assert len(texts) == len(LANGUAGES) and all(texts), key
        fields = [sorted({field for _, field, _, _ in Formatter().parse(text) if field}) for text in texts]
        assert fields[0] == fields[1], key


def test_rules_read_as_sentences() -> None:
    words = Words()
    both = Rule(
        1, Effect.PERMIT,
        Scope(kinds=frozenset({1}), purposes=frozenset({"TREAT"}), custodians=frozenset({"north"})),
        1_800_000_000_000, (Carve(Scope(classes=frozenset({"hiv"}))),),
    )  # fmt: skip
    text = words.rule(both)
    for part in ("every hospital", "held by north", "until 2027-01-15", "but not: your HIV records"):
        assert part in text
    assert words.rule(Rule(1, Effect.DENY)) == "Nothing is released to anyone"
    assert "不向任何机构" in Words("zh").rule(Rule(1, Effect.DENY))
