"""A member's own part in studies: what it proposes, votes, joins and leaves, and the papers of every study it knows.

Rounds are not here: what an enrolled site does in each is `workflows.training`. A study is only enrolled in by people
of this member, who have its papers before them: nothing here follows from a proposal by itself.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, digest, encode
from commonward.ledger.ids import MemberId, MemberKind, Purpose, StudyId
from commonward.ledger.rounds import (
    ApproveStudy,
    CloseStudy,
    Dispute,
    EnrolSite,
    LeaveStudy,
    ProposeStudy,
)
from commonward.ledger.rounds.study import Rounds, Study
from commonward.ledger.wire import Payload
from commonward.records.certificates import CertificateRefused, sign_statement
from commonward.records.evidence import label_of
from commonward.records.openings import commit
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.ports import Committed, StaffSigner, WorldError
from commonward.workflows.reading import LedgerCells
from commonward.workflows.sealing import Drawer
from commonward.workflows.study_papers import PapersOf, Protocol, StudyPapers, WrongPapers
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.wire import Message, MessageError

__all__ = ["PAPERS", "Enrolled", "NoSuchStudy", "PapersMissing", "Proposal", "Studying", "study_label"]

PAPERS: Final = "study/papers"
"""The peers' path under which a member gives the papers of a study that it has."""

OPINION: Final = label_of(ApproveStudy, "opinion")
ETHICS: Final = label_of(ApproveStudy, "ethics")
APPROVAL: Final = label_of(EnrolSite, "approval")
REASON: Final = label_of(LeaveStudy, "reason")
CLAIM: Final = label_of(Dispute, "claim")
REPORT: Final = label_of(CloseStudy, "report")
CONTRIBUTIONS: Final = label_of(CloseStudy, "contributions")


class NoSuchStudy(LookupError):
    """No study of that id stands on the ledger."""


class PapersMissing(WorldError):
    """The papers of a study could not be had from any member now."""


class Proposal(NamedTuple):
    """What a proposer decides: the papers' parts, and all of the terms but the commitments to them.

    `terms(study, protocol, cohort, viewers)` gives the transaction for three commitments.
    """

    protocol: Protocol
    cohort: bytes
    viewers: tuple[MemberId, ...]
    terms: Callable[[StudyId, Digest, Digest, Digest], ProposeStudy]


@dataclass(frozen=True, slots=True)
class Enrolled(Message):
    """What this member's people decided when they enrolled it: kept here, committed to on the ledger.

    `statement`: an officer's signed statement over `enrolment_statement`. `seen`: digest of the heterogeneity page
    that they had before them.
    """

    study: StudyId
    learner: str
    digest: Digest
    words: str
    staff: str
    statement: bytes
    seen: bytes
    salt: bytes
    at: int
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Said(Message):
    """Words, or a signed statement, behind one commitment about a study, and its salt."""

    label: str
    study: StudyId
    said: bytes
    salt: bytes
    at: int


def study_label(study: bytes) -> str:
    """How people call a study whose papers are not at hand: the first digits of its id."""
    return study.hex()[:12]


def vote_statement(terms: ProposeStudy, choice: bool, waiver: bool, opinion: str) -> bytes:
    """What an ethics officer signs: the study whole, the vote, the words."""
    return encode(["commonward study vote v1", terms.to_value(), int(choice), int(waiver), opinion])


def enrolment_statement(terms: ProposeStudy, words: str, seen: bytes) -> bytes:
    """What an officer signs to enrol this site: the study whole, the words, and the digest of the page they saw."""
    return encode(["commonward study enrolment v1", terms.to_value(), words, seen])


