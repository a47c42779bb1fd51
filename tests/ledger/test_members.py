"""Members: keys by purpose, rotation and revocation; proposals, votes and weights; what becomes of a liar."""

from dataclasses import replace

import pytest

from commonward.ledger.checkpoint import Authority, Checkpoint, Note, check_quorum, cosign, origin_of, sign_note
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, BlockTime, Height, MemberId, MemberKind, Purpose
from commonward.ledger.members import (
    AddKey,
    Admit,
    AdoptTable,
    AlreadyVoted,
    Change,
    ChangeNotPossible,
    CloseOutOfBounds,
    Equivocation,
    KeyNotAllowed,
    KeyTaken,
    LastOperateKey,
    MayNotPropose,
    NoConflict,
    NotYourKey,
    ProposalClosed,
    ProposalTaken,
    Propose,
    RenewCertificate,
    Resume,
    RevocationOutOfBounds,
    RevokeKey,
    RevokeStaff,
    SetParameter,
    SetProtocol,
    SetWeight,
    StaffAlreadyRevoked,
    Suspend,
    ThirdOfWeight,
    Vote,
    certificate_digest,
)
from commonward.ledger.members.changes import ChangeKind
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import BadPossession, KeyNotValid, Suspended, UnknownKey
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.transition import UnknownProtocol
from tests.ledgerkit import RP_ID, START, YEAR, Kit, SoftKey, commitment, demo_genesis

DAY = 86_400_000


def a_batch(kit: Kit) -> AnchorBatch:
    return AnchorBatch(kit.tick(), commitment("root"))


def a_proposal(kit: Kit, change: Change, name: str = "p", close: int = 3_600_000) -> Propose:
    return kit.proposal(change, name, close)


def decide(kit: Kit, change: Change, voters: tuple[str, ...] = ("clinic", "health", "north", "shield")) -> None:
    kit.decide(change, voters)


def authority(kit: Kit) -> Authority:
    return Authority.parse(kit.machine.get(b"authority") or b"")


# ---------------------------------------------------------------------------------------------------------------- keys


