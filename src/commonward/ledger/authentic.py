"""Whether a transaction is its author's, for this ledger, now and for the first time: the refusals common to all.

The order is fixed, since the number that a block records is consensus:

    1. form, size, kind (`parse_transaction`)     101 111 114
    2. this ledger                                102
    3. not expired; not for too far a future      103 104
    4. not there already                          105
    5. the recent checkpoint is one, and recent   106
    6. the author: registered, of the right kind of proof, live, not suspended   107 109 110 113 115
    7. the signature                              108 118

A digest is burnt, that is refused as replayed from then on, when it has passed all seven, whatever its rule then says.
What fails earlier burns nothing: a stranger could otherwise put a known body under a bad proof, have it refused, and
so keep the true one out (decision 0002). Since a body names its author, nobody else can pass step 6 with it either.
"""

from collections.abc import Callable
from typing import NamedTuple

from commonward.ledger.ids import Algorithm, BlockTime, CredentialId, Digest, Purpose
from commonward.ledger.parameters import Parameter
from commonward.ledger.proofs import (
    MemberProof,
    PasskeyProof,
    ProofKind,
    Verifier,
    check_member,
    check_passkey,
    cose_to_sign,
    parse_proof,
)
from commonward.ledger.refusals import (
    Expired,
    ExpiryTooFar,
    ForeignLedger,
    KeyNotValid,
    Replayed,
    StaleRoot,
    Suspended,
    UnknownKey,
    WrongProof,
    WrongPurpose,
)
from commonward.ledger.rulebook import Fixed, Who, signing_pages
from commonward.ledger.rules import MemberSigner, PasskeySigner, Seen, author_of_passkey
from commonward.ledger.state import State
from commonward.ledger.transactions import Transaction
from commonward.ledger.wire import Signer


class PastCheckpoint(NamedTuple):
    """A checkpoint of this ledger that a transaction may name as recent."""

    root: bytes
    time: BlockTime


class View(NamedTuple):
    """What the common checks look at."""

    fixed: Fixed
    state: State
    now: BlockTime
    tip_size: int
    tip_time: BlockTime
    burnt: Callable[[bytes], bool]
    past: Callable[[int], PastCheckpoint | None]


class SignatureJob(NamedTuple):
    """One signature to verify: (algorithm, public key, message, signature), as `proofs.verify` takes it.

    A value: whoever has threads may run many at once and hand the good ones back.
    """

    algorithm: Algorithm
    public: bytes
    message: bytes
    signature: bytes


def check_common(tx: Transaction, view: View) -> None:
    """Steps 2 to 5."""
    if tx.ledger != view.fixed.ledger:
        raise ForeignLedger(view.fixed.ledger, tx.ledger)
    if tx.expiry <= view.now:
        raise Expired(tx.expiry, view.now)
    latest = view.now + view.state.parameters[Parameter.EXPIRY]
    if tx.expiry > latest:
        raise ExpiryTooFar(tx.expiry, latest)
    if view.burnt(tx.digest):
        raise Replayed(tx.digest)
    size, root = tx.recent
    past = view.past(size)
    if past is None:
        raise StaleRoot(size, "no recent checkpoint has this size")
    if past.root != root:
        raise StaleRoot(size, "the checkpoint of this size has another root")
    if size != view.tip_size and past.time < view.tip_time - view.state.parameters[Parameter.FRESHNESS]:
        raise StaleRoot(size, f"it is of {past.time} ms; the ledger is at {view.tip_time} ms")


def authenticate(tx: Transaction, view: View, verify: Verifier) -> Who:
    """Steps 6 and 7: who signed."""
    proof = parse_proof(tx.proof_kind, tx.proof)
    if isinstance(proof, MemberProof):
        return _member(tx, proof, view, verify)
    return _passkey(tx, proof, view, verify)


def _member(tx: Transaction, proof: MemberProof, view: View, verify: Verifier) -> MemberSigner:
    if tx.payload.SIGNED_BY == Signer.PASSKEY:
        raise WrongProof("a passkey", "a member's key")
    if Digest(proof.key_id) != tx.author:
        raise WrongProof("a proof by the author that the body names", "one by another key")
    key = view.state.roll.key(proof.key_id)
    if key is None:
        raise UnknownKey(proof.key_id)
    if key.purpose != Purpose.OPERATE:
        raise WrongPurpose(proof.key_id, int(key.purpose), int(Purpose.OPERATE))
    if not key.covers(view.now):
        raise KeyNotValid(proof.key_id, view.now)
    member = view.state.roll.must(key.member)
    if not member.active:
        raise Suspended(key.member)
    check_member(proof, tx.digest, key.algorithm, key.public, verifier=verify)
    past = view.past(tx.recent.size)
    assert past is not None  # `check_common` found it
    return MemberSigner(key.member, member.kind, proof.key_id, Seen(tx.recent.size, past.time))


def _passkey(tx: Transaction, proof: PasskeyProof, view: View, verify: Verifier) -> PasskeySigner:
    if tx.payload.SIGNED_BY == Signer.OPERATE:
        raise WrongProof("a member's operate key", "a passkey")
    author = author_of_passkey(CredentialId(proof.credential_id))
    if author != tx.author:
        raise WrongProof("a proof by the author that the body names", "one by another passkey")
    credential = view.state.handles.credential(author)
    if credential is None:
        raise UnknownKey(author)
    if not credential.live(view.now):
        raise KeyNotValid(author, view.now)
    pages = signing_pages(view.fixed, view.state)
    check_passkey(
        proof, tx.digest, credential.algorithm, credential.public, pages.rp_id_hash, pages.origins, verifier=verify
    )
    return PasskeySigner(credential.handle, author, credential.role)


def member_signature_job(tx: Transaction, state: State) -> SignatureJob | None:
    """The signature that `authenticate` will want verified, if it is a member's. Passkeys are few: they wait."""
    if tx.proof_kind != ProofKind.MEMBER:
        return None
    proof = parse_proof(tx.proof_kind, tx.proof)
    assert isinstance(proof, MemberProof)
    key = state.roll.key(proof.key_id)
    if key is None or key.algorithm != proof.algorithm:
        return None
    message = cose_to_sign(proof.algorithm, proof.key_id, tx.digest)
    return SignatureJob(key.algorithm, key.public, message, proof.signature)
