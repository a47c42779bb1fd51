"""No order of transactions, honest or not, breaks what a study promises.

A machine throws votes, consents, withdrawals, manifests, keys, updates, countersignatures, disputes, ends and time at
one ledger, in any order, most of them out of place. After each step it compares the state with its own count of what
was accepted.
"""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from commonward.ledger.consent import Research, Withdraw
from commonward.ledger.ids import MemberId
from commonward.ledger.refusals import REFUSALS
from commonward.ledger.rounds import (
    Dispute,
    LeaveStudy,
    Link,
    Mode,
    ProposeStudy,
    Rule,
    Status,
    first_link,
    least_sites,
    link,
    quorum,
)
from commonward.ledger.rounds.budget import USUAL, epsilon
from commonward.ledger.rounds.study import NOTHING_SPENT, Round, Study
from commonward.ledger.wire import Payload
from tests.ledger.rounds.studykit import (
    SITES,
    closing,
    enrolment,
    manifest,
    mask_keys,
    masked,
    research,
    signature,
    terms,
    update,
    vote,
)
from tests.ledgerkit import Kit, commitment

MOVES = {
    Status.PROPOSED: {Status.APPROVED, Status.REJECTED},
    Status.APPROVED: {Status.RUNNING, Status.CLOSED},
    Status.RUNNING: {Status.WAITING, Status.STALLED, Status.COMPLETE, Status.CLOSED},
    Status.WAITING: {Status.RUNNING, Status.CLOSED},
    Status.STALLED: {Status.CLOSED},
    Status.COMPLETE: {Status.CLOSED},
    Status.CLOSED: {Status.SETTLED},
    Status.SETTLED: set(),
    Status.REJECTED: set(),
}
BY = st.sampled_from(SITES)
WHICH = st.integers(0, 1)
OFF = st.sampled_from(({}, {}, {}, {"round": 2}, {"attempt": 2}, {"base": commitment("another")}))