class Studying:
    """One member's."""

    def __init__(self, member: Member) -> None:
        self._member = member
        vault, sealing = member.ports.vault, member.sealing
        self.rounds = Rounds(LedgerCells(member.ports.ledger))
        self._papers = Drawer(vault, sealing, "study-papers", StudyPapers)
        self._enrolled = Drawer(vault, sealing, "study-enrolments", Enrolled)
        self._said = Drawer(vault, sealing, "study-words", Said)
        self.handlers: dict[str, Callable[[MemberId, bytes], Awaitable[bytes]]] = {PAPERS: self._give}

    # what is known

    def study(self, study: StudyId) -> Study:
        """Raises NoSuchStudy."""
        found = self.rounds.study(study)
        if found is None:
            raise NoSuchStudy(f"no study {study.hex()} stands on the ledger, as far as this node has followed it")
        return found

    def known(self) -> list[StudyId]:
        """Studies that are not over, as they were proposed; then those that are over and whose papers are here."""
        live = list(self.rounds.studies())
        past = [StudyId(key) for key in self._papers.places() if key not in live]
        return live + sorted(each for each in past if self.rounds.study(each) is not None)

    def held(self, study: StudyId) -> StudyPapers | None:
        """The papers, if they are here and fit what stands on the ledger."""
        papers, stands = self._papers.get(study), self.rounds.study(study)
        if papers is None or stands is None:
            return None
        papers.check(stands.terms)
        return papers

    async def papers(self, study: StudyId) -> StudyPapers:
        """The papers, fetched from the proposer, or from a member that voted or takes part, and kept once they fit.

        Raises:
            NoSuchStudy: the ledger knows no such study.
            PapersMissing: nobody who should have them answers; the sentence names them.
        """
        held, stands = self.held(study), self.study(study)
        if held is not None:
            return held
        why = []
        for other in _once((stands.proposer, *self.rounds.sites(study), *stands.ayes, *stands.noes)):
            if other == self._member.id:
                continue
            try:
                answer = await self._member.ports.peers.ask(other, PAPERS, PapersOf(study).to_bytes())
                papers = StudyPapers.parse(answer)
                if papers.study != study:
                    raise WrongPapers("they are another study's")
                papers.check(stands.terms)
            except (WorldError, MessageError, WrongPapers) as cause:
                why.append(f"{other}: {cause}")
                continue
            self._papers.put(study, papers)
            return papers
        raise PapersMissing(f"no member gave the papers of study {study.hex()}: {'; '.join(why) or 'nobody to ask'}")

    async def _give(self, asker: MemberId, body: bytes) -> bytes:
        """Papers go to every active member: each has a vote, or a neighbour who has. Raises MessageError."""
        wanted = PapersOf.parse(body).study
        papers = self.held(wanted) if self._member.reading.kind_of(asker) is not None else None
        if papers is None:
            raise MessageError(f"no papers of study {wanted.hex()} are here for {asker}")
        return papers.to_bytes()

    def enrolment(self, study: StudyId) -> Enrolled | None:
        """What this member's people decided; None where they did not, or took it back."""
        found = self._enrolled.get(study)
        return None if found is None or found.left is not None else found

    def took_part(self, study: StudyId) -> bool:
        """Whether this member's people ever enrolled it, also where they took it back since. The ledger forgets it when
        a study is settled."""
        return self._enrolled.get(study) is not None

    def may_vote(self) -> bool:
        return self._member.reading.kind_of(self._member.id) not in (None, MemberKind.INSURER)

    # what is done

    async def propose(self, wanted: Proposal) -> tuple[StudyId, Committed]:
        """Puts a study to the ethics roles. Raises LedgerRefused, LedgerAway (nothing is known yet)."""
        entropy = self._member.ports.entropy
        study = StudyId(entropy.bytes(16))
        salts = (entropy.bytes(32), entropy.bytes(32), entropy.bytes(32))
        papers = StudyPapers(study, wanted.protocol, wanted.cohort, tuple(sorted(set(wanted.viewers))), salts)
        terms = wanted.terms(study, *papers.commitments)
        papers.check(terms)
        self._papers.put(study, papers)  # first: nobody could read what no papers open
        landed = await self._land(b"study" + study, terms)
        return study, landed

    async def vote(self, study: StudyId, choice: bool, waiver: bool, opinion: str, officer: StaffSigner) -> Committed:
        """This member's vote, signed by its ethics officer, who had the papers: they are fetched first.

        Raises NoSuchStudy, PapersMissing, CertificateRefused (no ethics officer of this member), LedgerRefused.
        """
        papers, terms = await self.papers(study), self.study(study).terms
        papers.check(terms)
        signed = sign_statement(
            self._member.ports.ledger.line, vote_statement(terms, choice, waiver, opinion), officer.certificate,
            officer.sign,
        )  # fmt: skip
        staff = self._member.reading.staff(signed, self._member.id, self._member.now())
        if staff.role != "ethics-officer":
            raise CertificateRefused(
                f"expected an ethics officer's certificate for a vote on a study, got {staff.role}"
            )
        payload = ApproveStudy(
            study, choice, waiver, self._say(OPINION, study, opinion.encode()),
            self._say(ETHICS, study, signed.to_bytes()),
        )  # fmt: skip
        landed = await self._land(b"study-vote" + study, payload)
        self._note(f"voted {'yes' if choice else 'no'} on study {study_label(study)}: {opinion}", staff.number)
        return landed

    async def enrol(
        self, study: StudyId, learner: str, installed: Digest, words: str, seen: bytes, officer: StaffSigner
    ) -> Committed:
        """This site takes part from now on, with the learner that its people installed and approved.

        Args:
            installed: digest of the learner of that name, as it lies here.
            seen: digest of the page of this site's own data that the officer had before them (32 bytes).

        Raises NoSuchStudy, PapersMissing, CertificateRefused, LedgerRefused.
        """
        await self.papers(study)
        terms = self.study(study).terms
        signed = sign_statement(
            self._member.ports.ledger.line, enrolment_statement(terms, words, seen), officer.certificate, officer.sign
        )
        staff = self._member.reading.staff(signed, self._member.id, self._member.now())
        salt = self._salt(APPROVAL, study, words.encode())
        paper = Enrolled(
            study, learner, installed, words, staff.number, signed.to_bytes(), seen, salt, self._member.now()
        )
        self._enrolled.put(study, paper)
        _, sealing, _ = self._member.ports.keys.public(Purpose.HPKE)
        try:
            landed = await self._land(
                b"study-enrol" + study,
                EnrolSite(study, installed, sealing, commit(APPROVAL, salt, [words, paper.statement, seen])),
            )
        except Exception:
            if not self._takes_part(study):
                self._enrolled.remove(study)
            raise
        self._note(f"enrolled in study {study_label(study)}: {words}", staff.number)
        return landed

    def _takes_part(self, study: StudyId) -> bool:
        site = self.rounds.site(study, self._member.id)
        return site is not None and site.enrolled

    async def leave(self, study: StudyId, reason: str) -> Committed:
        """This site takes part no more, from the end of the attempt that is open. Raises LedgerRefused."""
        landed = await self._land(b"study-leave" + study, LeaveStudy(study, self._say(REASON, study, reason.encode())))
        paper = self._enrolled.get(study)
        if paper is not None:
            self._enrolled.put(study, replace(paper, left=self._member.now()))
        self._note(f"left study {study_label(study)}: {reason}", "")
        return landed

    async def close(self, study: StudyId, report: bytes = b"", contributions: bytes = b"") -> Committed:
        """As its proposer: ends a study, or takes a proposal back. `report`, `contributions`: what is committed to."""
        found = self.study(study)
        payload = CloseStudy(
            study, found.model, found.chain, self._say(REPORT, study, report),
            self._say(CONTRIBUTIONS, study, contributions),
        )  # fmt: skip
        return await self._land(b"study-close" + study, payload)

    async def dispute(self, study: StudyId, round: int, claim: str) -> Committed:
        """As a site of it: holds that a final round is false. The sites keep the updates longer."""
        payload = Dispute(study, round, self._say(CLAIM, study, claim.encode()))
        return await self._land(b"study-dispute" + study + round.to_bytes(4, "big"), payload)

    # within

    def _salt(self, label: str, study: StudyId, said: bytes) -> bytes:
        """Said again, it has the same salt: a step that is walked twice commits to the same."""
        return self._member.sealing.secret("study", label, study, said)

    def said(self, study: StudyId, label: str, commitment: bytes) -> Said | None:
        """What this member said of a study under one of its commitments that stands on the ledger."""
        for _, paper in self._said.under(study):
            if paper.label == label and commit(label, paper.salt, paper.said) == commitment:
                return paper
        return None

    def _say(self, label: str, study: StudyId, said: bytes) -> Digest:
        salt = self._salt(label, study, said)
        paper = Said(label, study, said, salt, self._member.now())
        self._said.put(digest("commonward study words v1", label.encode(), study, said), paper, under=study)
        return commit(label, salt, said)

    async def _land(self, key: bytes, payload: Payload) -> Committed:
        """Raises LedgerRefused; what people decide again is signed anew: what was in the way may be gone."""
        try:
            landed = await self._member.submitter.land(key, payload)
        except LedgerRefused:
            self._member.submitter.done(key)
            raise
        self._member.submitter.done(key)
        return landed

    def _note(self, words: str, staff: str) -> None:
        self._member.log.note(Event.STUDY, words, who=staff)


def _once(names: Iterable[MemberId]) -> list[MemberId]:
    return list(dict.fromkeys(names))
