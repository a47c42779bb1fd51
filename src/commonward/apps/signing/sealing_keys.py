"""The wrapped half of patients' sealing keys, kept by members so that a new device with the same passkey can read.

What is kept is ciphertext under a key that only the passkey makes (WebAuthn PRF). It is written by who shows a live
passkey of the handle, and given back to that passkey alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonward.apps.signing.messages import MAX_WRAPPED, KeyKept, KeyWanted
from commonward.ledger.ids import Digest, Handle, LedgerId, MemberId
from commonward.ledger.proofs import PasskeyProof, ProofKind, parse_proof
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import author_of_passkey
from commonward.workflows.mailbox import NotYours, check_passkey_of
from commonward.workflows.member import Member
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message


@dataclass(frozen=True, slots=True)
class _Wrapped(Message):
    wrapped: bytes
    at: int


class SealingKeys:
    """One member's keep."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._drawer = Drawer(member.ports.vault, member.sealing, "sealing-keys", _Wrapped)

    def keep(self, asked: KeyKept) -> None:
        """Raises NotYours, or ValueError for what is no wrapped key."""
        self._fresh(asked.ledger, asked.member, asked.at)
        check_passkey_of(self._member, asked.handle, asked.digest(), asked.proof)
        key = self._name(asked.handle, _author(asked.proof))
        held = self._drawer.get(key)
        if held is not None and held.at > asked.at:
            raise NotYours("a later one is kept already")
        self._put(key, asked.handle, asked.wrapped, asked.at)

    def fetch(self, asked: KeyWanted) -> bytes | None:
        """What was kept for the passkey that asks. Raises NotYours."""
        self._fresh(asked.ledger, asked.member, asked.at)
        check_passkey_of(self._member, asked.handle, asked.digest(), asked.proof)
        held = self._drawer.get(self._name(asked.handle, _author(asked.proof)))
        return None if held is None else held.wrapped

    def _put(self, key: bytes, handle: Handle, wrapped: bytes, at: int) -> None:
        if not 0 < len(wrapped) <= MAX_WRAPPED:
            raise ValueError(f"expected a wrapped key of at most {MAX_WRAPPED} bytes, got {len(wrapped)}")
        with self._member.ports.vault.transaction():
            self._drawer.put(key, _Wrapped(wrapped, at), under=handle)

    def _fresh(self, ledger: LedgerId, member: MemberId, at: int) -> None:
        if ledger != self._member.ports.ledger.line or member != self._member.id:
            raise NotYours("asked of another member, or on another ledger")
        if abs(self._member.now() - at) > self._member.practice.request_lasts_ms:
            raise NotYours("asked too long ago, or in the future")

    def _name(self, handle: Handle, author: Digest) -> bytes:
        return self._member.sealing.name("sealing-key", handle, author)


def _author(proof: bytes) -> Digest:
    """Of a proof that `check_passkey_of` found good. Raises NotYours."""
    try:
        found = parse_proof(ProofKind.PASSKEY, proof)
    except Refusal as cause:
        raise NotYours(str(cause)) from cause
    if not isinstance(found, PasskeyProof):
        raise NotYours("expected a passkey's proof")
    return author_of_passkey(found.credential_id)
