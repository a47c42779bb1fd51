"""Papers for patients, sealed to their handle's key and kept until fetched; and who may fetch them.

Sealed papers could be handed to anyone, but how many there are is the patient's business: so asking takes a live
passkey of the handle, over who is asked and when.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from commonward.ledger.ids import Digest, Handle
from commonward.ledger.proofs import PasskeyProof, ProofKind, check_passkey, parse_proof
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import author_of_passkey
from commonward.records.envelope import pad, seal_to
from commonward.workflows.member import Member
from commonward.workflows.messages import PaperKind, Papers, PapersWanted, PatientPaper, paper_info
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

_PAGE: Final = 100
_FLOOR: Final = 1024


class NotYours(Exception):
    """Whoever asked did not show a live passkey of the handle."""


@dataclass(frozen=True, slots=True)
class _Count(Message):
    last: int


class Mailbox:
    """One member's mailboxes."""

    def __init__(self, member: Member) -> None:
        self._member = member
        vault = member.ports.vault
        self._papers = Drawer(vault, member.sealing, "mailbox", PatientPaper)
        self._counts = Drawer(vault, member.sealing, "mailbox-count", _Count)

    def seal(self, handle: Handle, kind: PaperKind, paper: bytes) -> bytes | None:
        """For the patient's eyes; None for a handle without an opening key (nobody could read it)."""
        record = self._member.reading.handle(handle)
        if record is None or record.sealing is None:
            return None
        info = paper_info(self._member.ports.ledger.line, handle, kind)
        return seal_to(record.sealing, info, pad(paper, floor=_FLOOR))

    def post(self, handle: Handle, kind: PaperKind, paper_id: bytes, paper: bytes) -> bool:
        """Seals and keeps a paper, once for an id. Joins the caller's transaction. False: no key to seal to."""
        key = handle + self._member.sealing.name("paper", handle, int(kind), paper_id)
        if self._papers.get(key) is not None:
            return True
        sealed = self.seal(handle, kind, paper)
        if sealed is None:
            return False
        self.keep(PatientPaper(handle, kind, paper_id, sealed))
        return True

    def keep(self, paper: PatientPaper) -> None:
        """Keeps a paper that another member sealed."""
        key = paper.handle + self._member.sealing.name("paper", paper.handle, int(paper.kind), paper.id)
        count = self._counts.get(paper.handle)
        number = (count.last if count else 0) + 1
        self._counts.put(paper.handle, _Count(number))
        numbered = PatientPaper(paper.handle, paper.kind, paper.id, paper.sealed, number)
        self._papers.put(key, numbered, under=paper.handle)

    def list(self, wanted: PapersWanted) -> Papers:
        """The papers of a handle after a number. Raises NotYours."""
        self.check(wanted)
        found = sorted((paper for _, paper in self._papers.under(wanted.handle)), key=lambda paper: paper.number)
        return Papers(tuple(paper for paper in found if paper.number > wanted.after)[:_PAGE])

    def check(self, wanted: PapersWanted) -> None:
        """Raises NotYours unless a live passkey of the handle asked this member for this, just now."""
        member = self._member
        if wanted.ledger != member.ports.ledger.line or wanted.member != member.id:
            raise NotYours("asked of another member, or on another ledger")
        if abs(member.now() - wanted.at) > member.practice.request_lasts_ms:
            raise NotYours("asked too long ago, or in the future")
        check_passkey_of(member, wanted.handle, wanted.digest(), wanted.proof)


def check_passkey_of(member: Member, handle: Handle, digest: Digest, proof_bytes: bytes) -> None:
    """A live passkey of this handle signed this digest on one of the signing pages. Raises NotYours."""
    try:
        proof = parse_proof(ProofKind.PASSKEY, proof_bytes)
        if not isinstance(proof, PasskeyProof):
            raise NotYours("expected a passkey's proof")
        found = member.reading.handles().credential(author_of_passkey(proof.credential_id))
        if found is None or found.handle != handle or not found.live(member.ledger_now()):
            raise NotYours("that passkey does not speak for this handle")
        origins = member.reading.signing_origins()
        check_passkey(proof, digest, found.algorithm, found.public, sha256(member.rp_id.encode()).digest(), origins)
    except Refusal as refusal:
        raise NotYours(str(refusal)) from refusal
