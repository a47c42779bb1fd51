"""What a patient's wallet hands a member's desk so that a passkey may speak for a handle."""

from dataclasses import dataclass

from commonward.ledger.consent import Passkey
from commonward.ledger.ids import Algorithm, CredentialId, Handle
from commonward.ledger.possession import PasskeyPurpose
from commonward.workflows.wire import Message


@dataclass(frozen=True, slots=True)
class EnrolmentRequest(Message):
    """Public halves and a proof of possession for this handle; of no use to anyone who copies it.

    `sealing` is the X25519 key (32 bytes) to which openings for this handle are sealed.
    """

    handle: Handle
    credential: CredentialId
    algorithm: int
    public: bytes
    possession: bytes
    sealing: bytes
    purpose: PasskeyPurpose = PasskeyPurpose.OWN  # what the possession is for: Enrol, Mandate or StartRecovery

    def passkey(self) -> Passkey:
        """Raises ValueError for an algorithm that is not one of the ledger's."""
        return Passkey(self.credential, Algorithm(self.algorithm), self.public, self.possession)
