"""Deciding: majorities and proposers that are themselves decided, weights that move by less than a third, CA
certificates taken out of force, and rules scheduled and taken back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.checkpoint import Authority
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Height, MemberId, MemberKind, Purpose
from commonward.ledger.members import (
    NO_CERTIFICATE,
    AdoptTable,
    CertificateOutOfForce,
    Change,
    ChangeKind,
    ChangeNotPossible,
    Equivocation,
    Majority,
    MajorityNotAllowed,
    MayNotPropose,
    NobodyMayPropose,
    NoWeightLeft,
    RenewCertificate,
    Resume,
    RevokeCertificate,
    RevokeKey,
    SetMajority,
    SetParameter,
    SetProposers,
    SetProtocol,
    SetWeight,
    Suspend,
    ThirdOfWeight,
    Vote,
    certificate_digest,
)
from commonward.ledger.members.changes import CHANGES
from commonward.ledger.parameters import Parameter
from tests.ledger.test_members import cosigned, forks, newcomer
from tests.ledgerkit import Kit, SoftKey, commitment, demo_genesis

NORTH, SOUTH, CLINIC = MemberId("north"), MemberId("south"), MemberId("clinic")
ALL = ("clinic", "health", "north", "shield", "south")


def authority(kit: Kit) -> Authority:
    return Authority.parse(kit.machine.get(b"authority") or b"")


def weight_of(kit: Kit, member: str) -> int:
    found = authority(kit).cosigner(member)
    assert found is not None
    return found.weight


def agree(kit: Kit, change: Change, voters: int) -> bool:
    """So many members vote for it; whether it carried."""
    asked = kit.proposal(change, repr((change, kit.machine.applied.height)))
    kit.accept(asked, by="north")
    for voter in ALL[:voters]:
        if kit.machine.view().governance.get(asked.proposal) is None:
            break
        kit.accept(Vote(asked.proposal, True), by=voter)
    return kit.machine.view().governance.get(asked.proposal) is None


def majority(kit: Kit, kind: ChangeKind) -> Majority:
    return kit.machine.view().majorities.majority(kind, kit.genesis.constitution)


# ---------------------------------------------------------------------------------------------------------- majorities


def test_a_majority_is_changed_by_vote_and_counts_from_then_on(kit):
    assert agree(kit, SetMajority(ChangeKind.TABLE, 2, 3), 4)
    assert majority(kit, ChangeKind.TABLE) == (2, 3)
    assert not agree(kit, AdoptTable("jurisdictions", commitment("table")), 3), "three of five was enough before"
    assert agree(kit, SetMajority(ChangeKind.TABLE, 1, 2), 4)
    assert agree(kit, AdoptTable("jurisdictions", commitment("table")), 3)


def test_the_bar_of_admission_is_not_lowered_by_those_who_cannot_reach_it():
    """Where a half may change majorities, a half would else lower the bar first and then admit whom it likes."""
    kit = Kit(demo_genesis(majorities={**dict.fromkeys(ChangeKind, Majority(1, 2)), ChangeKind.ADMIT: Majority(2, 3)}))
    assert not agree(kit, SetMajority(ChangeKind.ADMIT, 1, 2), 3), "the lower majority lowered the higher one"
    assert majority(kit, ChangeKind.ADMIT) == (2, 3)
    assert agree(kit, SetMajority(ChangeKind.ADMIT, 1, 2), 4)


def test_a_bar_is_raised_only_by_those_who_can_reach_it(kit):
    assert not agree(kit, SetMajority(ChangeKind.SUSPEND, 4, 5), 4), "four of five is not more than four fifths"
    assert agree(kit, SetMajority(ChangeKind.SUSPEND, 4, 5), 5)
    assert not agree(kit, SetMajority(ChangeKind.SUSPEND, 2, 3), 4), "down again needs what it needs now"


@pytest.mark.parametrize("numerator, denominator", [(1, 3), (1, 1), (3, 2), (0, 0), (499, 1000), (1000, 1000)])
def test_a_majority_of_less_than_half_or_of_all_is_refused(numerator, denominator):
    kit = Kit()
    kit.refuse(MajorityNotAllowed, kit.proposal(SetMajority(ChangeKind.TABLE, numerator, denominator)), by="north")


def test_nothing_looks_harder_to_reach_than_picking_the_voters(kit):
    """With two thirds, members can be admitted or suspended until any other majority is reached."""
    kit.refuse(MajorityNotAllowed, kit.proposal(SetMajority(ChangeKind.PROTOCOL, 9, 10)), by="north")
    kit.refuse(MajorityNotAllowed, kit.proposal(SetMajority(ChangeKind.ADMIT, 1, 2)), by="north")
    for kind in (ChangeKind.ADMIT, ChangeKind.SUSPEND, ChangeKind.RESUME):
        assert agree(kit, SetMajority(kind, 3, 4), 5)
    assert agree(kit, SetMajority(ChangeKind.PROTOCOL, 3, 4), 5)


# ----------------------------------------------------------------------------------------------------------- proposers


def test_who_may_propose_is_changed_by_vote(kit):
    assert agree(kit, SetProposers(ChangeKind.TABLE, (MemberKind.AUTHORITY,)), 4)
    table = AdoptTable("jurisdictions", commitment("table"))
    kit.refuse(MayNotPropose, kit.proposal(table), by="north")
    kit.accept(kit.proposal(table), by="health")


def test_nobody_is_left_without_a_proposer(kit):
    kit.refuse(NobodyMayPropose, kit.proposal(SetProposers(ChangeKind.PROPOSERS, ())), by="north")
    research = SetProposers(ChangeKind.ADMIT, (MemberKind.RESEARCH,))
    kit.refuse(NobodyMayPropose, kit.proposal(research), by="north")  # no member is of that kind


def test_who_may_propose_suspensions_is_not_narrowed_by_those_who_cannot_suspend():
    half, two_thirds = Majority(1, 2), Majority(2, 3)
    majorities = {kind: half if kind == ChangeKind.PROPOSERS else two_thirds for kind in ChangeKind}
    kit = Kit(demo_genesis(majorities=majorities))
    assert not agree(kit, SetProposers(ChangeKind.SUSPEND, (MemberKind.AUTHORITY,)), 3)


def test_when_all_who_may_propose_are_suspended_any_member_may(kit):
    """Else a consortium whose only authority is suspended could not even resume it."""
    for kind in (ChangeKind.RESUME, ChangeKind.SUSPEND):
        assert agree(kit, SetProposers(kind, (MemberKind.AUTHORITY,)), 4)
    asked = kit.proposal(Suspend(MemberId("health")), "away")
    kit.accept(asked, by="health")
    for voter in ("clinic", "north", "shield", "south"):
        kit.accept(Vote(asked.proposal, True), by=voter)
    kit.accept(kit.proposal(Resume(MemberId("health"))), by="north")


def test_a_ledger_that_changed_no_majority_holds_no_cell_of_them(kit):
    """So the roots of every ledger from before there was such a change stand."""
    assert agree(kit, SetParameter(Parameter.TICK, 2000), 4)
    assert kit.machine.get(b"majorities") is None and kit.machine.get(b"proposers") is None
    assert majority(kit, ChangeKind.MAJORITY) == majority(kit, ChangeKind.PROTOCOL)


# ------------------------------------------------------------------------------------------------------------- weights


def ready(kit: Kit, change: Change) -> Vote:
    """A proposal that lacks one vote."""
    asked = kit.proposal(change, repr(change))
    kit.accept(asked, by="north")
    for voter in ("clinic", "health", "north"):
        kit.accept(Vote(asked.proposal, True), by=voter)
    return Vote(asked.proposal, True)


def test_several_votes_in_one_block_do_not_move_a_third_together(kit):
    first, second = ready(kit, SetWeight(NORTH, 1)), ready(kit, SetWeight(SOUTH, 1))
    staged = kit.block([kit.sign(first, by="shield"), kit.sign(second, by="shield")])
    assert [outcome.code for outcome in staged.outcomes] == [0, ThirdOfWeight.code], "18 of 50 would be gone"
    assert (weight_of(kit, "north"), weight_of(kit, "south")) == (1, 10)


def test_what_one_block_may_not_move_the_next_may_by_the_same_vote(kit):
    votes = [ready(kit, SetWeight(member, 19)) for member in (NORTH, SOUTH, CLINIC)]
    staged = kit.block([kit.sign(vote, by="shield") for vote in votes])
    assert [outcome.code for outcome in staged.outcomes] == [0, 0, ThirdOfWeight.code], "27 of 77 would be new"
    asked = kit.machine.view().governance.get(votes[2].proposal)
    assert asked is not None and len(asked.ayes) == 3, "the vote that was refused is not counted"
    kit.accept(votes[2], by="shield")
    assert weight_of(kit, "clinic") == 19


def test_what_a_suspension_took_counts_with_the_weights_that_move_in_its_block(kit):
    suspension, weight = ready(kit, Suspend(SOUTH)), ready(kit, SetWeight(NORTH, 2))
    staged = kit.block([kit.sign(suspension, by="shield"), kit.sign(weight, by="shield")])
    assert [outcome.code for outcome in staged.outcomes] == [0, ThirdOfWeight.code], "10 and 8 of 50"


def test_the_last_weight_is_not_taken_away_even_in_a_pilot():
    kit = Kit(demo_genesis(pilot=True, weights={"clinic": 0, "health": 0, "shield": 0, "south": 0}))
    kit.refuse(NoWeightLeft, kit.proposal(SetWeight(NORTH, 0)), by="north")
    kit.refuse(NoWeightLeft, kit.proposal(Suspend(NORTH)), by="south")


def test_suspensions_stop_before_nobody_with_weight_is_left(kit):
    one, two = forks(kit)
    for liar in ("clinic", "health", "shield"):
        key = kit.key(liar, Purpose.COSIGN)
        kit.accept(Equivocation(key.id, cosigned(kit, one, liar), cosigned(kit, two, liar)), by="north")
    assert agree(kit, Suspend(SOUTH), 4)
    kit.refuse(NoWeightLeft, kit.proposal(Suspend(NORTH)), by="clinic")


def test_weight_is_not_given_to_who_cannot_sign_with_it(kit):
    admit = newcomer(kit)
    kit.refuse(ChangeNotPossible, kit.proposal(replace(admit, keys=admit.keys[:1])), by="north")
    assert agree(kit, replace(admit, keys=admit.keys[:1], weight=0), 4)
    kit.refuse(ChangeNotPossible, kit.proposal(SetWeight(MemberId("east"), 5)), by="north")


def test_a_member_whose_cosigning_key_ended_while_it_was_suspended_comes_back():
    """Suspended it registers no key, and with weight it needs one: it is let in without weight, and then given it."""
    kit = Kit()
    short, long = SoftKey("south cosign, short"), SoftKey("south cosign, next")
    ends = kit.next_time() + 86_400_000
    kit.accept(short.add(kit.ledger, "south", Purpose.COSIGN, ends=ends), by="south")
    kit.accept(RevokeKey(kit.key("south", Purpose.COSIGN).id, commitment("rotated")), by="south")
    assert agree(kit, Suspend(SOUTH), 4)
    kit.now = ends + 1000
    kit.settle()
    refused = kit.refuse(ChangeNotPossible, kit.proposal(Resume(SOUTH)), by="north")
    assert "COSIGN" in str(refused) and "weight 0" in str(refused)
    assert agree(kit, SetWeight(SOUTH, 0), 4) and agree(kit, Resume(SOUTH), 4)
    kit.accept(long.add(kit.ledger, "south", Purpose.COSIGN), by="south")
    assert agree(kit, SetWeight(SOUTH, 10), 4)
    assert weight_of(kit, "south") == 10


def test_under_consensus_weight_needs_a_validator_key_and_a_member_needs_a_node_key():
    kit = Kit(demo_genesis(consensus=True))
    admit = newcomer(kit)
    refused = kit.refuse(ChangeNotPossible, kit.proposal(admit), by="north")
    assert "node key" in str(refused)
    node = kit.key("east", Purpose.NODE).add(kit.ledger, "east", Purpose.NODE)
    with_node = replace(admit, keys=(*admit.keys, node))
    assert "VALIDATE" in str(kit.refuse(ChangeNotPossible, kit.proposal(with_node), by="north"))
    validate = kit.key("east", Purpose.VALIDATE).add(kit.ledger, "east", Purpose.VALIDATE)
    kit.accept(kit.proposal(replace(with_node, keys=(*with_node.keys, validate))), by="north")


_MORE = (Purpose.NODE, Purpose.VALIDATE, Purpose.CARRY)


@st.composite
def _change(draw: st.DrawFn) -> tuple[str, str, int]:
    what = draw(st.sampled_from(("weight", "weight", "weight", "suspend", "resume", "admit")))
    return what, draw(st.sampled_from((*ALL, "east", "west"))), draw(st.integers(0, 40))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_change(), min_size=1, max_size=3), min_size=1, max_size=6))
def test_no_sequence_of_votes_brings_anyone_a_third_or_leaves_no_validator(blocks):
    """Whatever carries, in whatever blocks: nobody comes to a third by a vote that gives or shifts weight, less than a
    third moves in a block, and someone always has weight. What a suspension leaves is not judged (docs: Vote)."""
    kit = Kit(demo_genesis(consensus=True))
    view = kit.machine.view
    for number, block in enumerate(blocks):
        before = {each.member: each.weight for each in authority(kit).cosigners}
        raws, suspended = [], False
        for index, (what, member, amount) in enumerate(block):
            change: Change
            if what == "admit":
                base = newcomer(kit, amount, member)
                extra = [kit.key(member, each).add(kit.ledger, member, each) for each in _MORE]
                change = replace(base, keys=(*base.keys, *extra))
            elif what == "weight":
                change = SetWeight(MemberId(member), amount)
            else:
                change = Suspend(MemberId(member)) if what == "suspend" else Resume(MemberId(member))
            asked = kit.proposal(change, f"{number} {index}")
            active = view().roll.active()
            outcome, _ = kit.submit(kit.sign(asked, by=active[0]), active[0])
            if not outcome.code:
                raws += [kit.sign(Vote(asked.proposal, True), by=voter) for voter in active]
                suspended = suspended or what == "suspend"
        kit.block(raws, carrier=view().roll.active()[0])
        now = {each.member: each.weight for each in authority(kit).cosigners}
        total = sum(now.values())
        assert total > 0 and any(each.weight and each.keys for each in authority(kit).cosigners)
        assert view().roll.active()
        if not suspended:
            gained = sum(max(0, now[each] - before.get(each, 0)) for each in now)
            lost = sum(max(0, before[each] - now[each]) for each in before)
            assert now == before or (3 * gained < total and 3 * lost < sum(before.values()))
            assert now == before or all(3 * each < total for each in now.values())


# -------------------------------------------------------------------------------------------------------- certificates


def test_a_revoked_ca_certificate_is_out_of_force_at_once_and_for_ever(kit):
    old = kit.genesis.member("south").certificate
    assert agree(kit, RevokeCertificate(certificate_digest(old)), 3)
    south = authority(kit).cosigner("south")
    assert south is not None and south.ca == NO_CERTIFICATE and south.weight == 10
    view = kit.machine.view()
    assert view.roll.certificate("south") is None and view.authorities.is_revoked(certificate_digest(old))
    back = RenewCertificate(SOUTH, old)
    kit.refuse(CertificateOutOfForce, kit.proposal(back), by="south")
    kit.refuse(CertificateOutOfForce, kit.proposal(replace(newcomer(kit), certificate=old)), by="south")
    kit.refuse(CertificateOutOfForce, kit.proposal(RevokeCertificate(certificate_digest(old))), by="south")
    assert agree(kit, RenewCertificate(SOUTH, b"the next one"), 3)
    assert kit.machine.view().roll.certificate("south") == b"the next one"


def test_what_a_member_was_known_by_stays_in_the_state_for_evidence_of_its_time(kit):
    first = kit.genesis.member("south").certificate
    assert agree(kit, RenewCertificate(SOUTH, b"second"), 3)
    assert agree(kit, RevokeCertificate(certificate_digest(b"second"), b"third"), 3)
    former = kit.machine.view().authorities.former()
    assert [(each.certificate, each.revoked) for each in former] == [(first, False), (b"second", True)]
    south = authority(kit).cosigner("south")
    assert south is not None and south.ca == certificate_digest(b"third")


def test_a_ca_that_serves_two_members_is_revoked_for_both(kit):
    for member in (SOUTH, CLINIC):
        assert agree(kit, RenewCertificate(member, b"shared"), 3)
    assert agree(kit, RevokeCertificate(certificate_digest(b"shared"), b"shared, new"), 3)
    for member in (SOUTH, CLINIC):
        assert kit.machine.view().roll.certificate(member) == b"shared, new"


def test_what_nobody_is_known_by_cannot_be_revoked_nor_replaced_by_itself(kit):
    kit.refuse(ChangeNotPossible, kit.proposal(RevokeCertificate(Digest(commitment("nobody")))), by="north")
    own = kit.genesis.member("south").certificate
    kit.refuse(ChangeNotPossible, kit.proposal(RevokeCertificate(certificate_digest(own), own)), by="north")


# ------------------------------------------------------------------------------------------------------------ protocol


def test_a_scheduled_version_is_taken_back_or_moved_before_its_height(kit):
    height = kit.machine.applied.height + 200
    assert agree(kit, SetProtocol(2, Height(height)), 4)
    assert kit.machine.view().adopted.scheduled(kit.machine.applied.height) == ((height, 2),)
    assert agree(kit, SetProtocol(2, Height(height - 50)), 4)
    assert kit.machine.view().adopted.versions() == ((0, 1), (height - 50, 2))
    assert agree(kit, SetProtocol(1, Height(height - 100)), 4)
    assert kit.machine.view().adopted.versions() == ((0, 1),)


def test_rules_never_go_back_nor_change_under_blocks_that_stand(kit):
    here = kit.machine.applied.height
    kit.refuse(ChangeNotPossible, kit.proposal(SetProtocol(2, Height(here))), by="north")
    kit.refuse(ChangeNotPossible, kit.proposal(SetProtocol(1, Height(here + 90))), by="north")
    assert agree(kit, SetProtocol(2, Height(here + 60)), 4)
    kit.refuse(ChangeNotPossible, kit.proposal(SetProtocol(1, Height(here + 90))), by="north")


def test_a_height_far_away_blocks_no_earlier_version(kit):
    assert agree(kit, SetProtocol(9, Height(1 << 52)), 4)
    assert agree(kit, SetProtocol(2, Height(kit.machine.applied.height + 90)), 4)
    assert kit.machine.view().adopted.versions()[1][1] == 2


def test_every_kind_of_change_is_read_from_its_number():
    assert {each.CHANGE for each in CHANGES.values()} == set(ChangeKind) == set(CHANGES)
