"""The patient's signer over a passkey in software: it decodes what it is given and shows it before it signs.

What is shown is what is signed: the words are made from the bytes under the signature and from openings that lead to
the commitments among them; where an opening is missing or does not fit, nothing is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from commonward.apps.signing.passkey import SoftwarePasskey
from commonward.apps.signing.words import Words
from commonward.ledger.consent import Consent, EndMandate, Research, RotatePasskey, StopRecovery, Withdraw
from commonward.ledger.encoding import encode
from commonward.ledger.ids import Algorithm, ConsentId, CredentialId, Digest, Handle, LedgerId
from commonward.ledger.proofs import PasskeyProof, ProofKind, der_to_rs_low_s
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.transactions import Transaction, assemble, parse_transaction, transaction_digest
from commonward.records import envelope
from commonward.records.openings import OpeningError
from commonward.records.rules import Rule
from commonward.records.sensitivity import default_sensitivity
from commonward.workflows.consent import check_consent
from commonward.workflows.messages import ConsentOpening
from commonward.workflows.patient import tree_of

__all__ = ["Declined", "NotWhatIsShown", "Shown", "SoftwareSigner", "rules_of", "unwrap_sealing", "wrap_sealing"]

_SEALING_SALT: Final = b"commonward sealing key v1"


class NotWhatIsShown(Exception):
    """What was to be signed cannot be shown for what it is, so it was not signed; the sentence says why."""


class Declined(Exception):
    """The patient read it and said no."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is about to be signed, in words."""

    title: str
    lines: tuple[str, ...]
    digest: Digest


def wrap_sealing(passkey: SoftwarePasskey, ledger: LedgerId, handle: Handle, private: bytes, nonce: bytes) -> bytes:
    """The X25519 private key (32 bytes) so that this passkey alone opens it: 60 bytes. `nonce`: 12 random bytes."""
    return envelope.seal_bytes(passkey.prf(_SEALING_SALT), nonce, private, encode(["sealing key", ledger, handle]))


def unwrap_sealing(passkey: SoftwarePasskey, ledger: LedgerId, handle: Handle, wrapped: bytes) -> bytes:
    """Raises EnvelopeError."""
    return envelope.open_bytes(passkey.prf(_SEALING_SALT), wrapped, encode(["sealing key", ledger, handle]))


class SoftwareSigner:
    """Implements `workflows.ports.PatientSigner`."""

    def __init__(
        self,
        passkey: SoftwarePasskey,
        origin: str,
        ledger: LedgerId | Callable[[], LedgerId],
        sealing_private: bytes,
        show: Callable[[Shown], None],
        *,
        words: Words | None = None,
        member: Callable[[str], str] = str,
    ) -> None:
        """`origin`: of the signing page in use. `ledger`: what transactions must name; asked anew each time, where the
        members may go on to another while this client is in use. `show`: raises Declined to refuse. `member`: how a
        member is called."""
        self._passkey = passkey
        self._origin = origin
        self._ledger = ledger
        self._sealing = sealing_private
        self._show = show
        self._words = words or Words()
        self._member = member
        self._openings: dict[ConsentId, ConsentOpening] = {}

    @property
    def credential(self) -> CredentialId:
        return CredentialId(self._passkey.credential_id)

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm.ES256

    @property
    def public(self) -> bytes:
        return self._passkey.public_key

    @property
    def sealing_public(self) -> bytes:
        return envelope.public_of(self._sealing)

    def knows(self, opening: ConsentOpening) -> None:
        """What a consent commits to, so that it can be shown when it is signed for or withdrawn."""
        self._openings[opening.consent] = opening

    async def prove(self, body: bytes, digest: Digest) -> bytes:
        """Raises NotWhatIsShown, or Declined."""
        shown = self.read(body)
        if shown.digest != digest:
            raise NotWhatIsShown("the digest to sign is not that of the transaction shown")
        self._show(shown)
        return self._assertion(digest)

    async def possess(self, message: bytes) -> bytes:
        """Over a digest that this client made itself (a new key's possession, who asks for papers)."""
        if len(message) != 32:
            raise NotWhatIsShown(f"expected a digest of 32 bytes, got {len(message)} bytes")
        return self._assertion(message)

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        return envelope.open_from(self._sealing, info, sealed, aad)

    def _assertion(self, challenge: bytes) -> bytes:
        """WebAuthn gives DER; the ledger wants r || s with low S."""
        found = self._passkey.get(self._origin, self._passkey.rp_id, challenge)
        signature = der_to_rs_low_s(found.signature)
        return PasskeyProof(
            CredentialId(found.credential_id), found.authenticator_data, found.client_data, signature
        ).to_bytes()

    # what is shown

    def read(self, body: bytes) -> Shown:
        """A body in words. Raises NotWhatIsShown."""
        try:
            transaction = parse_transaction(assemble(body, ProofKind.PASSKEY, b""))
        except Refusal as cause:
            raise NotWhatIsShown(f"this is no transaction of the ledger: {cause}") from cause
        if transaction.ledger != (self._ledger() if callable(self._ledger) else self._ledger):
            raise NotWhatIsShown(f"this is for another ledger, {transaction.ledger.hex()}")
        if transaction.author != author_of_passkey(self.credential):
            raise NotWhatIsShown("this is for another passkey to sign")
        title, lines = self._told(transaction)
        last = self._words("expires", time=self._words.time(transaction.expiry))
        return Shown(title, (*lines, last), transaction_digest(body))

    def _told(self, transaction: Transaction) -> tuple[str, list[str]]:
        words = self._words
        match transaction.payload:
            case Consent() as consent:
                return self._consent(consent)
            case Withdraw(id=consent_id):
                known = self._openings.get(consent_id)
                lines = [words("consent-id", id=consent_id.hex())]
                return words("withdraw"), lines + ([] if known is None else self._rules(known))
            case StopRecovery(handle=handle):
                return words("stop-recovery"), [words("handle", handle=handle.hex())]
            case EndMandate(handle=handle, author=author):
                return words("end-mandate"), [words("handle", handle=handle.hex()), words("key", id=author.hex()[:16])]
            case RotatePasskey(passkey=passkey):
                return words("rotate"), [words("new-key", id=passkey.author.hex()[:16])]
        raise NotWhatIsShown(f"a {type(transaction.payload).__name__} is not for a patient to sign")

    def _consent(self, payload: Consent) -> tuple[str, list[str]]:
        opening = self._openings.get(payload.id)
        if opening is None:
            raise NotWhatIsShown("the rules of this consent were not given, so they cannot be shown")
        try:
            check_consent(opening, payload)
        except OpeningError as cause:
            raise NotWhatIsShown(f"the rules to be shown are not those of this consent: {cause}") from cause
        title = self._words("hold" if payload.hold else "consent")
        return title, [
            *self._rules(opening),
            *([] if payload.research is None else [self._research(payload.research)]),
            self._words("until", date=self._words.date(payload.end)),
            self._words("handle", handle=payload.handle.hex()),
        ]

    def _research(self, research: Research) -> str:
        return self._words("study", study=research.study.hex(), site=self._member(research.site))

    def _rules(self, opening: ConsentOpening) -> list[str]:
        sensitive = frozenset(default_sensitivity().sensitive)
        return [self._words.rule(rule, self._member, sensitive) for rule in rules_of(opening)]


def rules_of(opening: ConsentOpening) -> tuple[Rule, ...]:
    """The rules of an opening that this client made."""
    return tuple(Rule.from_value(value) for value in tree_of(opening.rules).values())
