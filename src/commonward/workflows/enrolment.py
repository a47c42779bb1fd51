"""How a patient's passkey comes to speak for a handle: the member's side of enrolment, mandates and recovery.

Each begins with an identity check in person; its words are sealed here and committed to on the ledger.
"""

from dataclasses import dataclass

from commonward.ledger.consent import Assurance as LedgerAssurance
from commonward.ledger.consent import Consent, Cosigned, Enrol, Mandate, Passkey, Research, StartRecovery, Withdraw
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, BlockTime, ConsentId, CredentialId, Handle, LedgerId, MemberId, Purpose
from commonward.ledger.possession import PasskeyPurpose, cosignature_digest, possession_digest
from commonward.records.certificates import CertificateRefused, SignedStatement
from commonward.records.openings import RulesTree, commit
from commonward.records.rules import Rule
from commonward.workflows import commitments
from commonward.workflows.identity import Link
from commonward.workflows.mailbox import Mailbox
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import ConsentOpening, PaperKind
from commonward.workflows.ports import Committed, PatientSigner
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message


@dataclass(frozen=True, slots=True)
class IdentityCheck(Message):
    """What was checked before a key was bound, kept by the member that did it."""

    handle: Handle
    words: str
    staff: str
    salt: bytes
    at: int


@dataclass(frozen=True, slots=True)
class LinkPaper(Message):
    """What linking gives the patient: the key of this custodian's tags."""

    custodian: str
    handle: Handle
    tag_key: bytes
    at: int


async def new_passkey(
    signer: PatientSigner, ledger: LedgerId, handle: Handle, purpose: PasskeyPurpose = PasskeyPurpose.OWN
) -> Passkey:
    """The patient's half: a passkey that proves it holds its own key, for this handle and purpose alone."""
    wanted = possession_digest(ledger, handle, purpose, signer.algorithm, signer.public)
    possession = await signer.possess(wanted)
    return Passkey(CredentialId(signer.credential), Algorithm(signer.algorithm), signer.public, possession)


