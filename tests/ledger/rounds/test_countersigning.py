"""Fixing and countersigning: no trusted aggregator, no second vote, no result that does not follow from the set."""

from dataclasses import replace

from commonward.ledger.consent import Consent
from commonward.ledger.genesis import default_roles
from commonward.ledger.ids import MemberId, MemberKind
from commonward.ledger.members.keys import RevokeStaff
from commonward.ledger.parameters import Parameter
from commonward.ledger.rounds import Dispute, Status
from commonward.ledger.rounds.refusals import NotEnrolled
from commonward.ledger.rounds.round_refusals import (
    AgainstFinal,
    AlreadyCountersigned,
    NotToExclude,
    RoundNotOpen,
    SetNotFixed,
    TooFewLeft,
    WrongLink,
)
from commonward.ledger.rulebook import STUDY_ROLES, NotYourRole
from tests.ledger.rounds.studykit import (
    SITES,
    a_round,
    accept_all,
    approve,
    begun,
    enrol,
    enrolment,
    masked,
    proposed,
    ready,
    round_of,
    sign_all,
    signature,
    study_of,
    submit_all,
    terms,
    together,
    update,
)
from tests.ledgerkit import Kit, commitment, demo_genesis


def test_nobody_countersigns_twice_nor_without_part_nor_before_the_set_stands(kit):
    asked = begun(kit)
    kit.refuse(SetNotFixed, signature(kit, asked), by="north")
    submit_all(kit, asked, SITES[:3])
    kit.refuse(SetNotFixed, signature(kit, asked), by="north")
    last = update(kit, asked, "south")
    refusals = together(kit, (last, "south"), (signature(kit, asked), "north"))
    assert refusals[0] is None and isinstance(refusals[1], SetNotFixed), "what is fixed counts from the next block on"
    said = signature(kit, asked)
    kit.accept(said, by="north")
    kit.refuse(AlreadyCountersigned, said, by="north")
    kit.refuse(AlreadyCountersigned, signature(kit, asked, model="another"), by="north")
    kit.refuse(NotYourRole, said, by="shield")
    assert round_of(kit, asked).open


def test_who_enrolled_after_the_opening_has_no_voice_in_the_round(kit):
    asked = begun(kit, terms(kit, awaited=None), SITES[:3])
    kit.accept(enrolment(asked, "south"), by="south")
    submit_all(kit, asked, SITES[:3])
    kit.refuse(NotEnrolled, signature(kit, asked), by="south")


def test_an_aggregator_that_alters_the_model_needs_more_than_two_thirds(kit):
    """Two of four for one model, two for another: neither is final, and the attempt is void at once."""
    asked = begun(kit)
    submit_all(kit, asked)
    accept_all(kit, (signature(kit, asked), "clinic"), (signature(kit, asked), "health"))
    kit.accept(signature(kit, asked, model="altered"), by="north")
    assert round_of(kit, asked).open
    kit.accept(signature(kit, asked, model="altered"), by="south")
    assert (round_of(kit, asked).attempt, study_of(kit, asked).round) == (2, 0)
    assert study_of(kit, asked).model == asked.model


def test_two_thirds_of_the_sites_can_agree_on_a_false_model_and_the_rest_can_only_dispute(kit):
    """The ledger checks order, freshness, budget, quorum and chain, not arithmetic: this is the limit of it."""
    asked = begun(kit)
    submit_all(kit, asked)
    honest, false = signature(kit, asked), signature(kit, asked, model="false")
    accept_all(kit, *((false, site) for site in SITES[:3]))
    assert study_of(kit, asked).model == false.model
    kit.refuse(AgainstFinal, honest, by="south")
    kit.accept(Dispute(asked.study, 1, commitment("claim")), by="south")
    site = kit.machine.view().rounds.site(asked.study, "south")
    assert site is not None and site.disputes == (1,)


def test_a_set_that_its_deadline_fixes_is_countersigned_from_the_next_block_on(kit):
    """The due runs before the block's transactions, what it fixes counts after them."""
    asked = begun(kit)
    submit_all(kit, asked, SITES[:3])
    said = signature(kit, asked)
    kit.later(asked.waits.updates + 1000)
    assert isinstance(together(kit, (said, "north"))[0], SetNotFixed)
    assert round_of(kit, asked).fixed == kit.machine.tip.height
    kit.accept(said, by="north")


def test_what_a_site_signs_must_follow_from_the_set_and_the_round_before(kit):
    asked = begun(kit)
    submit_all(kit, asked)
    said = signature(kit, asked)
    kit.refuse(WrongLink, replace(said, model=commitment("another")), by="north")
    kit.refuse(WrongLink, replace(said, state=commitment("another")), by="north")
    kit.refuse(WrongLink, replace(said, exclusions=(MemberId("south"),)), by="north")
    kit.refuse(WrongLink, replace(said, chain=commitment("another")), by="north")
    kit.refuse(RoundNotOpen, replace(said, attempt=2), by="north")
    kit.refuse(RoundNotOpen, replace(said, round=2), by="north")
    kit.accept(said, by="north")


def test_exclusions_name_updates_of_the_set_and_leave_enough(kit):
    asked = begun(kit)
    submit_all(kit, asked)
    clinic, north, south, shield = map(MemberId, ("clinic", "north", "south", "shield"))
    kit.refuse(NotToExclude, signature(kit, asked, exclusions=(shield,)), by="north")
    kit.refuse(NotToExclude, signature(kit, asked, exclusions=(south, clinic)), by="north")
    kit.refuse(NotToExclude, signature(kit, asked, exclusions=(south, south)), by="north")
    kit.refuse(TooFewLeft, signature(kit, asked, exclusions=(north, south)), by="north")
    sign_all(kit, asked, exclusions=(south,))
    assert round_of(kit, asked, 1).exclusions == (south,) and study_of(kit, asked).round == 1


