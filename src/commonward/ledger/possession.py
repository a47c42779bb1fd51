"""Second signatures: a new key's possession, and another member's co-signature.

A transaction has one proof. Whatever else must be signed is a field of its body, over (label, ledger id, subject,
purpose, key), so that a signature made for one subject, purpose or ledger is worth nothing for another.
"""

from collections.abc import Sequence
from enum import IntEnum

from commonward.ledger.encoding import Digest, digest, encode
from commonward.ledger.ids import Algorithm, LedgerId, MemberId, Purpose
from commonward.ledger.proofs import BadKey, PasskeyProof, check_passkey, check_public_key, parse_proof, verify
from commonward.ledger.refusals import BadPossession, Refusal


class PasskeyPurpose(IntEnum):
    """What a passkey is enrolled for. Numbers continue after those of members' keys."""

    OWN = 32
    REPRESENTATIVE = 33
    RECOVERY = 34


def possession_digest(ledger: LedgerId, subject: bytes, purpose: int, algorithm: int, public: bytes) -> Digest:
    """What a new key signs. `subject`: the member id in ASCII, or the handle."""
    return digest("commonward possession v1", encode([ledger, subject, int(purpose), int(algorithm), public]))


def cosignature_digest(ledger: LedgerId, handle: bytes, algorithm: int, public: bytes, until: int) -> Digest:
    """What a second member signs for a recovery: this key for this handle, if it starts before `until` (ms).

    It ends soon, so that a recovery which the patient stopped is not started again with the old signature.
    """
    return digest("commonward co-signature v1", encode([ledger, handle, int(algorithm), public, until]))


def check_member_possession(
    ledger: LedgerId, member: MemberId, purpose: Purpose, algorithm: Algorithm, public: bytes, possession: bytes
) -> None:
    """Raises BadPossession unless the key is sound and signed for itself.

    X25519 keys cannot sign: they bring no possession. Who registers another's can read nothing with it, and what is
    sealed to it is lost to nobody but himself.
    """
    try:
        check_public_key(algorithm, public)
    except BadKey as cause:
        raise BadPossession(str(cause)) from cause
    if algorithm == Algorithm.X25519:
        if possession:
            raise BadPossession("an X25519 key cannot sign, so none is expected")
        return
    wanted = possession_digest(ledger, member.encode(), purpose, algorithm, public)
    if not verify(algorithm, public, wanted, possession):
        raise BadPossession(f"the {purpose.name} key of {member} did not sign for itself")


def check_passkey_possession(
    wanted: Digest,
    credential: bytes,
    algorithm: Algorithm,
    public: bytes,
    possession: bytes,
    rp_id_hash: bytes,
    origins: Sequence[str],
) -> None:
    """Raises BadPossession unless `possession` (a passkey proof) is this credential's assertion over `wanted`."""
    if algorithm == Algorithm.X25519:
        raise BadPossession("an X25519 key cannot sign")
    try:
        check_public_key(algorithm, public)
        proof = parse_proof(2, possession)
        if not isinstance(proof, PasskeyProof) or proof.credential_id != credential:
            raise BadPossession("the assertion is of another credential")
        check_passkey(proof, wanted, algorithm, public, rp_id_hash, origins)
    except BadPossession:
        raise
    except (BadKey, Refusal) as cause:
        raise BadPossession(str(cause)) from cause
