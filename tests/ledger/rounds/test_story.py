"""A whole study of four sites and three rounds, from the proposal to the day its updates may go."""

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Dispute, Link, Status, first_link, link, manifest_digest
from commonward.ledger.rounds.closing import keeps_updates
from tests.ledger.rounds.studykit import (
    CHARGE,
    DAY,
    SITES,
    a_round,
    accept_all,
    approve,
    closing,
    enrol,
    manifest,
    mask_keys,
    masked,
    proposed,
    ready,
    round_of,
    sign_all,
    study_of,
    submit_all,
)
from tests.ledgerkit import commitment


def test_a_study_of_four_sites_and_three_rounds_from_proposal_to_settled(kit):
    asked = proposed(kit)
    rounds = kit.machine.view().rounds
    assert rounds.studies() == (asked.study,) and study_of(kit, asked).status == Status.PROPOSED
    approve(kit, asked)
    assert study_of(kit, asked).status == Status.APPROVED
    enrol(kit, asked)
    assert rounds.sites(asked.study) == SITES and study_of(kit, asked).status == Status.APPROVED
    ready(kit, asked)
    assert study_of(kit, asked).status == Status.RUNNING
    for number in (1, 2, 3):
        now = round_of(kit, asked)
        assert (now.round, now.attempt, now.sites, now.voters) == (number, 1, SITES, SITES)
        assert now.base == study_of(kit, asked).model
        submit_all(kit, asked)
        sign_all(kit, asked)
        ended = round_of(kit, asked, number)
        assert ended.final == kit.machine.tip.height and len(ended.signed) == 4
        assert study_of(kit, asked).round == number and study_of(kit, asked).model == ended.model
        assert kit.machine.view().rounds.spent("north") == tuple(number * each for each in CHARGE)
    assert study_of(kit, asked).status == Status.COMPLETE
    kit.accept(closing(kit, asked), by="north")
    assert study_of(kit, asked).status == Status.CLOSED and kit.machine.view().rounds.studies() == ()
    kept_until = study_of(kit, asked).kept_until
    assert kept_until is not None and keeps_updates(asked.study, kept_until - 1, kit.machine.view().rounds)
    assert not keeps_updates(asked.study, kept_until, kit.machine.view().rounds)
    kit.later(DAY + 1000)
    kit.settle()
    rounds = kit.machine.view().rounds
    assert study_of(kit, asked).status == Status.SETTLED and study_of(kit, asked).round == 3
    assert rounds.sites(asked.study) == () and rounds.round(asked.study, 1) is None
    assert rounds.site(asked.study, "north") is None
    assert rounds.spent("north") == tuple(3 * each for each in CHARGE), "what was spent stays spent"


def test_a_round_takes_two_blocks_and_the_next_opens_in_the_second(kit):
    """All submit in one block, all countersign in the next, and in that very block the next round is open."""
    asked = proposed(kit)
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    opened = round_of(kit, asked).height
    assert opened == kit.machine.tip.height
    submit_all(kit, asked)
    assert round_of(kit, asked).fixed == opened + 1 == kit.machine.tip.height
    sign_all(kit, asked)
    assert round_of(kit, asked, 1).final == opened + 2 == round_of(kit, asked, 2).height == kit.machine.tip.height
    submit_all(kit, asked)
    sign_all(kit, asked)
    assert round_of(kit, asked, 3).height == opened + 4


def test_the_chain_can_be_computed_again_from_the_proposal_and_the_rounds(kit):
    """What a sidecar holds leads, offline, to the digest that the sites signed."""
    asked = proposed(kit)
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    for _ in range(3):
        a_round(kit, asked)
    found = first_link(MemberId("north"), asked)
    for number in (1, 2, 3):
        ended = round_of(kit, asked, number)
        assert ended.state is not None and ended.model is not None and ended.exclusions is not None
        updates = [(each.site, each.update, each.manifest) for each in ended.updates]
        assert updates[2][2] == manifest_digest(MemberId("north"), manifest(asked))
        found = link(
            found,
            Link(
                asked.study, number, ended.attempt, ended.base, ended.voters, updates, ended.exclusions, ended.state,
                ended.model,
            ),
        )  # fmt: skip
        assert found == ended.chain
    assert found == study_of(kit, asked).chain


def test_a_masked_study_takes_fresh_keys_for_every_attempt(kit):
    asked = proposed(kit, masked(kit, rounds=2))
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    first = kit.machine.view().rounds.site(asked.study, "south")
    assert first is not None and first.masks is None and first.used is not None
    assert (first.used.round, first.used.attempt) == (1, 1)
    submit_all(kit, asked)
    accept_all(kit, *((mask_keys(asked, site, 1), site) for site in SITES))
    sign_all(kit, asked)
    second = kit.machine.view().rounds.site(asked.study, "south")
    assert second is not None and second.masks is None and second.used is not None
    assert second.used.round == 2 and second.used.masks != first.used.masks
    a_round(kit, asked)
    assert study_of(kit, asked).status == Status.COMPLETE


def test_a_masked_study_without_keys_posted_ahead_waits_for_them(kit):
    asked = proposed(kit, masked(kit, rounds=2))
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    a_round(kit, asked)
    assert study_of(kit, asked).status == Status.WAITING
    accept_all(kit, *((mask_keys(asked, site, 1), site) for site in SITES[:2]))
    assert study_of(kit, asked).status == Status.WAITING
    kit.accept(mask_keys(asked, "north", 1), by="north")
    assert study_of(kit, asked).status == Status.RUNNING and round_of(kit, asked).sites == SITES[:3]
    assert round_of(kit, asked).voters == SITES, "who is enrolled countersigns, ready or not"


def test_a_dispute_keeps_the_updates_longer_once_for_each_site(kit):
    asked = proposed(kit, masked(kit, rounds=1))
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    a_round(kit, asked)
    kit.accept(closing(kit, asked), by="north")
    kit.later(DAY // 2)
    kit.accept(Dispute(asked.study, 1, commitment("claim")), by="clinic")
    longer = study_of(kit, asked).kept_until
    kit.later(DAY - 1000)
    kit.settle()
    assert study_of(kit, asked).status == Status.CLOSED and longer is not None
    kit.later(2000)
    kit.settle()
    assert study_of(kit, asked).status == Status.SETTLED