class AnyOrder(RuleBasedStateMachine):
    """Two studies of one consortium: one open and costly, one masked."""

    @initialize(joined=st.sampled_from((True, True, True, False)))
    def begin(self, joined: bool) -> None:
        self.kit = Kit()
        self.asked: list[ProposeStudy] = [
            terms(self.kit, "open", rule=Rule.MEDIAN, f=1, awaited=None, rounds=2, charge=(1_500_000,) * 16),
            masked(self.kit, "masked", awaited=4, rounds=2),
        ]
        self.charged = dict.fromkeys(SITES, 0)
        self.consents: dict[tuple[int, str], list[int]] = {}
        self.made = 0
        self.seen: dict[int, Status] = {}
        self.kit.block([self.kit.sign(asked, by="north") for asked in self.asked])
        for which, asked in enumerate(self.asked):
            self.kit.block([self.kit.sign(vote(asked), by=site) for site in SITES[:2]])
            if joined:
                self.all_join(which)

    def submit(self, payload: Payload, by: str) -> bool:
        outcome, refusal = self.kit.submit(self.kit.sign(payload, by=by))
        assert refusal is None or REFUSALS[outcome.code] is type(refusal)
        return refusal is None

    def study(self, which: int) -> Study:
        found = self.kit.machine.view().rounds.study(self.asked[which].study)
        assert found is not None
        return found

    def now(self, which: int) -> Round | None:
        """The attempt that is under way, or failed last."""
        return self.kit.machine.view().rounds.round(self.asked[which].study, self.study(which).round + 1)

    # -------------------------------------------------------------------------------------------------- what may happen

    @rule(which=WHICH, by=BY, choice=st.booleans())
    def votes(self, which: int, by: str, choice: bool) -> None:
        self.submit(vote(self.asked[which], choice), by)

    @rule(which=WHICH)
    def an_honest_round(self, which: int) -> None:
        """So that the later parts of a study are reached often."""
        self.all_send(which)
        self.all_sign(which)
        if self.asked[which].mode == Mode.MASKED:
            for site in SITES:
                self.keys(which, site)

    @rule(which=WHICH)
    def all_join(self, which: int) -> None:
        asked = self.asked[which]
        self.submit(vote(asked), "north")
        for site in SITES:
            self.submit(enrolment(asked, site), site)
            if not self.consents.get((which, site)):
                self.consents_to(which, site)
            self.submit(manifest(asked), site)
            if asked.mode == Mode.MASKED:
                self.keys(which, site)

    @rule(which=WHICH, by=BY)
    def joins(self, which: int, by: str) -> None:
        self.submit(enrolment(self.asked[which], by), by)

    @rule(which=WHICH, by=BY)
    def leaves(self, which: int, by: str) -> None:
        self.submit(LeaveStudy(self.asked[which].study, commitment("reason")), by)

    @rule(which=WHICH, by=BY)
    def consents_to(self, which: int, by: str) -> None:
        self.made += 1
        if self.submit(research(self.kit, self.asked[which], by, self.made), by):
            self.consents.setdefault((which, by), []).append(self.made)

    @rule(which=WHICH, by=BY)
    def withdraws(self, which: int, by: str) -> None:
        open_ones = self.consents.get((which, by), [])
        if open_ones:
            asked = research(self.kit, self.asked[which], by, open_ones[0])
            if self.submit(Withdraw(asked.id, commitment("reason")), by):
                open_ones.pop(0)

    @rule(which=WHICH, by=BY, band=st.integers(0, 2), test=st.integers(0, 2))
    def manifests(self, which: int, by: str, band: int, test: int) -> None:
        self.submit(manifest(self.asked[which], test, rows=band, test=commitment("test", test)), by)

    @rule(which=WHICH, by=BY)
    def keys(self, which: int, by: str) -> None:
        self.made += 1
        self.submit(mask_keys(self.asked[which], by, self.made), by)

    @precondition(lambda self: any(self.now(which) for which in (0, 1)))
    @rule(which=WHICH, by=BY, off=OFF)
    def sends(self, which: int, by: str, off: dict[str, Any]) -> None:
        if self.now(which) is not None and self.submit(update(self.kit, self.asked[which], by, **off), by):
            self.charged[by] += self.asked[which].charge is not None

    @rule(which=WHICH)
    def all_send(self, which: int) -> None:
        for site in SITES:
            self.sends(which, site, {})

    @precondition(lambda self: any(self.now(which) for which in (0, 1)))
    @rule(which=WHICH, by=BY, model=st.integers(0, 1), excluded=st.lists(BY, max_size=2))
    def signs(self, which: int, by: str, model: int, excluded: list[str]) -> None:
        if self.now(which) is not None:
            exclusions = tuple(MemberId(each) for each in sorted(excluded))
            self.submit(signature(self.kit, self.asked[which], model, exclusions=exclusions), by)

    @rule(which=WHICH)
    def all_sign(self, which: int) -> None:
        now = self.now(which)
        if now is not None:
            said = signature(self.kit, self.asked[which])
            for site in SITES:
                self.submit(said, site)

    @rule(which=WHICH, by=BY, number=st.integers(1, 2))
    def disputes(self, which: int, by: str, number: int) -> None:
        self.submit(Dispute(self.asked[which].study, number, commitment("claim")), by)

    @rule(which=WHICH, by=BY)
    def closes(self, which: int, by: str) -> None:
        if self.study(which).round:
            self.submit(closing(self.kit, self.asked[which]), by)

    @rule(ms=st.sampled_from((60_000, 60_000, 300_000, 300_000, 90_000_000)))
    def time_passes(self, ms: int) -> None:
        self.kit.later(ms)
        self.kit.settle()

    # ------------------------------------------------------------------------------------------------ what always holds

    @invariant()
    def a_study_moves_only_as_it_may(self) -> None:
        for which, asked in enumerate(getattr(self, "asked", ())):
            status, before = self.study(which).status, self.seen.get(which)
            if before is not None and status != before:
                reached, edge = {before}, {before}
                while edge and status not in reached:  # one step may make several moves
                    edge = {to for each in edge for to in MOVES[each]} - reached
                    reached |= edge
                assert status in reached, f"from {before.name} to {status.name}"
            self.seen[which] = status
            listed = asked.study in self.kit.machine.view().rounds.studies()
            assert listed == (not status.over)

    @invariant()
    def what_was_spent_is_what_was_accepted_and_under_the_cap(self) -> None:
        if hasattr(self, "kit"):
            for site in SITES:
                spent = self.kit.machine.view().rounds.spent(site)
                cost = self.asked[0].charge or NOTHING_SPENT
                assert spent == tuple(self.charged[site] * each for each in cost)
                assert epsilon(spent, USUAL.delta) <= USUAL.epsilon

    @invariant()
    def the_counter_is_the_number_of_open_consents(self) -> None:
        for (which, site), open_ones in getattr(self, "consents", {}).items():
            found = self.kit.machine.view().consents.site(Research(self.asked[which].study, MemberId(site)))
            assert found.open == len(open_ones)

    @invariant()
    def final_rounds_are_signed_alike_by_two_thirds_and_chained(self) -> None:
        for which, asked in enumerate(getattr(self, "asked", ())):
            study, rounds = self.study(which), self.kit.machine.view().rounds
            if study.status == Status.SETTLED:
                continue
            chain, base = first_link(MemberId("north"), asked), asked.model
            for number in range(1, study.round + 1):
                ended = rounds.round(asked.study, number)
                assert ended is not None and ended.final is not None and ended.fixed is not None
                assert ended.fixed < ended.final and ended.base == base
                assert sum(each.chain == ended.chain for each in ended.signed) >= quorum(len(ended.voters))
                assert ended.state is not None and ended.model is not None and ended.exclusions is not None
                assert len(ended.updates) - len(ended.exclusions) >= least_sites(asked.mode, asked.rule, asked.f)
                updates = [(each.site, each.update, each.manifest) for each in ended.updates]
                chain = link(
                    chain,
                    Link(
                        asked.study, number, ended.attempt, base, ended.voters, updates, ended.exclusions, ended.state,
                        ended.model,
                    ),
                )  # fmt: skip
                base = ended.model
            assert (study.chain, study.model) == (chain, base)

    @invariant()
    def an_attempt_is_of_its_sites_once_each(self) -> None:
        for which, asked in enumerate(getattr(self, "asked", ())):
            now, study = self.now(which), self.study(which)
            if now is None or study.status == Status.SETTLED:
                continue
            sites = [each.site for each in now.updates]
            assert sites == sorted(set(sites)) and set(sites) <= set(now.sites) <= set(now.voters)
            assert now.attempt <= 3 and len(now.sites) >= asked.min_sites
            assert (study.status == Status.RUNNING) == now.open

    def teardown(self) -> None:
        """The same blocks lead another node to the same state: it holds nothing but what they say."""
        if hasattr(self, "kit"):
            before = self.kit.machine.tip
            self.kit.reopen()
            assert self.kit.machine.tip == before


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
