"""Limits: what a carrier may take of a block, what a block may ask of the nodes, what a proposer may not do."""

import pytest

from commonward.ledger.audit import BreakGlass, Release
from commonward.ledger.encoding import encode
from commonward.ledger.ids import BlockTime, Height, MemberId, Purpose, Tag
from commonward.ledger.members import RevokeKey, Suspend
from commonward.ledger.parameters import Parameter
from commonward.ledger.proofs import verify
from commonward.ledger.refusals import QuotaExceeded, TooManySignatures
from commonward.ledger.rules import Header
from commonward.ledger.transactions import InvalidBlock, build_block, build_bundle
from tests.ledgerkit import Kit, SoftKey, commitment, demo_genesis


def a_release(n: object = 0) -> Release:
    request, decision, consent, running, previous, sealed = (commitment(n, i) for i in range(6))
    return Release(Tag(commitment("tag", n)), request, decision, consent, running, previous, sealed)


def test_a_carriers_quota_of_transactions_is_charged_to_it_and_not_to_the_signer():
    kit = Kit(demo_genesis({Parameter.QUOTA_TRANSACTIONS: 3}))
    raws = [kit.sign(a_release(n), by="north") for n in range(5)]
    assert [o.code for o in kit.block(raws, carrier="south").outcomes] == [
        0,
        0,
        0,
        QuotaExceeded.code,
        QuotaExceeded.code,
    ]
    assert [o.code for o in kit.block(raws[3:], carrier="clinic").outcomes] == [0, 0]  # over quota burns nothing


def test_a_carriers_quota_of_bytes():
    kit = Kit(demo_genesis({Parameter.QUOTA_BYTES: 65_536}))
    raws = [kit.sign(a_release(n), by="north") for n in range(140)]
    codes = [o.code for o in kit.block(raws).outcomes]
    fits = 65_536 // len(raws[0])
    assert codes == [0] * fits + [QuotaExceeded.code] * (140 - fits)


def test_what_cannot_be_read_uses_up_quota_too():
    kit = Kit(demo_genesis({Parameter.QUOTA_TRANSACTIONS: 1}))
    codes = [o.code for o in kit.block([b"junk", kit.sign(a_release(), by="north")]).outcomes]
    assert codes == [101, QuotaExceeded.code]


def test_a_block_asks_for_so_many_signatures_and_no_more():
    kit = Kit(demo_genesis({Parameter.BLOCK_SIGNATURES: 16}))
    raws = [kit.sign(a_release(n), by="north") for n in range(17)]
    codes = [o.code for o in kit.block(raws).outcomes]
    assert codes == [0] * 15 + [TooManySignatures.code] * 2  # the bundle's own is one of the sixteen


def test_second_signatures_count_as_well():
    kit = Kit(demo_genesis({Parameter.BLOCK_SIGNATURES: 16}))
    raws = [kit.sign(SoftKey(f"k{n}").add(kit.ledger, "north", Purpose.OPERATE), by="north") for n in range(8)]
    assert [o.code for o in kit.block(raws).outcomes] == [0] * 7 + [TooManySignatures.code]


def test_a_block_of_more_than_two_mib_is_not_applied(kit):
    with pytest.raises(InvalidBlock, match="bytes"):
        kit.machine.stage(bytes((1 << 21) + 1))


def test_heights_count_by_one_and_times_grow(kit):
    kit.block([kit.sign(a_release(), by="north")])
    last = kit.machine.applied
    for height, time in ((0, 1), (2, 1), (1, 0), (1, -1)):
        header = Header(Height(last.height + height), BlockTime(last.time + time))
        with pytest.raises(InvalidBlock):
            kit.machine.stage(build_block(header, []))


def test_a_block_must_have_the_form_of_one(kit):
    for bad in (b"", b"\x00", encode([[1, 2], 3]), encode([[1, kit.next_time()], [1]]), encode([[1], []])):
        with pytest.raises(InvalidBlock):
            kit.machine.stage(bad)


def header_of(kit: Kit) -> Header:
    return Header(Height(kit.machine.applied.height + 1), kit.next_time())


def test_a_bundle_is_signed_by_a_live_carry_key_of_an_active_member(kit):
    raws = [kit.sign(a_release(), by="north")]
    carry, operate = kit.key("south", Purpose.CARRY), kit.key("south")
    forged = build_bundle(kit.ledger, carry.id, raws, operate.sign)
    wrong = build_bundle(kit.ledger, operate.id, raws, operate.sign)
    swapped = build_bundle(kit.ledger, carry.id, [kit.sign(a_release(2), by="north")], lambda _: kit.bundle(raws)[-64:])
    for bundle in (forged, wrong, swapped, build_bundle(kit.ledger, carry.id, [], carry.sign)):
        with pytest.raises(InvalidBlock):
            kit.machine.stage(build_block(header_of(kit), [bundle]))
    kit.accept(RevokeKey(carry.id, commitment("reason")), by="south")
    with pytest.raises(InvalidBlock):
        kit.machine.stage(build_block(header_of(kit), [build_bundle(kit.ledger, carry.id, raws, carry.sign)]))


def test_a_suspended_member_carries_nothing(kit):
    kit.decide(Suspend(MemberId("south")))
    with pytest.raises(InvalidBlock, match="active"):
        kit.block([kit.sign(a_release(), by="north")], carrier="south")


def test_a_bundle_has_at_most_256_transactions(kit):
    carry = kit.key("north", Purpose.CARRY)
    bundle = build_bundle(kit.ledger, carry.id, [b"x"] * 257, carry.sign)
    with pytest.raises(InvalidBlock, match="256"):
        kit.machine.stage(build_block(header_of(kit), [bundle]))


def test_what_is_due_is_swept_256_a_block_and_the_next_block_goes_on():
    kit = Kit(demo_genesis({Parameter.BREAK_GLASS_A_DAY: 1000}))
    deadline = kit.next_time() + 60_000
    request, reason, staff = (commitment(i) for i in range(3))
    raws = [
        kit.sign(BreakGlass(Tag(commitment(n)), BlockTime(deadline), request, reason, staff), by="north")
        for n in range(300)
    ]
    assert all(outcome.code == 0 for outcome in kit.block(raws).outcomes)
    kit.now = deadline + 1000
    kit.block()
    assert kit.machine.view().glasses.count("north").overdue == 256
    assert kit.machine.next_due is not None and kit.machine.next_due <= kit.next_time()
    kit.block()
    assert kit.machine.view().glasses.count("north").overdue == 300


def test_signatures_verified_elsewhere_are_believed_only_for_the_bytes_they_were_over(kit):
    good = [kit.sign(a_release(n), by="north") for n in range(3)]
    bad = good[1][:-1] + bytes([good[1][-1] ^ 1])
    block = kit.block_bytes([good[0], bad, good[2]])
    jobs = kit.machine.signature_jobs(block)
    verdicts = [verify(*job) for job in jobs]
    assert verdicts == [True, False, True]
    kit.machine.accept_verified([job for job, verdict in zip(jobs, verdicts, strict=True) if verdict])
    assert [outcome.code for outcome in kit.machine.stage(block).outcomes] == [0, 108, 0]
