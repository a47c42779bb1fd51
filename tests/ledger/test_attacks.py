"""Each attack on a transaction's authorship, form or time, and the number with which it is refused."""

from dataclasses import replace

import pytest

from commonward.ledger.audit import Release
from commonward.ledger.consent import StopRecovery, Withdraw
from commonward.ledger.encoding import encode
from commonward.ledger.ids import Algorithm, LedgerId, MemberId, Purpose
from commonward.ledger.members import RevokeKey, Suspend
from commonward.ledger.parameters import Parameter
from commonward.ledger.proofs import MemberProof, ProofKind
from commonward.ledger.refusals import (
    BadPasskeyAssertion,
    BadSignature,
    Expired,
    ExpiryTooFar,
    ForeignLedger,
    KeyNotValid,
    Malformed,
    Replayed,
    StaleRoot,
    Suspended,
    TooLarge,
    UnknownKey,
    UnknownKind,
    WrongProof,
    WrongPurpose,
)
from commonward.ledger.registry import AnchorPublic, PublicType
from commonward.ledger.transactions import assemble, transaction_digest
from tests.ledgerkit import Kit, SoftKey, SoftPasskey, commitment, demo_genesis

MINUTE = 60_000


def a_release(n: object = 0) -> Release:
    return Release(commitment("tag", n), *(commitment(n, i) for i in range(6)))  # type: ignore[arg-type]


def test_a_replayed_transaction_is_refused_in_the_same_block_and_after_a_restart(kit):
    raw = kit.sign(a_release(), by="north", expiry=kit.next_time() + 5 * MINUTE)
    first, second = kit.block([raw, raw]).outcomes
    assert (first.code, second.code) == (0, Replayed.code)
    kit.reopen()
    kit.refuse_raw(Replayed, raw)
    kit.later(6 * MINUTE)
    kit.refuse_raw(Expired, raw)


def test_a_refused_transaction_cannot_be_tried_again_when_its_time_has_come(kit):
    raw = kit.sign(Withdraw(bytes(16), commitment("reason")), by="north")  # type: ignore[arg-type]
    assert kit.submit(raw)[0].code == 425
    kit.refuse_raw(Replayed, raw)


def test_a_known_body_with_a_bad_proof_put_first_does_not_keep_the_true_one_out(kit):
    """A bad proof burns nothing: a relay could else block a patient's withdrawal."""
    body = kit.body(a_release(), kit.key("north").id)
    true = kit.prove(body, by="north")
    bad = assemble(body, ProofKind.MEMBER, MemberProof(Algorithm.EDDSA, kit.key("north").id, bytes(64)).to_bytes())
    codes = [outcome.code for outcome in kit.block([bad, true, true]).outcomes]
    assert codes == [BadSignature.code, 0, Replayed.code]


def test_a_known_body_cannot_be_taken_over_by_another_author(kit):
    """Its digest is its author's: who overhears it can neither sign it as his own nor burn it."""
    body = kit.body(a_release(), kit.key("north").id)
    taken = kit.prove(body, by="south")
    kit.refuse_raw(WrongProof, taken)
    assert kit.submit(kit.prove(body, by="north"))[0].code == 0


def test_a_patients_body_cannot_be_signed_by_a_member_nor_by_another_patient(kit):
    handle, ann = kit.enrol("ann")
    _, eve = kit.enrol("eve")
    body = kit.body(StopRecovery(handle), ann.author)
    kit.refuse_raw(WrongProof, kit.prove(body, by=eve))
    kit.refuse_raw(WrongProof, kit.prove(body, by="north"))


def test_an_expired_transaction(kit):
    kit.refuse(Expired, a_release(), by="north", expiry=kit.next_time())


def test_an_expiry_too_far_ahead(kit):
    kit.refuse(ExpiryTooFar, a_release(), by="north", expiry=kit.next_time() + 10 * MINUTE + 1)
    kit.accept(a_release(), by="north", expiry=kit.next_time() + 10 * MINUTE)


