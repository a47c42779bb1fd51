"""A whole ledger in memory for tests: five members with keys made from their names, patients with software passkeys.

    kit = Kit()
    kit.accept(AnchorBatch(kit.tick(), root), by="north")        one transaction, one block, accepted
    kit.refuse(TooEarly, AnchorBatch(9**9, root), by="north")    refused by that rule; returns the refusal
    raw = kit.sign(payload, by="north", expiry=...)              bytes, to be put in any block
    staged = kit.block([raw, ...], carrier="clinic")             a committed block

Everything is deterministic: no clock, no entropy. Time moves only as `kit.now` is moved, or by 1 ms a block.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from commonward.ledger.consent import Enrol, Passkey
from commonward.ledger.genesis import (
    Genesis,
    GenesisKey,
    GenesisMember,
    SignedGenesis,
    genesis_signature_digest,
    key_possession,
    make_genesis,
)
from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    CredentialId,
    Digest,
    Handle,
    Height,
    KeyId,
    LedgerId,
    MemberId,
    MemberKind,
    ProposalId,
    Purpose,
    key_id,
)
from commonward.ledger.members import AddKey, Change, Propose, Vote
from commonward.ledger.merkle.log import LogStore, MemoryLogStore
from commonward.ledger.parameters import Parameter
from commonward.ledger.possession import PasskeyPurpose, possession_digest
from commonward.ledger.proofs import PasskeyProof, ProofKind, der_to_rs_low_s, member_proof
from commonward.ledger.refusals import REFUSALS, Refusal
from commonward.ledger.rules import Header, author_of_passkey
from commonward.ledger.state import MemoryStore, Store
from commonward.ledger.transactions import (
    Payload,
    assemble,
    build_block,
    build_body,
    build_bundle,
    transaction_digest,
)
from commonward.ledger.transition import Machine, Outcome, Staged

START = BlockTime(1_790_000_000_000)
YEAR = 366 * 86_400_000
RP_ID = "commonward.test"
R = TypeVar("R", bound=Refusal)

MEMBERS = {
    "clinic": (MemberKind.HOSPITAL, 1, 10),
    "health": (MemberKind.AUTHORITY, 0, 10),
    "north": (MemberKind.HOSPITAL, 3, 10),
    "shield": (MemberKind.INSURER, 0, 10),
    "south": (MemberKind.HOSPITAL, 2, 10),
}


def commitment(*words: object) -> Digest:
    """Stands for any salted commitment: 32 bytes made from words."""
    return Digest(hashlib.sha256(repr(words).encode()).digest())


@lru_cache(maxsize=4096)
def _signing(seed: bytes) -> SigningKey:
    """Its public half is computed once, as the members' key files do it."""
    return SigningKey(seed)


@dataclass(frozen=True)
class SoftKey:
    """A member's private key, made from a name: Ed25519, or X25519 (which cannot sign), or P-256."""

    name: str
    algorithm: Algorithm = Algorithm.EDDSA

    @property
    def seed(self) -> bytes:
        return hashlib.sha256(b"kit " + self.name.encode()).digest()

    @property
    def public(self) -> bytes:
        return _public(self.algorithm, self.seed)

    @property
    def id(self) -> KeyId:
        return key_id(self.algorithm, self.public)

    def sign(self, message: bytes) -> bytes:
        if self.algorithm == Algorithm.EDDSA:
            return bytes(_signing(self.seed).sign(message).signature)
        if self.algorithm == Algorithm.ES256:
            signature = _p256(self.seed).sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
            return der_to_rs_low_s(signature)
        raise ValueError("X25519 keys do not sign")

    def possession(self, ledger: LedgerId, member: str, purpose: Purpose) -> bytes:
        if self.algorithm == Algorithm.X25519:
            return b""
        return self.sign(possession_digest(ledger, member.encode(), purpose, self.algorithm, self.public))

    def add(
        self, ledger: LedgerId, member: str, purpose: Purpose, starts: int = START - 1, ends: int = START + YEAR
    ) -> AddKey:
        """The payload that registers this key for a member."""
        possession = self.possession(ledger, member, purpose)
        return AddKey(purpose, self.algorithm, self.public, BlockTime(starts), BlockTime(ends), possession)


@lru_cache(maxsize=4096)
def _public(algorithm: Algorithm, seed: bytes) -> bytes:
    if algorithm == Algorithm.EDDSA:
        return bytes(SigningKey(seed).verify_key)
    if algorithm == Algorithm.X25519:
        return bytes(PrivateKey(seed).public_key)
    numbers = _p256(seed).public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


@lru_cache(maxsize=4096)
def _p256(seed: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seed, "big") >> 1, ec.SECP256R1())


def member_soft_key(member: str, purpose: Purpose) -> SoftKey:
    return SoftKey(f"{member} {purpose.name}", Algorithm.X25519 if purpose == Purpose.HPKE else Algorithm.EDDSA)


