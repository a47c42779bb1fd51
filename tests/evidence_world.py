"""A ledger whose members have real CA certificates, and evidence of what happened on it. Deterministic to the byte."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from commonward.ledger.audit import Release
from commonward.ledger.checkpoint import Checkpoint, Note, SignatureLine, cosign, origin_of, sign_note
from commonward.ledger.encoding import Digest, Value, digest
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Purpose, Tag
from commonward.ledger.members import AUTHORITY_KEY, Change
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.transactions import Payload, parse_transaction
from commonward.ledger.transition import Outcome, block_leaf
from commonward.records.certificates import STAFF_PURPOSE, SignedStatement, sign_statement
from commonward.records.evidence import (
    SEALED_LABEL,
    BlockLeaf,
    Evidence,
    Openings,
    RecordStatement,
    StateFact,
    label_of,
)
from commonward.records.fingerprint import build_batch, fingerprint
from commonward.records.openings import commit
from commonward.records.stored import Stored
from commonward.records.trust import AuthorityStep, TrustFile, block_fields
from tests.ledgerkit import START, Kit, SoftKey, SoftPasskey, demo_genesis, sign_genesis

ALL = ("clinic", "health", "north", "shield", "south")
DAY = datetime.fromtimestamp(START // 1000, UTC)


def _seed(*words: str) -> bytes:
    return hashlib.sha256(" ".join(words).encode()).digest()


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@lru_cache
def ca_key(member: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_seed("ca", member))


def _sign(builder: x509.CertificateBuilder, key: Ed25519PrivateKey) -> bytes:
    return builder.sign(key, None).public_bytes(Encoding.DER)


@lru_cache
def ca_certificate(member: str) -> bytes:
    key = ca_key(member)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{member} CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(_seed("serial", member)[:8], "big") | 1)
        .not_valid_before(DAY - timedelta(days=1))
        .not_valid_after(DAY + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_usage(ca=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    return _sign(builder, key)


def staff_certificate(member: str, role: str, *, starts: datetime = DAY, by: str | None = None) -> bytes:
    issuer = ca_key(by or member)
    fields = [
        (NameOID.ORGANIZATION_NAME, member),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "cardiology"),
        (NameOID.TITLE, role),
        (NameOID.SERIAL_NUMBER, "7f3a"),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in fields]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{by or member} CA")]))
        .public_key(staff_key(member, role).public_key())
        .serial_number(int.from_bytes(_seed("staff", member, role)[:8], "big") | 1)
        .not_valid_before(starts)
        .not_valid_after(starts + timedelta(hours=12))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(ca=False), True)
        .add_extension(x509.ExtendedKeyUsage([STAFF_PURPOSE]), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
    )
    return _sign(builder, issuer)


def staff_key(member: str, role: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_seed("staff key", member, role))


def world_genesis(**more: object) -> Genesis:
    genesis = demo_genesis(**more)  # type: ignore[arg-type]
    return replace(genesis, members=tuple(replace(m, certificate=ca_certificate(m.id)) for m in genesis.members))


def salt(*words: object) -> Digest:
    """A salt, or 32 bytes that stand for any commitment, made from words."""
    return Digest(hashlib.sha256(b"salt " + repr(words).encode()).digest())


@dataclass
class World:
    kit: Kit = field(default_factory=lambda: Kit(genesis=world_genesis()))
    last_block_leaf: bytes = b""

    # ---------------------------------------------------------------------------------------------------- checkpoints

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        log = self.kit.machine.log
        size = log.size if size is None else size
        return Checkpoint(origin_of(self.kit.ledger), size, log.root(size))

    def cosigned(self, head: Checkpoint, member: str, at: int | None = None) -> SignatureLine:
        soft = self.kit.key(member, Purpose.COSIGN)
        when = self.kit.machine.applied.time + 2_000 if at is None else at
        return cosign(head, member, soft.public, BlockTime(when), soft.sign)

    def note(self, members: Sequence[str] = ALL[:4], size: int | None = None, at: int | None = None) -> bytes:
        head = self.checkpoint(size)
        cosigned = tuple(self.cosigned(head, member, at) for member in members)
        if self.kit.genesis.consensus:
            return Note(head, cosigned).to_bytes()
        operator = self.kit.key("health", Purpose.SEQUENCE)
        return Note(head, (sign_note(head, operator.public, operator.sign), *cosigned)).to_bytes()

    # ------------------------------------------------------------------------------------------------------ evidence

    def block_leaf(self, index: int, size: int, leaf: bytes, facts: Sequence[StateFact] = ()) -> BlockLeaf:
        fields = block_fields(leaf)
        assert fields is not None
        height, time, root = fields
        return BlockLeaf(index, height, time, root, self.kit.machine.log.prove_inclusion(index, size), tuple(facts))

    def fact(self, key: bytes) -> StateFact:
        """That of the state as it is now."""
        machine = self.kit.machine
        return StateFact(key, machine.get(key), machine.prove_state(key))

    def commit(
        self, payload: Payload, by: "str | SoftKey | SoftPasskey", facts: Sequence[bytes] = ()
    ) -> tuple[bytes, Outcome, list[tuple[int, bytes, tuple[StateFact, ...]]]]:
        """Submits; returns the transaction, its outcome, and the leaves of the recent block and its own with facts."""
        kit = self.kit
        recent_leaf = self.last_block_leaf
        raw = kit.sign(payload, by=by)
        staged = kit.block([raw])
        self.last_block_leaf = staged.leaves[-1]
        outcome = staged.outcomes[0]
        blocks = [
            (parse_transaction(raw).recent.size - 1, recent_leaf, ()),
            (staged.first + len(staged.leaves) - 1, staged.leaves[-1], tuple(self.fact(key) for key in facts)),
        ]
        return raw, outcome, blocks

    def __post_init__(self) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Looks at the tip, after the kit was used directly."""
        tip = self.kit.machine.tip
        self.last_block_leaf = block_leaf(tip.height, tip.time, tip.state_root)

    def evidence(
        self,
        committed: tuple[bytes, Outcome, list[tuple[int, bytes, tuple[StateFact, ...]]]],
        by: "SoftKey | SoftPasskey",
        statement: "RecordStatement | Openings | None" = None,
        note: bytes | None = None,
    ) -> Evidence:
        raw, outcome, blocks = committed
        note = self.note() if note is None else note
        size = int(note.split(b"\n")[1])
        own = block_fields(blocks[1][1])
        assert own is not None
        return Evidence.of(
            raw, height=own[0], time=own[1], code=outcome.code, author=(by.algorithm, by.public), index=outcome.index,
            path=self.kit.machine.log.prove_inclusion(outcome.index, size), note=note,
            blocks=[self.block_leaf(index, size, leaf, facts) for index, leaf, facts in blocks], statement=statement,
        )  # fmt: skip

    def record(self, stored: bytes = b'{"resourceType":"Observation","value":7.40}', others: int = 5) -> Evidence:
        """North anchors a batch with this record among others."""
        mine = fingerprint(Stored(stored), salt("mine", stored))
        rest = [fingerprint(Stored(b"%d" % n), salt(n)) for n in range(others)]
        batch = build_batch([mine, *rest], salt("seed"))
        committed = self.commit(AnchorBatch(self.kit.tick(), batch.root), "north")
        self.pad()
        return self.evidence(
            committed, self.kit.key("north"), RecordStatement(salt("mine", stored), batch.prove(mine), stored)
        )

    def pad(self, blocks: int = 3) -> None:
        """Other members' business after it."""
        for n in range(blocks):
            self.kit.later(1_000)
            batches = {who: AnchorBatch(self.kit.tick(), salt("root", n, who)) for who in ("south", "shield")}
            staged = self.kit.block([self.kit.sign(batch, by=who) for who, batch in batches.items()])
            self.last_block_leaf = staged.leaves[-1]

    def request(self, role: str = "clinician", member: str = "south", **cert: object) -> SignedStatement:
        certificate = staff_certificate(member, role, **cert)  # type: ignore[arg-type]
        return sign_statement(self.kit.ledger, b"show me this history", certificate, staff_key(member, role).sign)

    def release_values(self, request: SignedStatement | None = None) -> dict[str, Value]:
        return {
            "request": (request or self.request()).to_bytes(),
            "decision": [1, "consent", [3, 5]],
            "consent": b"\x11" * 16,
            "running": 7,
            "previous": bytes(32),
            "sealed": digest(SEALED_LABEL, b"a sealed bundle"),
        }

    def release(self, request: SignedStatement | None = None, facts: Sequence[bytes] = ()) -> Evidence:
        """North's mark of a release to south, all opened."""
        values = self.release_values(request)
        commitments = {name: commit(label_of(Release, name), salt(name), value) for name, value in values.items()}
        committed = self.commit(Release(tag=Tag(salt("tag")), **commitments), "north", facts)  # type: ignore[arg-type]
        self.pad()
        numbers = {each.name: each.number for each in Release.FIELDS}
        openings = {numbers[name]: (salt(name), value) for name, value in values.items()}
        return self.evidence(committed, self.kit.key("north"), openings)

    # --------------------------------------------------------------------------------------------------------- trust

    def trust_file(self, *steps: AuthorityStep, certificates: Sequence[bytes] = ()) -> TrustFile:
        return TrustFile(sign_genesis(self.kit.genesis).to_bytes(), tuple(steps), tuple(certificates))

    def trust(self, *steps: AuthorityStep) -> bytes:
        return self.trust_file(*steps).to_bytes()

    def authority_step(self, payload: Payload, by: str, members: Sequence[str] = ALL) -> AuthorityStep:
        """A change of authority by this transaction, cosigned by these members with the keys they had before."""
        machine = self.kit.machine
        before = machine.get(AUTHORITY_KEY)
        staged = self.kit.block([self.kit.sign(payload, by=by)])
        assert staged.outcomes[0].code == 0, staged.refusals
        self.last_block_leaf = staged.leaves[-1]
        after = machine.get(AUTHORITY_KEY)
        assert after is not None and after != before
        return self._step(after, members)

    def decided_step(self, change: Change, members: Sequence[str] = ALL) -> AuthorityStep:
        """A change of authority that the members vote for; cosigned by these."""
        before = self.kit.machine.get(AUTHORITY_KEY)
        self.kit.decide(change)
        self.catch_up()
        after = self.kit.machine.get(AUTHORITY_KEY)
        assert after is not None and after != before
        return self._step(after, members)

    def _step(self, after: bytes, members: Sequence[str]) -> AuthorityStep:
        """That the state after the last block holds this authority."""
        machine = self.kit.machine
        size = machine.tip.size
        return AuthorityStep(
            after, machine.prove_state(AUTHORITY_KEY), size - 1, self.last_block_leaf,
            machine.log.prove_inclusion(size - 1, size), self.note(members),
        )  # fmt: skip