def test_a_transaction_of_another_ledger(kit):
    kit.refuse(ForeignLedger, a_release(), by="north", ledger=LedgerId(bytes(32)))
    raw = Kit(demo_genesis({Parameter.TICK: 9000})).sign(a_release(), by="north")
    kit.refuse_raw(ForeignLedger, raw)


def test_an_oversized_transaction(kit):
    body = kit.body(a_release(), kit.key("north").id)
    kit.refuse_raw(TooLarge, assemble(body, ProofKind.MEMBER, bytes(16_384)))


def test_an_oversized_original(kit):
    kit.refuse_raw(TooLarge, kit.sign(AnchorPublic(PublicType.CODE_MAP, bytes(65_400)), by="north"))


def test_a_deeply_nested_transaction(kit):
    kit.refuse_raw(Malformed, b"\x81" * 16_000 + b"\x00")
    kit.refuse_raw(Malformed, b"\xa1\x01" * 5_000 + b"\x00")


@pytest.mark.parametrize("kind", ["long head", "indefinite", "trailing", "unsorted", "tag", "float", "empty", "null"])
def test_a_transaction_that_is_not_canonical(kind):
    kit = Kit()
    raw = kit.sign(a_release(), by="north")
    bent = {
        "long head": b"\x98\x03" + raw[1:],
        "indefinite": b"\x9f" + raw[1:] + b"\xff",
        "trailing": raw + b"\x00",
        "unsorted": raw.replace(b"\xa7\x01X", b"\xa7\x02X", 1),
        "tag": b"\xd2" + raw,
        "float": b"\xf9\x00\x00",
        "empty": b"",
        "null": raw[:-1] + b"\xf6" if raw[-1:] != b"\xf6" else raw[:-1],
    }[kind]
    assert bent != raw
    refusal = kit.submit(bent)[1]
    assert isinstance(refusal, Malformed | BadSignature)
    assert isinstance(refusal, Malformed) or kind == "null"  # the last byte of a signature may be any


def test_a_field_more_a_field_less_and_a_field_of_another_shape(kit):
    good = a_release().to_value()
    author = kit.key("north").id
    size, root = kit.recent()
    for fields in ({**good, 9: 1}, {k: v for k, v in good.items() if k != 3}, {**good, 2: bytes(31)}, {**good, 8: -1}):
        body = encode(
            {1: kit.ledger, 2: 48, 3: bytes(16), 4: [size, root], 5: kit.next_time() + 9, 6: fields, 7: author}
        )
        kit.refuse_raw(Malformed, kit.prove(body, by="north"))
    for nonce, recent in ((bytes(15), [size, root]), (bytes(16), [size]), (bytes(16), [size, bytes(31)])):
        body = encode({1: kit.ledger, 2: 48, 3: nonce, 4: recent, 5: kit.next_time() + 9, 6: good, 7: author})
        kit.refuse_raw(Malformed, kit.prove(body, by="north"))


def test_a_kind_that_does_not_exist(kit):
    body = encode({1: kit.ledger, 2: 999, 3: bytes(16), 4: list(kit.recent()), 5: 1, 6: {}, 7: bytes(32)})
    kit.refuse_raw(UnknownKind, kit.prove(body, by="north"))


def test_a_wrongly_signed_transaction(kit):
    raw = kit.sign(a_release(), by="north")
    for at in (-1, -40, -64):
        kit.refuse_raw(BadSignature, raw[:at] + bytes([raw[at] ^ 1]) + (raw[at + 1 :] if at != -1 else b""))


def test_one_byte_changed_anywhere_is_refused(kit):
    raw = kit.sign(a_release(), by="north")
    for at in range(0, len(raw), 7):
        bent = raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]
        assert kit.submit(bent)[0].code in range(101, 119)
    assert kit.submit(raw)[0].code == 0  # and none of those burnt it


