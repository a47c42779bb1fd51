"""Whether a transaction of the past carries its author's proof: the log commits to its body, and to no proof.

Whoever hands on old blocks could put other bytes where a proof stood, and evidence made from them would fail. So what
counted (accepted, or refused by a rule) must be signed by its author, as it was then. Keys are learnt on the way: a
member's key has its public key in its name, and a passkey is what the accepted transaction that registered it says.
"""

import hashlib
import re
from typing import Final

from commonward.ledger.encoding import decode, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import CredentialId, key_id
from commonward.ledger.members import AddKey, Admit, Propose
from commonward.ledger.proofs import MemberProof, check_member, check_passkey, parse_proof
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.state import Store
from commonward.ledger.transactions import Enrol, Mandate, RotatePasskey, StartRecovery, Transaction
from commonward.ledger.window import burns

__all__ = ["NotHistory", "PastProofs"]

_ORIGIN: Final = re.compile(rb',"origin":"([^"]*)"')


class NotHistory(ValueError):
    """What a member answered is not the history of this ledger."""


class PastProofs:
    """In the order of the log. `keys` holds what was learnt, for as long as history is fetched."""

    def __init__(self, genesis: Genesis, keys: Store) -> None:
        """`genesis`: of the ledger whose transactions come next."""
        self._keys = keys
        self._learnt: dict[bytes, bytes | None] = {}
        self.go_on(genesis)

    def go_on(self, genesis: Genesis) -> None:
        """What comes from now on is of the ledger of `genesis`, and its keys count beside those learnt before."""
        self._rp_id_hash = hashlib.sha256(genesis.rp_id.encode()).digest()
        for member in genesis.members:
            for key in member.keys:
                self._learnt[key.id] = encode([key.algorithm, key.public])

    def take(self, tx: Transaction, code: int) -> None:
        """Checks a transaction, and learns the keys that it registers. Raises NotHistory."""
        if burns(code):
            try:
                self._check(tx)
            except Refusal as cause:
                raise NotHistory(f"transaction {tx.digest.hex()} counted, but not with this proof: {cause}") from cause
        if code == 0:
            self._learn(tx)

    def keep(self) -> None:
        """Write what was learnt."""
        self._keys.write(self._learnt)
        self._learnt = {}

    def _check(self, tx: Transaction) -> None:
        proof = parse_proof(tx.proof_kind, tx.proof)
        if isinstance(proof, MemberProof):
            check_member(proof, tx.digest, *self._key(tx, proof.key_id))
            return
        key = self._key(tx, author_of_passkey(CredentialId(proof.credential_id)))
        # Its origin was that of a signing page then; it is among what was signed.
        origin = _ORIGIN.search(proof.client_data)
        origins = (origin[1].decode(errors="replace"),) if origin is not None else ()
        check_passkey(proof, tx.digest, *key, self._rp_id_hash, origins)

    def _key(self, tx: Transaction, author: bytes) -> tuple[int, bytes]:
        data = self._learnt.get(author) or self._keys.get(author)
        match decode(data) if data is not None and author == tx.author else None:
            case [int(algorithm), bytes(public)]:
                return algorithm, public
        raise NotHistory(f"transaction {tx.digest.hex()} counted, but is not proven by a known key of its author")

    def _learn(self, tx: Transaction) -> None:
        match tx.payload:
            case AddKey() as key:
                self._learnt[key_id(key.algorithm, key.public)] = encode([key.algorithm, key.public])
            case Propose(change=Admit() as admit):
                for key in admit.keys:
                    self._learnt[key_id(key.algorithm, key.public)] = encode([key.algorithm, key.public])
            case Enrol(passkey=new) | RotatePasskey(passkey=new) | Mandate(passkey=new) | StartRecovery(passkey=new):
                self._learnt[new.author] = encode([new.algorithm, new.public])
