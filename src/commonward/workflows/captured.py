"""State as it was when something was marked: values with map proofs, kept because only the current state proves."""

from collections.abc import Sequence
from dataclasses import dataclass

from commonward.ledger.consent import consent_key
from commonward.ledger.encoding import decode
from commonward.ledger.members import key_key, revoked_staff_key
from commonward.ledger.merkle.map_proof import MapProof
from commonward.records.certificates import SignedStatement, revocation_digest
from commonward.records.evidence import StateFact
from commonward.workflows.ports import Ledger
from commonward.workflows.wire import Message


@dataclass(frozen=True, slots=True)
class Captured(Message):
    """What the state held under some keys when the log ended with block leaf `index`, with map proofs."""

    index: int
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]  # empty: absent (no value of the state is empty)
    proofs: tuple[bytes, ...]

    def facts(self) -> tuple[StateFact, ...]:
        return tuple(
            StateFact(key, value or None, MapProof.from_value(decode(proof)))
            for key, value, proof in zip(self.keys, self.values, self.proofs, strict=True)
        )


def capture(ledger: Ledger, keys: Sequence[bytes]) -> Captured | None:
    """Proofs of these keys in the current state; None when this node cannot make them now."""
    size, _ = ledger.recent()
    proofs = [ledger.prove_state(key) for key in keys]
    if any(proof is None for proof in proofs):
        return None
    values = tuple(ledger.get(key) or b"" for key in keys)
    return Captured(size - 1, tuple(keys), values, tuple(proof for proof in proofs if proof is not None))


def release_keys(statement: SignedStatement, requester: str, consent: bytes, author: bytes) -> list[bytes]:
    """What a release rests on."""
    revoked = revoked_staff_key(requester, revocation_digest(statement.certificate))
    return [consent_key(consent), revoked, key_key(author)]