@dataclass(frozen=True)
class SoftPasskey:
    """An authenticator in software: signs assertions as a browser with a platform authenticator would.

    Tests bend it: `flags`, `rp_id`, `origin`, `kind` may be anything.
    """

    name: str
    algorithm: Algorithm = Algorithm.ES256
    rp_id: str = RP_ID
    origin: str = f"https://north.{RP_ID}"
    flags: int = 0x1D  # UP, UV, BE, BS: a synced passkey, after a person was verified
    kind: str = "webauthn.get"

    @property
    def key(self) -> SoftKey:
        return SoftKey(f"passkey {self.name}", self.algorithm)

    @property
    def public(self) -> bytes:
        return self.key.public

    @property
    def credential(self) -> CredentialId:
        return CredentialId(hashlib.sha256(b"credential " + self.name.encode()).digest()[:20])

    @property
    def author(self) -> Digest:
        return author_of_passkey(self.credential)

    @property
    def sealing(self) -> bytes:
        """The public half of the X25519 key that goes with it."""
        return SoftKey(f"sealing {self.name}", Algorithm.X25519).public

    def assertion(self, challenge: bytes) -> bytes:
        """A passkey proof over a digest, as it stands in a transaction."""
        encoded = urlsafe_b64encode(challenge).rstrip(b"=").decode()
        client = (
            f'{{"type":"{self.kind}","challenge":"{encoded}","origin":"{self.origin}","crossOrigin":false}}'.encode()
        )
        authenticator = hashlib.sha256(self.rp_id.encode()).digest() + bytes((self.flags, 0, 0, 0, 0))
        signature = self.key.sign(authenticator + hashlib.sha256(client).digest())
        return PasskeyProof(self.credential, authenticator, client, signature).to_bytes()

    def enrolled(self, ledger: LedgerId, handle: Handle, purpose: PasskeyPurpose = PasskeyPurpose.OWN) -> Passkey:
        """As Enrol, RotatePasskey, Mandate and StartRecovery name a new passkey."""
        wanted = possession_digest(ledger, handle, purpose, self.algorithm, self.public)
        return Passkey(self.credential, self.algorithm, self.public, self.assertion(wanted))


def handle_of(name: str) -> Handle:
    return Handle(hashlib.sha256(b"handle " + name.encode()).digest()[:16])


def demo_members(
    weights: Mapping[str, int] | None = None, created: BlockTime = START, *, consensus: bool = False
) -> tuple[GenesisMember, ...]:
    members = []
    for name, (kind, tier, weight) in MEMBERS.items():
        without = {Purpose.SEQUENCE} if consensus else {Purpose.VALIDATE}
        if name != "health":
            without.add(Purpose.SEQUENCE)
        purposes = [purpose for purpose in Purpose if purpose not in without]
        keys = tuple(
            GenesisKey(purpose, soft.algorithm, soft.public, BlockTime(created - 1), BlockTime(created + YEAR))
            for purpose in purposes
            for soft in (member_soft_key(name, purpose),)
        )
        members.append(
            GenesisMember(
                MemberId(name), name.title(), kind, tier, b"certificate of " + name.encode(),
                (weights or {}).get(name, weight), f"https://{name}.{RP_ID}", keys,
            )
        )  # fmt: skip
    return tuple(members)


