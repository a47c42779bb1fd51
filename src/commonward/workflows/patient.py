"""The patient's client: consents given and withdrawn, openings sealed to who may read them, and the wallet of both.

Everything that speaks for the patient is signed by the passkey behind `PatientSigner`; any member's gate carries it.
Reading the log is `patient_log`.
"""

from dataclasses import dataclass, field, replace

from commonward.ledger.consent import Assurance, Research, Withdraw
from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import ConsentId, Handle, MemberId
from commonward.ledger.proofs import ProofKind
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.transactions import Payload, assemble, build_body, transaction_digest
from commonward.records.decide import names_requester
from commonward.records.envelope import pad, seal_to
from commonward.records.openings import RulesTree, commit
from commonward.records.rules import Effect, Rule, Scope
from commonward.workflows import commitments
from commonward.workflows.deposits import DepositRefused
from commonward.workflows.enrolment import consent_payload, midnight_after
from commonward.workflows.gate import PatientGate
from commonward.workflows.messages import (
    ConsentOpening,
    Extent,
    Opened,
    OpeningDeposit,
    PermitsOpening,
    Relayed,
    WithdrawOpening,
    acknowledges,
    opening_info,
)
from commonward.workflows.ports import Entropy, PatientSigner
from commonward.workflows.wire import Message

EXPIRES_AFTER = 3 * 60_000
_OPENING_FLOOR = 4096


class NotAccepted(Exception):
    """The ledger did not take what the patient signed; the sentence says why."""

    def __init__(self, relayed: Relayed) -> None:
        super().__init__(relayed.why or f"refused with {relayed.code}")
        self.code = relayed.code


@dataclass(frozen=True, slots=True)
class Custodian(Message):
    """A member that linked this handle: what the patient needs to read its marks."""

    member: MemberId
    tag_key: bytes


@dataclass(frozen=True, slots=True)
class Given(Message):
    """A consent that the patient gave: its opening, for every party that has not got it yet."""

    opening: ConsentOpening
    entry: Digest
    hold: bool = False
    withdrawn: Digest | None = None  # the Withdraw's digest
    reason: str | None = None
    reason_salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wallet(Message):
    """What the patient keeps, sealed, wherever the client keeps things."""

    handle: Handle
    custodians: tuple[Custodian, ...] = ()
    given: tuple[Given, ...] = ()


@dataclass(slots=True)
class Delivered:
    """Who acknowledged all that was for them, and who has not yet: shown on the page.

    `partly`: of those who wait, custodians that have the permits that name them and not yet all rules.
    """

    consent: ConsentId
    acknowledged: set[MemberId] = field(default_factory=set)
    waiting: set[MemberId] = field(default_factory=set)
    partly: set[MemberId] = field(default_factory=set)


