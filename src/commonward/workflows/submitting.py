"""A member's own transactions: signed once, kept before they are sent, landed exactly once.

A submission that gave no answer may still have landed. So the signed bytes are durable first; whoever comes back,
after a timeout or a kill -9, finds them, asks the node whether they stand, and sends the same bytes again. They are
signed anew only once the ledger's own time has passed their expiry: then the old ones can never land.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import BlockTime, Purpose
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.refusals import REFUSALS, Expired, Refusal, StaleRoot
from commonward.ledger.transactions import assemble, build_body, parse_transaction, transaction_digest
from commonward.ledger.wire import Payload
from commonward.workflows.ports import Clock, Committed, Entropy, Keys, Ledger, Steps, Vault
from commonward.workflows.sealing import Drawer, Sealing
from commonward.workflows.wire import Message

EXPIRES_AFTER: Final = 3 * 60_000
"""How long a signed transaction may wait for its block. At most ten minutes by the ledger's rules."""

_ATTEMPTS: Final = 4
_AGAIN: Final = frozenset({Expired.code, StaleRoot.code})


class LedgerRefused(Exception):
    """A transaction of ours stands on the ledger as refused; signing it again would not help."""

    def __init__(self, payload: str, code: int) -> None:
        known = REFUSALS.get(code)
        name = known.__name__ if known else "unknown"
        super().__init__(
            f"the ledger refused our {payload} with {code} ({name}; docs/transactions.md says what it means)"
        )
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent(Message):
    """A signed transaction on its way."""

    raw: bytes
    digest: Digest
    expiry: int


class Submitter:
    """Signs with this member's operate key and lands what it signs."""

    def __init__(
        self, ledger: Ledger, keys: Keys, vault: Vault, sealing: Sealing, clock: Clock, entropy: Entropy, steps: Steps
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._entropy = entropy
        self._steps = steps
        self._sent = Drawer(vault, sealing, "sent", Sent)

    def sign(self, payload: Payload) -> bytes:
        """The whole transaction, for now: it names a recent root and expires soon."""
        algorithm, _, key_id = self._keys.public(Purpose.OPERATE)
        size, root = self._ledger.recent()
        body = build_body(
            self._ledger.ledger_id,
            payload,
            self._entropy.bytes(16),
            (size, root),
            BlockTime(self._clock.now() + EXPIRES_AFTER),
            author=key_id,
        )
        proof = member_proof(
            algorithm, key_id, lambda message: self._keys.sign(Purpose.OPERATE, message), transaction_digest(body)
        )
        return assemble(body, ProofKind.MEMBER, proof)

    async def land(
        self,
        key: bytes,
        payload: Payload,
        *,
        step: str = "",
        early: int = 0,
        beside: Callable[[], None] | None = None,
        still: Callable[[], None] | None = None,
    ) -> Committed:
        """Brings a payload onto the ledger under a name of the caller's, once, whatever happened before.

        The caller calls `done` with the same key, in the vault transaction that records the outcome. `early`: the code
        of a refusal that time alone mends; the next call with the same key signs anew. `beside` keeps what the payload
        says something of: in one vault transaction with the signed bytes, before they are sent. `still` is called
        before each signing, at the root that is signed: it raises where what the payload says is so no more.

        Raises:
            LedgerAway: nothing is known; call again with the same key.
            LedgerRefused: it stands as refused. Raised too when the own node's check refuses it.
        """
        for _ in range(_ATTEMPTS):
            sent = self._sent.get(key)
            if sent is not None:
                stands = self._ledger.found(sent.digest)
                gone = self._ledger.tip_time() > sent.expiry if stands is None else stands.code in _AGAIN
                if gone:
                    sent = None
            if sent is None:
                if still is not None:
                    still()
                raw = self.sign(payload)
                transaction = parse_transaction(raw)
                sent = Sent(raw, transaction.digest, transaction.expiry)
                self._keep(key, sent, beside)
                beside, stands = None, None
            elif beside is not None:
                with self._vault.transaction():
                    beside()
                beside = None
            self._steps.reach(f"{step}.signed" if step else "submit.signed")
            if stands is None:
                try:
                    stands = await self._ledger.submit(sent.raw)
                except Refusal as refusal:  # our own node would not even send it
                    self._sent.remove(key)
                    if refusal.code in _AGAIN:
                        continue
                    raise LedgerRefused(type(payload).__name__, refusal.code) from refusal
            self._steps.reach(f"{step}.landed" if step else "submit.landed")
            if stands.code == 0:
                return stands
            if stands.code not in _AGAIN:
                if early and stands.code == early:
                    self._sent.remove(key)
                raise LedgerRefused(type(payload).__name__, stands.code)
        raise LedgerRefused(type(payload).__name__, Expired.code)

    def _keep(self, key: bytes, sent: Sent, beside: Callable[[], None] | None) -> None:
        if beside is None:
            self._sent.put(key, sent)
            return
        with self._vault.transaction():
            beside()
            self._sent.put(key, sent)

    def done(self, key: bytes) -> None:
        """Forgets the signed bytes; joins the caller's vault transaction."""
        self._sent.remove(key)