def demo_genesis(
    parameters: Mapping[Parameter, int] | None = None,
    *,
    weights: Mapping[str, int] | None = None,
    pilot: bool = False,
    created: BlockTime = START,
    consensus: bool = False,
    **more: object,
) -> Genesis:
    """Of the five members; `health` operates the sequencer, or with `consensus` nobody does."""
    return make_genesis(
        name="Test", created=created, members=demo_members(weights, created, consensus=consensus),
        operator="" if consensus else "health",
        rp_id=RP_ID, pilot=pilot, parameters={Parameter.TICK: 1000, **(parameters or {})}, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def sign_genesis(genesis: Genesis) -> SignedGenesis:
    wanted = genesis_signature_digest(genesis.ledger_id)
    return SignedGenesis(
        genesis,
        {
            key.id: member_soft_key(member.id, key.purpose).sign(key_possession(genesis, member.id, key))
            for member in genesis.members
            for key in member.keys
            if key.algorithm != Algorithm.X25519
        },
        {member.id: member_soft_key(member.id, Purpose.OPERATE).sign(wanted) for member in genesis.members},
    )


@dataclass
class Kit:
    """A machine over stores in memory, and everybody's keys."""

    genesis: Genesis = field(default_factory=demo_genesis)
    store: Store = field(default_factory=MemoryStore)
    log_store: LogStore = field(default_factory=MemoryLogStore)
    map_bits: int = 8
    soft: Callable[[str, Purpose], SoftKey] = member_soft_key

    def __post_init__(self) -> None:
        self.reopen()
        self.now: int = self.machine.applied.time
        self._nonces = 0

    def reopen(self) -> None:
        """As after a restart: a new machine over the same stores."""
        self.machine = Machine(self.genesis, self.store, self.log_store, map_bits=self.map_bits)

    @property
    def ledger(self) -> LedgerId:
        return self.machine.ledger_id

    def tick(self) -> int:
        """The tick of the next block."""
        return self.next_time() // self.machine.view().parameters[Parameter.TICK]

    def next_time(self) -> BlockTime:
        return BlockTime(max(self.now, self.machine.applied.time + 1))

    def key(self, member: str, purpose: Purpose = Purpose.OPERATE) -> SoftKey:
        return self.soft(member, purpose)

    def recent(self) -> tuple[int, Digest]:
        return self.machine.tip.size, self.machine.tip.root

    def body(
        self,
        payload: Payload,
        author: bytes,
        *,
        expiry: int | None = None,
        recent: tuple[int, bytes] | None = None,
        ledger: LedgerId | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        self._nonces += 1
        return build_body(
            ledger or self.ledger,
            payload,
            nonce or self._nonces.to_bytes(16, "big"),
            recent or self.recent(),
            self.next_time() + 60_000 if expiry is None else expiry,
            author=author,
        )

    def sign(self, payload: Payload, *, by: "str | SoftKey | SoftPasskey", **bent: object) -> bytes:
        """A transaction, by a member's operate key, any key, or a passkey. `bent`: as `body` takes them."""
        signer = self.key(by) if isinstance(by, str) else by
        author = signer.author if isinstance(signer, SoftPasskey) else signer.id
        return self.prove(self.body(payload, author, **bent), by=signer)  # type: ignore[arg-type]

    def prove(self, body: bytes, *, by: "str | SoftKey | SoftPasskey") -> bytes:
        """Puts somebody's proof under a body."""
        signer = self.key(by) if isinstance(by, str) else by
        digest = transaction_digest(body)
        if isinstance(signer, SoftPasskey):
            return assemble(body, ProofKind.PASSKEY, signer.assertion(digest))
        return assemble(body, ProofKind.MEMBER, member_proof(signer.algorithm, signer.id, signer.sign, digest))

    def bundle(self, raws: Sequence[bytes], carrier: str = "north") -> bytes:
        key = self.key(carrier, Purpose.CARRY)
        return build_bundle(self.ledger, key.id, raws, key.sign)

    def block_bytes(self, raws: Sequence[bytes], carrier: str = "north") -> bytes:
        """The next block, with these transactions in bundles of one carrier."""
        header = Header(Height(self.machine.applied.height + 1), self.next_time())
        return build_block(header, [self.bundle(raws[at : at + 256], carrier) for at in range(0, len(raws), 256)])

    def block(self, raws: Sequence[bytes] = (), carrier: str = "north") -> Staged:
        staged = self.machine.stage(self.block_bytes(raws, carrier))
        self.machine.commit(staged)
        return staged

    def submit(self, raw: bytes, carrier: str = "north") -> tuple[Outcome, Refusal | None]:
        staged = self.block([raw], carrier)
        return staged.outcomes[0], staged.refusals[0]

    def accept(self, payload: Payload, *, by: "str | SoftKey | SoftPasskey", **bent: object) -> Outcome:
        outcome, refusal = self.submit(self.sign(payload, by=by, **bent))
        assert refusal is None, f"expected {type(payload).__name__} to be accepted: {refusal}"
        return outcome

    def refuse(self, why: type[R], payload: Payload, *, by: "str | SoftKey | SoftPasskey", **bent: object) -> R:
        return self.refuse_raw(why, self.sign(payload, by=by, **bent))

    def refuse_raw(self, why: type[R], raw: bytes) -> R:
        due = self.machine.next_due
        quiet = due is None or due > self.next_time()
        before = self.machine.tip.state_root
        outcome, refusal = self.submit(raw)
        assert isinstance(refusal, why), f"expected {why.__name__}, got {refusal!r}"
        assert outcome.code == why.code and REFUSALS[outcome.code] is why
        assert str(refusal)
        assert not quiet or self.machine.tip.state_root == before, "a refused transaction changed the state"
        return refusal

    def proposal(self, change: Change, name: str = "p", close: int = 3_600_000) -> Propose:
        proposal = ProposalId(commitment("proposal", name)[:16])
        return Propose(proposal, change, BlockTime(self.next_time() + close), commitment("grounds"))

    def decide(self, change: Change, voters: Sequence[str] = ("clinic", "health", "north", "shield")) -> None:
        """Proposes and votes until it is done: four of five is more than two thirds."""
        asked = self.proposal(change, repr(change))
        self.accept(asked, by="north")
        for voter in voters:
            self.accept(Vote(asked.proposal, True), by=voter)
        assert self.machine.view().governance.get(asked.proposal) is None

    def enrol(self, name: str, *, by: str = "north") -> tuple[Handle, SoftPasskey]:
        """A patient with a handle and a passkey, both made from the name."""
        handle, passkey = handle_of(name), SoftPasskey(name)
        self.accept(
            Enrol(handle, passkey.enrolled(self.ledger, handle), passkey.sealing, commitment("id", name)), by=by
        )
        return handle, passkey

    def later(self, ms: int) -> None:
        """Moves the clock to `ms` after the last block."""
        self.now = self.machine.applied.time + ms

    def settle(self) -> None:
        """Lets everything that is due happen."""
        while (due := self.machine.next_due) is not None and due <= self.next_time():
            self.block()