class Patient:
    """One patient, or who acts for one (`representative`)."""

    def __init__(
        self,
        signer: PatientSigner,
        gate: PatientGate,
        entropy: Entropy,
        wallet: Wallet,
        *,
        representative: bool = False,
    ) -> None:
        self.signer = signer
        self.gate = gate
        self.wallet = wallet
        self._entropy = entropy
        self._assurance = Assurance.REPRESENTATIVE if representative else Assurance.PASSKEY

    @property
    def handle(self) -> Handle:
        return self.wallet.handle

    def linked(self, custodian: MemberId, tag_key: bytes) -> None:
        """Remembers a custodian that linked this handle."""
        others = tuple(each for each in self.wallet.custodians if each.member != custodian)
        self.wallet = replace(self.wallet, custodians=(*others, Custodian(custodian, tag_key)))

    async def sign(self, payload: Payload) -> bytes:
        """A whole transaction by the passkey: it sees the body, and shows it."""
        size, root = self.gate.recent()
        body = build_body(
            self.gate.ledger_id, payload, self._entropy.bytes(16), (size, root),
            self.gate.now() + EXPIRES_AFTER, author=author_of_passkey(self.signer.credential),
        )  # fmt: skip
        proof = await self.signer.prove(body, transaction_digest(body))
        return assemble(body, ProofKind.PASSKEY, proof)

    async def _land(self, payload: Payload) -> Relayed:
        relayed = await self.gate.relay(await self.sign(payload))
        if relayed.code != 0:
            raise NotAccepted(relayed)
        return relayed

    # consents

    async def grant(
        self,
        rules: tuple[Rule, ...],
        *,
        days: int = 365,
        form: bytes = b"",
        hold: bool = False,
        research: Research | None = None,
    ) -> Delivered:
        """Gives a consent and opens it: all of it to the linked custodians, to others only the permits naming them.

        `research`: the study and site that it is for; it then takes a handle that has no such consent open. Raises
        NotAccepted; NotAccepted with code -1 when the ledger could not be reached.
        """
        consent = ConsentId(self._entropy.bytes(16))
        tree = RulesTree([rule.to_value() for rule in rules], self._entropy.bytes(32))
        recipients = tuple(sorted(member for member, _, _ in self.gate.members() if self._named(rules, member)))
        opening = ConsentOpening(
            consent, tree.open_all(), recipients, self._entropy.bytes(32), form, self._entropy.bytes(32)
        )
        end = midnight_after(self.gate.now(), days)
        payload = consent_payload(opening, tree.root, self.handle, self._assurance, end, hold, research)
        landed = await self._land(payload)
        self.wallet = replace(self.wallet, given=(*self.wallet.given, Given(opening, landed.digest, hold)))
        return await self.deliver(consent)

    def _named(self, rules: tuple[Rule, ...], member: MemberId) -> bool:
        kinds = {each: kind for each, kind, _ in self.gate.members()}
        return any(names_requester(rule, member, int(kinds[member])) for rule in rules)

    async def hold(self, reason: str) -> Delivered:
        """A safety hold: denies everything at once, until lifted by name."""
        return await self.grant((Rule(1, Effect.DENY, Scope()),), form=reason.encode(), hold=True)

    async def withdraw(self, consent: ConsentId, reason: str = "") -> Delivered:
        """Ends a consent, or lifts a hold. It acts at once; the openings let custodians go on with what is left."""
        given = self._given(consent)
        salt = self._entropy.bytes(32)
        landed = await self._land(Withdraw(consent, commit(commitments.REASON, salt, reason)))
        ended = replace(given, withdrawn=landed.digest, reason=reason, reason_salt=salt)
        kept = tuple(ended if each.opening.consent == consent else each for each in self.wallet.given)
        self.wallet = replace(self.wallet, given=kept)
        return await self.deliver(consent)

    def _given(self, consent: ConsentId) -> Given:
        for each in self.wallet.given:
            if each.opening.consent == consent:
                return each
        raise KeyError(f"no consent {consent.hex()} was given from this wallet")

    # openings

    async def deliver(self, consent: ConsentId) -> Delivered:
        """Seals a consent's openings, or its withdrawal's, to each party and says who acknowledged. May be repeated."""
        given = self._given(consent)
        told = Delivered(consent)
        custodians = {each.member for each in self.wallet.custodians}
        for member, kind, key in self.gate.members():
            openings: list[tuple[Digest, Opened]] = []
            if given.withdrawn is not None and (member in custodians or member in given.opening.recipients):
                assert given.reason is not None and given.reason_salt is not None
                openings.append(
                    (given.withdrawn, Opened(withdraw=WithdrawOpening(consent, given.reason, given.reason_salt)))
                )
            elif given.withdrawn is None:
                if member in custodians:
                    openings.append((given.entry, Opened(consent=given.opening)))
                if member in given.opening.recipients:
                    openings.append((given.entry, Opened(permits=self._permits(given.opening, member, int(kind)))))
            for entry, opened in openings:
                extent = await self._deposit(member, key, entry, opened)
                (told.waiting if extent is None else told.acknowledged).add(member)
                if extent is Extent.PERMITS:
                    told.partly.add(member)
        told.acknowledged -= told.waiting
        told.partly &= told.waiting
        return told

    def _permits(self, opening: ConsentOpening, member: MemberId, kind: int) -> PermitsOpening:
        tree = tree_of(opening.rules)
        wanted = [value for value in tree.values() if names_requester(Rule.from_value(value), member, kind)]
        return PermitsOpening(opening.consent, tuple(encode(each.to_value()) for each in tree.open_some(wanted)))

    async def _deposit(self, member: MemberId, key: bytes, entry: Digest, opened: Opened) -> Extent | None:
        """What the addressee acknowledged by its own signature; None for anything less than what was sealed."""
        sealed = seal_to(key, opening_info(self.gate.line, member, entry), pad(opened.to_bytes(), floor=_OPENING_FLOOR))
        deposit = OpeningDeposit(member, entry, sealed)
        try:
            ack = await self.gate.deposit(deposit)
        except DepositRefused:  # no room there now; another member's gate may have some
            return None
        wanted = Extent.PERMITS if opened.permits is not None else Extent.ALL
        if not ack.signature or ack.extent is not wanted:
            return None
        operate = self.gate.operate_key(member, ack.key)
        return wanted if acknowledges(ack, self.gate.line, deposit, operate) else None


def tree_of(rules: bytes) -> RulesTree:
    """The tree behind an opening that this client made itself."""
    match decode(rules):
        case [bytes() as seed, list() as values]:
            return RulesTree(values, seed)
    raise ValueError("expected [seed, rules]")