def test_a_key_of_another_purpose(kit):
    for purpose in (Purpose.CARRY, Purpose.COSIGN, Purpose.TLS):
        kit.refuse(WrongPurpose, a_release(), by=kit.key("north", purpose))


def test_a_key_that_nobody_registered(kit):
    kit.refuse(UnknownKey, a_release(), by=SoftKey("stranger"))
    kit.refuse(UnknownKey, StopRecovery(bytes(16)), by=SoftPasskey("stranger"))  # type: ignore[arg-type]


def test_a_revoked_key(kit):
    spare = SoftKey("spare")
    kit.accept(spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(a_release(1), by=spare)
    kit.accept(RevokeKey(spare.id, commitment("reason")), by="north")
    kit.refuse(KeyNotValid, a_release(2), by=spare)


def test_a_key_revoked_earlier_in_the_same_block(kit):
    spare = SoftKey("spare")
    kit.accept(spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    revoke = kit.sign(RevokeKey(spare.id, commitment("reason")), by="north")
    codes = [outcome.code for outcome in kit.block([revoke, kit.sign(a_release(), by=spare)]).outcomes]
    assert codes == [0, KeyNotValid.code]


def test_a_suspended_member(kit):
    kit.decide(Suspend(MemberId("south")))
    kit.refuse(Suspended, a_release(), by="south")


def test_a_stale_unknown_or_false_recent_root(kit):
    old = kit.recent()
    kit.later(14 * MINUTE)
    kit.accept(a_release(1), by="north", recent=old)  # the tip when it was signed
    kit.later(MINUTE + 1)
    kit.block([kit.sign(a_release(2), by="north")])
    kit.refuse(StaleRoot, a_release(3), by="north", recent=old)
    size, root = kit.recent()
    kit.refuse(StaleRoot, a_release(4), by="north", recent=(size + 1, root))
    kit.refuse(StaleRoot, a_release(5), by="north", recent=(size, bytes(32)))
    kit.reopen()
    kit.refuse(StaleRoot, a_release(6), by="north", recent=old)


def test_the_tip_is_recent_however_old_it_is(kit):
    kit.later(30 * 24 * 60 * MINUTE)
    kit.accept(a_release(), by="north")


def test_a_passkey_where_a_members_key_is_needed_and_the_other_way(kit):
    handle, ann = kit.enrol("ann")
    kit.refuse(WrongProof, a_release(), by=ann)
    kit.refuse(WrongProof, StopRecovery(handle), by="north")
    body = kit.body(a_release(), kit.key("north").id)
    kit.refuse_raw(WrongProof, assemble(body, 3, b""))


def test_a_portal_that_asks_the_passkey_for_a_digest_gets_nothing(kit):
    handle, ann = kit.enrol("ann")
    for bent in (
        replace(ann, origin="https://portal.north.test"),
        replace(ann, rp_id="north.test"),
        replace(ann, kind="webauthn.create"),
        replace(ann, flags=0x01),
    ):
        kit.refuse(BadPasskeyAssertion, StopRecovery(handle), by=bent)


def test_a_passkeys_signature_over_another_transaction(kit):
    handle, ann = kit.enrol("ann")
    body = kit.body(StopRecovery(handle), ann.author)
    other = transaction_digest(kit.body(StopRecovery(handle), ann.author))
    kit.refuse_raw(BadPasskeyAssertion, assemble(body, ProofKind.PASSKEY, ann.assertion(other)))


def test_check_gives_the_same_refusal_as_a_block_and_changes_nothing(kit):
    before = kit.machine.tip
    for raw in (b"", kit.sign(a_release(), by="north", expiry=1), kit.sign(a_release(), by=SoftKey("stranger"))):
        with pytest.raises(Exception) as found:
            kit.machine.check(raw)
        assert kit.machine.tip == before
        assert kit.machine.stage(kit.block_bytes([raw])).outcomes[0].code == found.value.code  # type: ignore[attr-defined]
    good = kit.sign(a_release(), by="north")
    assert kit.machine.check(good).digest