def test_nothing_is_left_out_of_a_masked_sum(kit):
    """Bytes that did not come make the attempt void: nobody signs, and its time runs out."""
    asked = begun(kit, masked(kit))
    submit_all(kit, asked)
    kit.refuse(NotToExclude, signature(kit, asked, exclusions=(MemberId("south"),)), by="north")
    kit.later(asked.waits.signatures + 1000)
    kit.settle()
    assert round_of(kit, asked).void and study_of(kit, asked).status == Status.WAITING


def test_a_masked_sum_with_too_few_survivors_is_void(kit):
    """Of four sites t = 3 open the sum; the study's own minimum would do with fewer of five."""
    asked = begun(kit, masked(kit))
    submit_all(kit, asked, SITES[:2])
    kit.later(asked.waits.updates + 1000)
    kit.settle()
    assert round_of(kit, asked).void


def test_of_five_masked_sites_three_are_too_few_though_the_study_asks_for_no_more():
    """Whoever could open a sum of three of five could open a site's key and its seed by two sets of revealers."""
    wide = {each: tuple(MemberKind) for each in (*STUDY_ROLES, Consent.KIND)}
    kit, sites = Kit(demo_genesis(roles=default_roles() | wide)), tuple(sorted((*SITES, "shield")))
    asked = proposed(kit, masked(kit, min_sites=3, awaited=5))
    approve(kit, asked, SITES)
    enrol(kit, asked, sites)
    ready(kit, asked, sites)
    assert round_of(kit, asked).sites == sites
    submit_all(kit, asked, sites[:3])
    kit.later(asked.waits.updates + 1000)
    kit.settle()
    assert round_of(kit, asked, 1).void and study_of(kit, asked).attempt == 1


def test_a_deadline_holds_though_a_block_had_no_room_to_sweep_it():
    """More falls due in that second than a block sweeps: what comes in the meantime is judged by the header's time."""
    kit = Kit(demo_genesis({Parameter.DUES_A_BLOCK: 16}))
    asked = begun(kit)
    submit_all(kit, asked, SITES[:3])
    late = update(kit, asked, "south")
    _crowd(kit, round_of(kit, asked).deadline)
    kit.refuse(RoundNotOpen, late, by="south")
    assert round_of(kit, asked).fixed is None, "its turn to be swept has not come"
    kit.settle()
    said = signature(kit, asked)
    found = round_of(kit, asked)
    assert found.fixed is not None and found.sign_by is not None and len(found.updates) == 3
    for site in SITES[:2]:
        kit.accept(said, by=site)
    _crowd(kit, found.sign_by)
    kit.refuse(RoundNotOpen, said, by="north")
    assert round_of(kit, asked).open, "its turn to be swept has not come"
    kit.settle()
    assert round_of(kit, asked, 1).attempt == 2 or round_of(kit, asked, 1).void


def _crowd(kit, at):
    """Twenty other things fall due at a time, which comes."""
    accept_all(kit, *((RevokeStaff(commitment("staff", at, n), at, commitment("left")), "health") for n in range(20)))
    kit.now = at


def test_a_straggler_is_left_behind_at_the_deadline_and_is_in_the_next_round(kit):
    asked = begun(kit)
    submit_all(kit, asked, SITES[:3])
    kit.later(asked.waits.updates - 1000)
    late = kit.sign(update(kit, asked, "south"), by="south", expiry=kit.next_time() + 300_000)
    kit.later(asked.waits.updates + 1000)
    kit.refuse_raw(RoundNotOpen, late)
    assert round_of(kit, asked).fixed == kit.machine.tip.height
    sign_all(kit, asked, SITES)
    assert [each.site for each in round_of(kit, asked, 1).updates] == list(SITES[:3])
    assert round_of(kit, asked).sites == SITES


def test_a_late_countersignature_joins_what_is_final_or_is_refused(kit):
    asked = begun(kit)
    submit_all(kit, asked)
    said, other = signature(kit, asked), signature(kit, asked, model="another")
    accept_all(kit, *((said, site) for site in SITES[:3]))
    assert study_of(kit, asked).round == 1
    kit.refuse(AgainstFinal, other, by="south")
    kit.accept(said, by="south")
    assert len(round_of(kit, asked, 1).signed) == 4 and round_of(kit, asked).round == 2


def test_a_study_stalls_after_three_attempts_and_takes_no_update(kit):
    """A third of its sites can stall a study; nothing false comes of it, and its proposer can close it."""
    asked = begun(kit)
    for attempt in (1, 2, 3):
        assert round_of(kit, asked).attempt == attempt
        submit_all(kit, asked)
        accept_all(kit, (signature(kit, asked), "clinic"), (signature(kit, asked), "health"))
        kit.later(asked.waits.signatures + 1000)
        kit.refuse(RoundNotOpen, signature(kit, asked), by="north")
        kit.settle()
    assert study_of(kit, asked).status == Status.STALLED and round_of(kit, asked).void
    kit.refuse(RoundNotOpen, update(kit, asked, "north"), by="north")
    assert study_of(kit, asked).model == asked.model


def test_an_attempt_that_failed_is_not_signed_when_the_next_is_open(kit):
    asked = begun(kit)
    submit_all(kit, asked)
    old = signature(kit, asked)
    kit.later(asked.waits.signatures + 1000)
    kit.settle()
    kit.refuse(RoundNotOpen, old, by="north")
    a_round(kit, asked)
    assert round_of(kit, asked, 1).attempt == 2 and study_of(kit, asked).round == 1
