"""A member's own part in studies: papers that fit the ledger or are not believed, votes by officers, forms on paper."""

from dataclasses import replace
from typing import Any

import pytest

from commonward.ledger.ids import BlockTime, Digest, MemberId, StudyId
from commonward.ledger.rounds import Mode, ProposeStudy, Rule, Status, Waits
from commonward.records.certificates import CertificateRefused
from commonward.records.privacy import charge
from commonward.records.rule_parameters import Parameters
from commonward.workflows.research_consents import NoSuchForm
from commonward.workflows.study_papers import Noise, Protocol, StudyPapers, WrongPapers, read_settings, settings_bytes
from commonward.workflows.studying import PAPERS, PapersMissing, Proposal
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.training.ports import Setting
from commonward.workflows.wire import MessageError
from tests.consortium import Consortium, House, observation

DAY = 86_400_000
COHORT = b'{"key": "patient", "views": []}'
LEARNER = Digest(b"\x07" * 32)
PROTOCOL = Protocol(
    "Heart disease", "who needs an angiogram", "heart_newton", settings_bytes({"steps": 3, "bounds": (1, 2)}),
    Parameters().to_bytes(), 200, 2,
)  # fmt: skip


def terms_of(house: House, protocol: Protocol = PROTOCOL, **bent: Any) -> Any:
    noise = protocol.noise
    cost = None if noise is None else charge(noise.noise, noise.rate, noise.steps)

    def terms(study: StudyId, paper: Digest, cohort: Digest, viewers: Digest) -> ProposeStudy:
        asked = ProposeStudy(
            study, Mode.MASKED, Rule.NEWTON, 0, LEARNER, Digest(b"\x08" * 32), 3, 1, 2,
            Waits(DAY, 60_000, 60_000, 60_000, DAY), BlockTime(house.office.member.ledger_now() + 30 * DAY),
            paper, cohort, viewers, False, None, cost, None if cost is None else 5,
        )  # fmt: skip
        return replace(asked, **bent)

    return terms


async def proposed(c: Consortium, **bent: Any) -> StudyId:
    wanted = Proposal(PROTOCOL, COHORT, (MemberId("south"), MemberId("north")), terms_of(c.north, **bent))
    study, landed = await c.north.office.studying.propose(wanted)
    assert landed.code == 0
    await c.engine.settle()
    return study


async def approved(c: Consortium) -> StudyId:
    study = await proposed(c)
    for name in ("north", "south", "clinic", "health"):
        house = c.houses[name]
        if house.office.studying.study(study).status is Status.PROPOSED:
            officer = house.staff("ethics-officer", "e1")
            await house.office.studying.vote(study, True, False, "sound", officer)
            await c.engine.settle()
    assert c.north.office.studying.study(study).status is Status.APPROVED
    return study


async def test_a_study_is_proposed_read_by_all_and_approved_by_their_ethics_officers() -> None:
    async with Consortium() as c:
        study = await approved(c)
        papers = await c.south.office.studying.papers(study)
        assert papers.protocol == PROTOCOL and papers.cohort == COHORT
        assert papers.viewers == ("north", "south")
        assert papers.protocol.learner_settings == {"steps": 3, "bounds": (1, 2)}
        assert c.south.office.studying.known() == [study]


async def test_no_one_but_an_ethics_officer_votes() -> None:
    async with Consortium() as c:
        study = await proposed(c)
        with pytest.raises(CertificateRefused, match="ethics officer"):
            await c.south.office.studying.vote(study, True, False, "looks fine", c.south.staff("clinician", "n1"))
        assert c.south.office.studying.study(study).ayes == ()


async def test_papers_that_are_not_those_the_ledger_commits_to_are_not_believed() -> None:
    async with Consortium() as c:
        study = await proposed(c)
        own = c.north.office.studying.held(study)
        assert own is not None

        async def lies(asker: MemberId, body: bytes) -> bytes:
            return replace(own, cohort=b'{"key": "patient", "views": [1]}').to_bytes()

        c.north.office.desk.handlers[PAPERS] = lies
        with pytest.raises(PapersMissing, match="north: "):
            await c.south.office.studying.papers(study)
        assert c.south.office.studying.held(study) is None


async def test_a_charge_that_is_not_what_the_noise_costs_is_seen_by_whoever_reads() -> None:
    told = settings_bytes({"noise": 1_000_000, "rate": 10_000_000, "steps": 10})
    cheap = replace(PROTOCOL, noise=Noise(1_000_000, 10_000_000, 10), settings=told)
    async with Consortium() as c:
        make = terms_of(c.north, cheap)
        papers = StudyPapers(StudyId(b"\1" * 16), cheap, COHORT, (), (b"\2" * 32, b"\3" * 32, b"\4" * 32))
        honest = make(papers.study, *papers.commitments)
        papers.check(honest)
        with pytest.raises(WrongPapers, match="charge"):
            papers.check(replace(honest, charge=(1,) * 16))


