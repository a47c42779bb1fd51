"""The small words everyone shares: identifiers, times, and the numbers that name algorithms and purposes.

Each is a `NewType` over plain bytes, text or a number, so it costs nothing at run time and a type checker keeps a
handle from being passed where a tag is meant. `parse_...` is the door: it raises ValueError that names what was
expected and what came. Past the door nobody asks again.
"""

import re
from enum import IntEnum
from typing import Final, NewType

from commonward.ledger.encoding import Digest, digest, encode

__all__ = [
    "PUBLIC_KEY_BYTES",
    "Algorithm",
    "BlockTime",
    "ConsentId",
    "CredentialId",
    "Digest",
    "Handle",
    "Height",
    "KeyId",
    "LedgerId",
    "MemberId",
    "MemberKind",
    "ProposalId",
    "Purpose",
    "StudyId",
    "Tag",
    "key_id",
    "parse_algorithm",
    "parse_block_time",
    "parse_consent_id",
    "parse_credential_id",
    "parse_digest",
    "parse_handle",
    "parse_height",
    "parse_key_id",
    "parse_ledger_id",
    "parse_member_id",
    "parse_proposal_id",
    "parse_public_key",
    "parse_study_id",
    "parse_tag",
]

LedgerId = NewType("LedgerId", bytes)
"""32 bytes: the digest of genesis."""

KeyId = NewType("KeyId", bytes)
"""32 bytes: see `key_id`."""

Tag = NewType("Tag", bytes)
"""32 bytes: the one-time tag of a release mark."""

Handle = NewType("Handle", bytes)
"""16 random bytes: one patient as one custodian knows them."""

ConsentId = NewType("ConsentId", bytes)
"""16 random bytes."""

ProposalId = NewType("ProposalId", bytes)
"""16 random bytes."""

StudyId = NewType("StudyId", bytes)
"""16 random bytes: a study. Never used twice, since research consents name it."""

CredentialId = NewType("CredentialId", bytes)
"""1 to 1,023 bytes: a WebAuthn credential id (Web Authentication Level 2, 4)."""

MemberId = NewType("MemberId", str)
"""1 to 32 characters: a lower-case letter, then lower-case letters, digits and hyphens."""

BlockTime = NewType("BlockTime", int)
"""Milliseconds since the Unix epoch, UTC, as a block's header says it. Never today's."""

Height = NewType("Height", int)
"""Blocks since genesis, which is height 0."""


class Algorithm(IntEnum):
    """Numbers of the IANA COSE registry: algorithms for signatures, a curve for key agreement (X25519)."""

    EDDSA = -8
    ES256 = -7
    X25519 = 4


class Purpose(IntEnum):
    """What a member's key may be used for. One key, one purpose."""

    OPERATE = 1
    CARRY = 2
    COSIGN = 3
    NODE = 4
    TLS = 5
    HPKE = 6
    SEQUENCE = 7
    VALIDATE = 8


class MemberKind(IntEnum):
    """What a member is; roles are bounded by it. A hospital also has a tier, 1 (community) to 3 (tertiary)."""

    HOSPITAL = 1
    INSURER = 2
    AUTHORITY = 3
    RESEARCH = 4


PUBLIC_KEY_BYTES: Final = {Algorithm.EDDSA: 32, Algorithm.ES256: 64, Algorithm.X25519: 32}
"""Length of a public key: Ed25519 (RFC 8032) 32; P-256 as x || y, 64; X25519 (RFC 7748) 32."""

_MEMBER_ID = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


def _octets(value: object, length: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != length:
        raise ValueError(f"expected {what} of {length} bytes, got {_shape(value)}")
    return value


def _shape(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"{type(value).__name__} {value!r:.40}"


def parse_digest(value: object) -> Digest:
    return Digest(_octets(value, 32, "a digest"))


def parse_ledger_id(value: object) -> LedgerId:
    return LedgerId(_octets(value, 32, "a ledger id"))


def parse_key_id(value: object) -> KeyId:
    return KeyId(_octets(value, 32, "a key id"))


def parse_tag(value: object) -> Tag:
    return Tag(_octets(value, 32, "a tag"))


def parse_handle(value: object) -> Handle:
    return Handle(_octets(value, 16, "a handle"))


def parse_consent_id(value: object) -> ConsentId:
    return ConsentId(_octets(value, 16, "a consent id"))


def parse_proposal_id(value: object) -> ProposalId:
    return ProposalId(_octets(value, 16, "a proposal id"))


def parse_study_id(value: object) -> StudyId:
    return StudyId(_octets(value, 16, "a study id"))


def parse_credential_id(value: object) -> CredentialId:
    if type(value) is not bytes or not 1 <= len(value) <= 1023:
        raise ValueError(f"expected a credential id of 1 to 1023 bytes, got {_shape(value)}")
    return CredentialId(value)


def parse_member_id(value: object) -> MemberId:
    if type(value) is not str or not _MEMBER_ID.fullmatch(value):
        raise ValueError(
            f"expected a member id of 1 to 32 characters, a lower-case letter and then lower-case letters, "
            f"digits or hyphens, got {value!r:.60}"
        )
    return MemberId(value)


def parse_operator(text: object) -> MemberId:
    """The member who runs the sequencer; "" where consensus orders and nobody does. Raises ValueError."""
    return MemberId("") if text == "" else parse_member_id(text)


def parse_block_time(value: object) -> BlockTime:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"expected milliseconds since 1970 from 0 to 2^53 - 1, got {value!r:.40}")
    return BlockTime(value)


def parse_height(value: object) -> Height:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"expected a height from 0 to 2^53 - 1, got {value!r:.40}")
    return Height(value)


def parse_algorithm(value: object) -> Algorithm:
    try:
        if type(value) is not int and not isinstance(value, Algorithm):
            raise ValueError
        return Algorithm(value)
    except ValueError:
        known = ", ".join(f"{a.name} ({a.value})" for a in Algorithm)
        raise ValueError(f"expected an algorithm of {known}, got {value!r:.40}") from None


def parse_public_key(algorithm: int, value: object) -> bytes:
    """Checks the length only; `proofs.check_public_key` says whether it is a key that signatures may rest on."""
    return _octets(value, PUBLIC_KEY_BYTES[parse_algorithm(algorithm)], f"a public key for algorithm {int(algorithm)}")


def key_id(algorithm: int, public: bytes) -> KeyId:
    """The name of a public key, the same on every ledger."""
    return KeyId(digest("commonward key v1", encode([int(algorithm), public])))