class Enrolment:
    """The member's side."""

    def __init__(self, member: Member, mailbox: Mailbox) -> None:
        self._member = member
        self._mailbox = mailbox
        self._checks = Drawer(member.ports.vault, member.sealing, "identity-checks", IdentityCheck)

    async def enrol(self, handle: Handle, passkey: Passkey, sealing: bytes, words: str, staff: str) -> Committed:
        """Binds a first passkey. Raises LedgerRefused (taken, possession), LedgerAway (call again)."""
        check = self._check(handle, words, staff)
        identity = commit(commitments.IDENTITY, check.salt, [check.words, check.staff, check.at])
        return await self._land(b"enrol" + handle, Enrol(handle, passkey, sealing, identity))

    async def mandate(
        self, handle: Handle, passkey: Passkey, sealing: bytes, end: int, scope: str, words: str, staff: str
    ) -> Committed:
        """Lets a representative (parent, guardian, proxy) speak for a handle until `end`; deny wins over permit."""
        check = self._check(handle, words, staff)
        payload = Mandate(
            handle, passkey, sealing, BlockTime(end), commit(commitments.SCOPE, check.salt, scope),
            commit(commitments.MANDATE_EVIDENCE, check.salt, check.words),
        )  # fmt: skip
        return await self._land(b"mandate" + passkey.author[:24], payload)

    def cosign_recovery(self, handle: Handle, passkey: Passkey, until: int) -> Cosigned:
        """As second member: after its own identity check, signs that this key may recover this handle."""
        ledger = self._member.ports.ledger.ledger_id
        wanted = cosignature_digest(ledger, handle, passkey.algorithm, passkey.public, until)
        _, _, key = self._member.ports.keys.public(Purpose.OPERATE)
        return Cosigned(key, BlockTime(until), self._member.ports.keys.sign(Purpose.OPERATE, wanted))

    async def start_recovery(
        self, handle: Handle, passkey: Passkey, sealing: bytes, words: str, staff: str, second: Cosigned | None
    ) -> Committed:
        """For a patient whose passkeys are lost: takes effect after a wait, unless any old key objects."""
        check = self._check(handle, words, staff)
        evidence = commit(commitments.EVIDENCE, check.salt, [check.words, check.staff, check.at])
        return await self._land(b"recover" + handle, StartRecovery(handle, passkey, sealing, evidence, second))

    def link(self, handle: Handle, patient: bytes, words: str, staff: str) -> Link:
        """After this member's own identity check: the handle stands for a local patient from now on."""
        with self._member.ports.vault.transaction():
            link = self._member.identity.link(handle, patient, words, staff)
            paper = LinkPaper(self._member.id, handle, link.tag_key, link.at)
            self._mailbox.post(handle, PaperKind.LINK, handle, paper.to_bytes())
            self._member.log.note(Event.LINKED, "a handle was linked to a local patient", who=staff, handle=handle)
        return link

    # consent in person

    async def witnessed_consent(
        self, handle: Handle, rules: tuple[Rule, ...], end: int, form: "WitnessedForm", *, hold: bool = False
    ) -> tuple[Committed, ConsentId, ConsentOpening]:
        """A form with two staff signatures inside, anchored and marked `witnessed`. Raises CertificateRefused.

        The opening is for every custodian that this handle is linked at; the caller deposits it.
        """
        form.check(self._member)
        entropy = self._member.ports.entropy
        consent = ConsentId(entropy.bytes(16))
        tree = RulesTree([rule.to_value() for rule in rules], entropy.bytes(32))
        recipients = tuple(sorted({name for rule in rules for name in (rule.scope.members or ())}))
        opening = ConsentOpening(
            consent, tree.open_all(), recipients, entropy.bytes(32), form.to_bytes(), entropy.bytes(32)
        )
        payload = consent_payload(opening, tree.root, handle, LedgerAssurance.WITNESSED, end, hold)
        return await self._land(b"consent" + consent, payload), consent, opening

    async def witnessed_withdrawal(self, consent: ConsentId, reason: str) -> tuple[Committed, bytes]:
        """In person, before this member. Returns the salt that opens the reason."""
        salt = self._member.ports.entropy.bytes(32)
        payload = Withdraw(consent, commit(commitments.REASON, salt, reason))
        return await self._land(b"withdraw" + consent, payload), salt

    def _check(self, handle: Handle, words: str, staff: str) -> IdentityCheck:
        """The same check again keeps its salt, so that a step walked twice says the same."""
        salt = self._member.sealing.secret("identity", handle, words, staff)
        key = self._member.sealing.name("identity-check", handle, words, staff)
        held = self._checks.get(key)
        if held is None:
            held = IdentityCheck(handle, words, staff, salt, self._member.now())
            self._checks.put(key, held, under=handle)
        return held

    async def _land(self, key: bytes, payload: object) -> Committed:
        committed = await self._member.submitter.land(key, payload)  # type: ignore[arg-type]
        self._member.submitter.done(key)
        return committed


@dataclass(frozen=True, slots=True)
class WitnessedForm(Message):
    """A consent on paper: its text, and two staff members who saw the patient sign it."""

    text: str
    first: bytes  # SignedStatement over the text
    second: bytes

    def check(self, member: Member, of: MemberId | None = None, at: int | None = None) -> None:
        """Two different people of one member (this one), certified at a time (now). Raises CertificateRefused."""
        numbers = set()
        for each in (self.first, self.second):
            statement = SignedStatement.parse(each)
            if statement.statement != self.text.encode():
                raise CertificateRefused("a witness signed another text")
            when = member.now() if at is None else at
            numbers.add(member.reading.staff(statement, of or member.id, when).number)
        if len(numbers) != 2:
            raise CertificateRefused("a witnessed consent needs two different people")


def consent_payload(
    opening: ConsentOpening,
    root: Digest,
    handle: Handle,
    assurance: LedgerAssurance,
    end: int,
    hold: bool,
    research: Research | None = None,
) -> Consent:
    """The transaction that stands for a consent's opening. `research`: the study and site that it is for."""
    return Consent(
        opening.consent,
        handle,
        assurance,
        BlockTime(end),
        root,
        commit(commitments.RECIPIENTS, opening.recipients_salt, list(opening.recipients)),
        commit(commitments.FORM, opening.form_salt, opening.form),
        hold,
        research,
    )


def midnight_after(at: int, days: int) -> int:
    """A coarse end: the first midnight UTC at least so many days after `at` (ms)."""
    day = 86_400_000
    return (at + days * day + day - 1) // day * day