def test_a_member_rotates_its_operate_key_by_adding_one_and_revoking_the_other(kit):
    new, old = SoftKey("north operate 2"), kit.key("north")
    kit.accept(new.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(a_batch(kit), by=new)
    kit.accept(RevokeKey(old.id, commitment("reason")), by=new)
    kit.later(1000)
    kit.refuse(KeyNotValid, a_batch(kit), by=old)
    kit.accept(a_batch(kit), by=new)


def test_a_p256_operate_key_signs_too(kit):
    new = SoftKey("north p256", Algorithm.ES256)
    kit.accept(new.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(a_batch(kit), by=new)


def test_a_key_is_not_registered_without_its_own_signature(kit):
    good = SoftKey("new").add(kit.ledger, "north", Purpose.OPERATE)
    assert good.possession != SoftKey("new").possession(kit.ledger, "south", Purpose.OPERATE)
    for bad in (b"", bytes(64), SoftKey("new").possession(kit.ledger, "south", Purpose.OPERATE)):
        kit.refuse(BadPossession, replace(good, possession=bad), by="north")
    carry = SoftKey("new").possession(kit.ledger, "north", Purpose.CARRY)
    kit.refuse(BadPossession, replace(good, possession=carry), by="north")


def test_a_small_order_key_is_not_registered(kit):
    weak = bytes([1]) + bytes(31)
    bad = AddKey(Purpose.OPERATE, Algorithm.EDDSA, weak, START, BlockTime(START + DAY), bytes(64))
    kit.refuse(BadPossession, bad, by="north")


def test_anothers_key_cannot_be_registered_again(kit):
    taken = kit.key("south", Purpose.CARRY)
    kit.refuse(KeyTaken, taken.add(kit.ledger, "north", Purpose.CARRY), by="north")


def test_a_revoked_key_cannot_be_revived(kit):
    spare = SoftKey("spare")
    kit.accept(spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(RevokeKey(spare.id, commitment("reason")), by="north")
    kit.refuse(KeyTaken, spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")


def test_purpose_bounds_algorithm_member_and_validity(kit):
    ed, p256 = SoftKey("new"), SoftKey("new p256", Algorithm.ES256)
    kit.refuse(KeyNotAllowed, p256.add(kit.ledger, "north", Purpose.COSIGN), by="north")
    kit.refuse(KeyNotAllowed, ed.add(kit.ledger, "north", Purpose.SEQUENCE), by="north")
    kit.refuse(KeyNotAllowed, ed.add(kit.ledger, "north", Purpose.OPERATE, ends=START - 5), by="north")
    kit.refuse(KeyNotAllowed, ed.add(kit.ledger, "north", Purpose.OPERATE, ends=START + 9 * YEAR), by="north")
    kit.accept(ed.add(kit.ledger, "health", Purpose.SEQUENCE), by="health")


def test_the_last_operate_key_is_not_revoked(kit):
    kit.refuse(LastOperateKey, RevokeKey(kit.key("north").id, commitment("reason")), by="north")


def test_nobody_revokes_anothers_key_nor_one_twice(kit):
    carry = kit.key("south", Purpose.CARRY)
    kit.refuse(NotYourKey, RevokeKey(carry.id, commitment("reason")), by="north")
    kit.accept(RevokeKey(carry.id, commitment("reason")), by="south")
    kit.refuse(NotYourKey, RevokeKey(carry.id, commitment("reason")), by="south")


def test_a_key_counts_from_its_start_until_before_its_end_and_then_leaves_the_state(kit):
    short = SoftKey("short")
    starts = kit.next_time() + 10_000
    kit.accept(short.add(kit.ledger, "north", Purpose.OPERATE, starts, starts + 50_000), by="north")
    kit.refuse(KeyNotValid, a_batch(kit), by=short)
    kit.now = starts
    kit.accept(a_batch(kit), by=short)
    kit.now = starts + 50_000
    kit.refuse(KeyNotValid, a_batch(kit), by=short)
    kit.now = starts + 51_000
    kit.settle()
    kit.refuse(UnknownKey, a_batch(kit), by=short)
    assert short.id not in kit.machine.view().roll.must("north").keys_for(Purpose.OPERATE)


def test_a_staff_certificate_is_revoked_until_its_end_and_once(kit):
    digest = commitment("certificate")
    asked = RevokeStaff(digest, BlockTime(kit.next_time() + 3_600_000), commitment("reason"))
    kit.accept(asked, by="north")
    kit.refuse(StaffAlreadyRevoked, asked, by="north")
    kit.accept(asked, by="south")  # its own certificate of that digest, if it has one: nobody blocks another's
    kit.refuse(RevocationOutOfBounds, replace(asked, end=BlockTime(kit.next_time() + 9 * DAY)), by="north")
    assert kit.machine.view().staff.is_revoked("north", digest)
    kit.later(3_601_000)
    kit.settle()
    assert not kit.machine.view().staff.is_revoked("north", digest)


# ---------------------------------------------------------------------------------------------------------- governance


def newcomer(kit: Kit, weight: int = 10, name: str = "east") -> Admit:
    keys = (
        SoftKey(f"{name} OPERATE").add(kit.ledger, name, Purpose.OPERATE),
        SoftKey(f"{name} COSIGN").add(kit.ledger, name, Purpose.COSIGN),
    )
    return Admit(MemberId(name), MemberKind.HOSPITAL, 2, name, b"certificate", weight, f"https://{name}.{RP_ID}", keys)


def test_a_member_is_admitted_by_more_than_two_thirds_with_its_keys_weight_and_page(kit):
    before = authority(kit)
    decide(kit, newcomer(kit))
    after = authority(kit)
    assert after.epoch == before.epoch + 1 and after.total == before.total + 10
    east = after.cosigner("east")
    assert east is not None and east.ca == certificate_digest(b"certificate") and len(east.keys) == 1
    kit.accept(a_batch(kit), by=SoftKey("east OPERATE"))
    kit.refuse(ChangeNotPossible, a_proposal(kit, newcomer(kit)), by="north")


def test_three_votes_of_five_do_not_admit(kit):
    asked = a_proposal(kit, newcomer(kit))
    kit.accept(asked, by="north")
    for voter in ("clinic", "health", "north"):
        kit.accept(Vote(asked.proposal, True), by=voter)
    kit.accept(Vote(asked.proposal, False), by="south")
    assert authority(kit).cosigner("east") is None
    kit.refuse(AlreadyVoted, Vote(asked.proposal, True), by="south")
    kit.accept(Vote(asked.proposal, True), by="shield")
    assert authority(kit).cosigner("east") is not None


def test_admission_is_not_proposed_without_possession_operate_key_or_page_of_its_own(kit):
    good = newcomer(kit)
    stolen = (replace(good.keys[0], possession=bytes(64)), *good.keys[1:])
    kit.refuse(BadPossession, a_proposal(kit, replace(good, keys=stolen)), by="north")
    kit.refuse(ChangeNotPossible, a_proposal(kit, replace(good, keys=good.keys[1:])), by="north")
    kit.refuse(ChangeNotPossible, a_proposal(kit, replace(good, origin=f"https://south.{RP_ID}")), by="north")


def test_a_suspended_member_is_refused_and_its_weight_is_out_until_it_is_resumed(kit):
    decide(kit, Suspend(MemberId("south")))
    kit.refuse(Suspended, a_batch(kit), by="south")
    assert authority(kit).total == 40 and "https://south" not in str(kit.machine.get(b"origins"))
    kit.refuse(ChangeNotPossible, a_proposal(kit, Suspend(MemberId("south"))), by="north")
    decide(kit, Resume(MemberId("south")), ("clinic", "health", "north"))
    kit.accept(a_batch(kit), by="south")
    assert authority(kit).total == 50


def test_the_votes_of_a_member_suspended_since_do_not_count(kit):
    asked = a_proposal(kit, newcomer(kit), "admit")
    kit.accept(asked, by="north")
    for voter in ("south", "clinic"):
        kit.accept(Vote(asked.proposal, True), by=voter)
    decide(kit, Suspend(MemberId("south")))
    kit.accept(Vote(asked.proposal, True), by="health")  # two of four that count
    assert authority(kit).cosigner("east") is None
    kit.accept(Vote(asked.proposal, True), by="north")
    assert authority(kit).cosigner("east") is not None


def test_parameters_change_within_their_bounds_only(kit):
    kit.refuse(ChangeNotPossible, a_proposal(kit, SetParameter(Parameter.EXPIRY, 601_000)), by="north")
    decide(kit, SetParameter(Parameter.TICK, 5000))
    assert kit.machine.view().parameters[Parameter.TICK] == 5000


def test_no_weight_reaches_a_third_and_no_third_changes_at_once(kit):
    kit.refuse(ThirdOfWeight, a_proposal(kit, SetWeight(MemberId("north"), 20)), by="north")
    kit.refuse(ThirdOfWeight, a_proposal(kit, newcomer(kit, weight=25)), by="north")
    decide(kit, SetWeight(MemberId("north"), 12))
    north = authority(kit).cosigner("north")
    assert north is not None and north.weight == 12


def test_a_table_is_adopted_by_half_and_a_certificate_renewed(kit):
    kit.accept(asked := a_proposal(kit, AdoptTable("jurisdictions", commitment("table"))), by="health")
    for voter in ("clinic", "health", "north"):
        kit.accept(Vote(asked.proposal, True), by=voter)
    assert kit.machine.view().adopted.tables() == {"jurisdictions": commitment("table")}
    decide(kit, RenewCertificate(MemberId("south"), b"next certificate"), ("clinic", "health", "north"))
    assert kit.machine.view().roll.certificate("south") == b"next certificate"


def test_a_proposal_closes_by_itself_and_takes_no_vote_after(kit):
    asked = a_proposal(kit, Suspend(MemberId("south")), close=5000)
    kit.accept(asked, by="north")
    kit.refuse(ProposalTaken, asked, by="north")
    kit.later(5001)
    kit.refuse(ProposalClosed, Vote(asked.proposal, True), by="north")
    kit.later(1000)
    kit.settle()
    assert kit.machine.view().governance.open() == ()
    kit.refuse(CloseOutOfBounds, a_proposal(kit, Suspend(MemberId("south")), "far", 90 * DAY), by="north")


def test_who_may_propose_is_bounded_by_genesis():
    only_authority = dict.fromkeys(ChangeKind, (MemberKind.AUTHORITY,))
    kit = Kit(demo_genesis(proposers=only_authority))
    kit.refuse(MayNotPropose, a_proposal(kit, Suspend(MemberId("south"))), by="north")
    kit.accept(a_proposal(kit, Suspend(MemberId("south"))), by="health")


def test_rules_change_at_a_height_and_a_node_that_does_not_know_them_stops(kit):
    kit.refuse(ChangeNotPossible, a_proposal(kit, SetProtocol(2, Height(1))), by="north")
    height = kit.machine.applied.height + 8
    decide(kit, SetProtocol(2, Height(height)))
    while kit.machine.applied.height < height - 1:
        kit.block()
    with pytest.raises(UnknownProtocol):
        kit.block()


# -------------------------------------------------------------------------------------------------------- equivocation


def forks(kit: Kit, size: int = 9) -> tuple[Checkpoint, Checkpoint]:
    origin = origin_of(kit.ledger)
    return Checkpoint(origin, size, Digest(commitment("a"))), Checkpoint(origin, size, Digest(commitment("b")))


def cosigned(kit: Kit, checkpoint: Checkpoint, member: str) -> bytes:
    key = kit.key(member, Purpose.COSIGN)
    line = cosign(checkpoint, member, key.public, kit.next_time(), key.sign)
    return Note(checkpoint, (line,)).to_bytes()


def test_a_cosigner_of_two_roots_for_one_size_loses_its_weight(kit):
    first, second = forks(kit)
    key = kit.key("south", Purpose.COSIGN)
    kit.accept(Equivocation(key.id, cosigned(kit, first, "south"), cosigned(kit, second, "south")), by="shield")
    south = authority(kit).cosigner("south")
    assert south is not None and south.weight == 0 and authority(kit).total == 40


def test_the_sequencer_that_signs_a_fork_loses_its_members_weight(kit):
    first, second = forks(kit)
    key = kit.key("health", Purpose.SEQUENCE)
    notes = [Note(each, (sign_note(each, key.public, key.sign),)).to_bytes() for each in (first, second)]
    kit.accept(Equivocation(key.id, notes[0], notes[1]), by="clinic")
    health = authority(kit).cosigner("health")
    assert health is not None and health.weight == 0


def test_what_is_no_fork_takes_nobodys_weight(kit):
    first, second = forks(kit)
    key, one = kit.key("south", Purpose.COSIGN), cosigned(kit, first, "south")
    bigger = cosigned(kit, replace(second, size=10), "south")
    foreign = cosigned(kit, replace(second, origin="commonward/0000000000000000"), "south")
    for other in (one, bigger, foreign, cosigned(kit, second, "north"), b"no note"):
        kit.refuse(NoConflict, Equivocation(key.id, one, other), by="shield")
    operate = kit.key("south")
    kit.refuse(NoConflict, Equivocation(operate.id, one, cosigned(kit, second, "south")), by="shield")


def test_four_of_five_cosigners_bind_a_checkpoint_by_the_authority_in_the_state(kit):
    tip = kit.machine.tip
    checkpoint = Checkpoint(origin_of(kit.ledger), tip.size, tip.root)
    lines = []
    for member in ("clinic", "health", "north", "south"):
        key = kit.key(member, Purpose.COSIGN)
        lines.append(cosign(checkpoint, member, key.public, kit.next_time(), key.sign))
    assert check_quorum(checkpoint, lines, authority(kit)).weight == 40


def test_a_rotated_cosigning_key_is_in_the_authority_of_the_same_block(kit):
    new = SoftKey("north cosign 2")
    kit.accept(new.add(kit.ledger, "north", Purpose.COSIGN), by="north")
    north = authority(kit).cosigner("north")
    assert north is not None and new.public in [key.public for key in north.keys]
    kit.accept(RevokeKey(kit.key("north", Purpose.COSIGN).id, commitment("reason")), by="north")
    north = authority(kit).cosigner("north")
    assert north is not None and [key.public for key in north.keys] == [new.public]