async def test_noise_that_is_charged_for_and_not_told_to_the_learner_is_seen_by_whoever_reads() -> None:
    quiet = settings_bytes({"noise": 10, "rate": 10_000_000, "steps": 10})
    async with Consortium() as c:
        for said in (Noise(1_000_000, 10_000_000, 10), None):
            wrong = replace(PROTOCOL, noise=said, settings=quiet)
            papers = StudyPapers(StudyId(b"\1" * 16), wrong, COHORT, (), (b"\2" * 32, b"\3" * 32, b"\4" * 32))
            terms = terms_of(c.north, wrong)(papers.study, *papers.commitments)
            with pytest.raises(WrongPapers, match="told noise"):
                papers.check(terms)


async def test_a_charge_for_one_row_does_not_pay_for_a_patient_who_brings_several() -> None:
    told = settings_bytes({"noise": 1_000_000, "rate": 10_000_000, "steps": 10})
    private = replace(PROTOCOL, noise=Noise(1_000_000, 10_000_000, 10), settings=told)
    async with Consortium() as c:
        papers = StudyPapers(StudyId(b"\1" * 16), private, COHORT, (), (b"\2" * 32, b"\3" * 32, b"\4" * 32))
        terms = terms_of(c.north, private)(papers.study, *papers.commitments)
        papers.check(terms)
        with pytest.raises(WrongPapers, match="row_cap = 1"):
            papers.check(replace(terms, row_cap=2))


async def test_a_site_enrols_by_its_own_officer_and_leaves_again() -> None:
    async with Consortium() as c:
        study = await approved(c)
        studying = c.south.office.studying
        await studying.enrol(study, "heart_newton", LEARNER, "agreed by our board", b"\5" * 32, c.south.staff())
        await c.engine.settle()
        site = studying.rounds.site(study, "south")
        assert site is not None and site.enrolled and studying.enrolment(study) is not None
        await studying.leave(study, "no capacity")
        await c.engine.settle()
        site = studying.rounds.site(study, "south")
        assert site is not None and not site.enrolled and studying.enrolment(study) is None


async def test_who_was_refused_before_the_vote_enrols_after_it() -> None:
    async with Consortium() as c:
        study = await proposed(c)
        officer = c.south.staff("ethics-officer", "e1")
        with pytest.raises(LedgerRefused, match="621"):
            await c.south.office.studying.enrol(study, "heart_newton", LEARNER, "at once", bytes(32), officer)
        assert c.south.office.studying.enrolment(study) is None
        for name in ("north", "south", "clinic", "health"):
            house = c.houses[name]
            if house.office.studying.study(study).status is Status.PROPOSED:
                await house.office.studying.vote(study, True, False, "sound", house.staff("ethics-officer", "e1"))
                await c.engine.settle()
        await c.south.office.studying.enrol(study, "heart_newton", LEARNER, "now", bytes(32), officer)
        await c.engine.settle()
        assert c.south.office.studying.enrolment(study) is not None


async def test_forms_on_paper_count_once_and_their_withdrawal_ends_what_they_let_be_read() -> None:
    async with Consortium() as c:
        study = await approved(c)
        await c.north.takes(observation("o1", "ada"), observation("o2", "ben"), observation("o3", "eve"))
        research, people = c.north.office.research, (c.north.staff("nurse", "n1"), c.north.staff("nurse", "n2"))
        for name in ("ada", "ben", "ada"):
            await research.take(study, c.north.local(name), "I agree to take part.", people)
            await c.engine.settle()
        assert research.count(study).open == 2
        rows = await research.rows(study)
        assert len(rows) == 2 and all(len(each.held) == 1 for each in rows)
        with pytest.raises(NoSuchForm):
            await research.withdraw(study, c.north.local("eve"), "never agreed")
        await research.withdraw(study, c.north.local("ada"), "moved away")
        await c.engine.settle()
        assert research.count(study).open == 1 and research.count(study).withdrawn_at > 0
        (left,) = await research.rows(study)
        assert left.held[0].stored.count(b"ben")
        await research.take(study, c.north.local("ada"), "I agree again.", people)
        await c.engine.settle()
        assert research.count(study).open == 2 and len(await research.rows(study)) == 2


async def test_a_form_needs_two_people_who_saw_it_signed() -> None:
    async with Consortium() as c:
        study = await approved(c)
        nurse = c.north.staff("nurse", "n1")
        with pytest.raises(CertificateRefused, match="two different"):
            await c.north.office.research.take(study, c.north.local("ada"), "I agree.", (nurse, nurse))
        assert c.north.office.research.count(study).open == 0


def test_settings_come_back_as_they_were_and_nothing_else_is_read() -> None:
    given: dict[str, Setting] = {"a": 1, "b": "text", "c": b"\0", "d": (1, -2)}
    assert read_settings(settings_bytes(given)) == given
    for wrong in (b"", b"\x81\x01", settings_bytes({"a": 1}) + b"\0"):
        with pytest.raises(MessageError):
            read_settings(wrong)
