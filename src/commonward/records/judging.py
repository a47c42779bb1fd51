"""Judges an evidence file against a trust file: numbered findings, each passed, failed or not checked.

Pure: the same two files give the same findings on any day. A finding names its rule by a key and gives the facts; the
sentences for people are `apps.verify`'s. Nothing is inferred from what was not checked: a file convinces when the
checks that its kind requires have passed and none has failed.

What many files share (the trust file, the checkpoint with its cosignatures, block leaves, the transaction of a batch)
is judged once and remembered by its bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Final

from commonward.ledger.checkpoint import Checkpoint, CosignatureError, NoteError, Quorum, WeakQuorum
from commonward.ledger.consent import Consent, ConsentRecord, Credential, consent_key, credential_key
from commonward.ledger.encoding import Value, decode, digest
from commonward.ledger.ids import BlockTime, KeyId, MemberId, Purpose, key_id
from commonward.ledger.members import NO_CERTIFICATE, Key, key_key, revoked_staff_key
from commonward.ledger.members.weights import ORIGINS_KEY
from commonward.ledger.merkle.log import leaf_hash, verify_consistency, verify_inclusion
from commonward.ledger.merkle.map_proof import verify_absence, verify_presence
from commonward.ledger.proofs import MemberProof, check_member, check_passkey, parse_proof
from commonward.ledger.refusals import REFUSALS, Refusal
from commonward.ledger.registry import AnchorBatch, AnchorPublic
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.staging import ACCEPTED, block_leaf, outcome_leaf
from commonward.ledger.transactions import Release, Withdraw
from commonward.records.certificates import CertificateRefused, SignedStatement, Staff, claimed_member
from commonward.records.evidence import SEALED_LABEL, Evidence, RecordStatement, label_of, read_note, read_transaction
from commonward.records.fingerprint import Fingerprint, fingerprint, source_fingerprint, verify_in_batch
from commonward.records.openings import OpenedRule, OpeningError, commit
from commonward.records.signers import Why, uncounted
from commonward.records.stored import Stored
from commonward.records.timestamps import (
    Token,
    TokenRefused,
    TokenUnreadable,
    check_token,
    imprint_of,
    read_token,
)
from commonward.records.trust import Trust


class State(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


Fact = str | int | bytes | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: its rule, how it went, and the facts that the sentence needs. Times are ms."""

    rule: str
    state: State
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All findings in order. `signed_after`, `ordered`, `before`: the time bracket in ms, None where not shown.

    `stamped`: by when a time-stamping authority, `stamper`, says that it stood; None where none was believed.
    `operator`: who ordered the ledger when the checkpoint was signed; "" where the members' consensus did.
    """

    kind: str
    findings: tuple[Finding, ...]
    pilot: bool
    member: MemberId | None = None
    signed_after: int | None = None
    ordered: int | None = None
    before: int | None = None
    operator: str = ""
    stamped: int | None = None
    stamper: str = ""

    @property
    def convinces(self) -> bool:
        """Every required check passed, and none failed."""
        passed = {each.rule for each in self.findings if each.state is State.PASSED}
        if any(each.state is State.FAILED for each in self.findings) or not passed & {"author", "passkey"}:
            return False
        return passed >= _ALWAYS | _REQUIRED.get(self.kind, frozenset({"openings"}))


_ALWAYS: Final = frozenset({"ledger", "checkpoint", "cosigners", "logged", "accepted", "signature"})
_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "AnchorBatch": frozenset({"batch"}),
    "Release": frozenset({"openings", "request"}),
    "AnchorPublic": frozenset({"original"}),
    "Consent": frozenset(),
    "Withdraw": frozenset(),
}
FRESH_MS: Final = 15 * 60 * 1000
"""How long before a mark something shown of the state may have been seen: as long as a recent checkpoint may be."""


STAMP_SLACK_MS: Final = 60 * 1000
"""How far a header time may be ahead of a time-stamping authority's: members cosign what is up to 30 s off."""


@lru_cache(maxsize=4096)
def _included(leaf: bytes, index: int, size: int, path: bytes, root: bytes) -> bool:
    hashes = [path[at : at + 32] for at in range(0, len(path), 32)]
    return verify_inclusion(leaf_hash(leaf), index, size, hashes, root)


@lru_cache(maxsize=4096)
def _signed_by(raw: bytes, algorithm: int, public: bytes, rp_id: str, origins: tuple[str, ...]) -> str | None:
    """None when this key's holder signed this transaction, else why that is not shown."""
    transaction = read_transaction(raw)
    try:
        proof = parse_proof(transaction.proof_kind, transaction.proof)
        if isinstance(proof, MemberProof):
            if not bytes(key_id(algorithm, public)) == bytes(proof.key_id) == bytes(transaction.author):
                return "the key is not the one that the transaction names"
            check_member(proof, transaction.digest, algorithm, public)
        else:
            if author_of_passkey(proof.credential_id) != transaction.author:
                return "the passkey is not the one that the transaction names"
            check_passkey(proof, transaction.digest, algorithm, public, sha256(rp_id.encode()).digest(), origins)
    except (Refusal, ValueError) as cause:
        return str(cause)
    return None


class _Judge:
    """One file under judgement: walks the steps in order and collects the findings."""

    def __init__(self, evidence: Evidence, trust: Trust, thing: bytes | None, authorities: bytes | None) -> None:
        self.evidence = evidence
        self.trust = trust
        self.thing = thing
        self.authorities = authorities
        self.payload = evidence.transaction.payload
        self.kind = type(self.payload).__name__
        self.findings: list[Finding] = []
        self.checkpoint: Checkpoint | None = None
        self.quorum: Quorum | None = None
        self.shown: dict[bytes, tuple[bytes | None, int]] = {}  # state key -> (value, header time of its block)
        self.member: MemberId | None = None
        self.signed_after: int | None = None
        self.ordered: int | None = None
        self.token: Token | None = None

    def find(self, rule: str, passed: bool | None, **facts: Fact) -> bool:
        state = State.NOT_CHECKED if passed is None else State.PASSED if passed else State.FAILED
        self.findings.append(Finding(rule, state, facts))
        return passed is True

    def run(self) -> Judgement:
        self.check_ledger()  # 1. it speaks of the ledger that the trust file is about
        if self.check_cosigners():  # 2. the checkpoint is binding
            self.check_logged()  # 3. the outcome stands in the log under it
            self.check_blocks()  # 4. so do the blocks it names, and their states held what is said
            self.check_accepted()  # 5. the outcome is "accepted"
            self.check_time()  # 6. when
            self.check_stamp()  # 7. and since when a time-stamping authority says so
        self.check_author()  # 8. who signed
        if isinstance(self.evidence.statement, RecordStatement):
            self.check_record(self.evidence.statement)  # 9. what it commits to
        elif isinstance(self.payload, AnchorPublic):
            self.check_original(self.payload)
        else:
            self.check_openings()
        return Judgement(
            self.kind,
            tuple(self.findings),
            self.trust.authority_at(self.evidence.index).pilot or self.trust.genesis.pilot,
            self.member,
            self.signed_after,
            self.ordered,
            None if self.quorum is None else self.quorum.before,
            "" if self.checkpoint is None else self.trust.authority_for(self.checkpoint.size).operator,
            None if self.token is None else self.token.before,
            "" if self.token is None else self.token.authority,
        )

    # ------------------------------------------------------------------------------------------- ledger and history

    def check_ledger(self) -> None:
        ruled, named = self.trust.ledger_at(self.evidence.index), self.evidence.transaction.ledger
        self.find("ledger", named == ruled, expected=ruled, got=named)

    def check_cosigners(self) -> bool:
        try:
            checkpoint = read_note(self.evidence.note).checkpoint
        except NoteError as cause:
            return self.find("checkpoint", False, why=str(cause))
        self.find("checkpoint", self.trust.knows(checkpoint), origin=checkpoint.origin, size=checkpoint.size)
        self.checkpoint = checkpoint
        try:
            quorum = self.trust.quorum(self.evidence.note)
        except (NoteError, CosignatureError, WeakQuorum) as cause:
            self.find("cosigners", False, why=str(cause))
            return self.explain_lines(weak=isinstance(cause, WeakQuorum))
        if quorum.unknown:
            # C2SP ignores lines of unknown keys; an evidence file has no use for any, so one is a sign of meddling
            self.find("cosigners", False, why="a signature line does not count")
            return self.explain_lines(weak=False)
        if not quorum.operator_signed and not self.trust.authority_for(checkpoint.size).consensus:
            return self.find("cosigners", False, why="no sequencer signed")
        self.quorum = quorum
        return self.find(
            "cosigners", True, members=quorum.members, weight=quorum.weight, total=quorum.total, before=quorum.before
        )

    def explain_lines(self, *, weak: bool) -> bool:
        """Says of each signature line that did not count why not: the reader may know the member. Always False."""
        for each in uncounted(read_note(self.evidence.note), self.trust):
            if each.why is Why.TERM and each.key is not None:
                self.find("term", False, member=each.member, time=each.at, starts=each.key.starts, ends=each.key.ends)
            elif each.why is Why.REPLACED:
                self.find("replaced", False, member=each.member)
            elif each.why is Why.STRANGER:
                self.find("stranger", False, name=each.member)
            elif weak:
                self.find("weightless", False, member=each.member)
        return False

    def _holds(self, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        assert self.checkpoint is not None
        return _included(leaf, index, self.checkpoint.size, b"".join(path), self.checkpoint.root)

    def check_logged(self) -> None:
        e = self.evidence
        leaf = outcome_leaf(e.transaction.digest, e.height, e.time, e.code)
        if self.find("logged", self._holds(leaf, e.index, e.path), index=e.index, height=e.height):
            self.ordered = e.time

    def check_blocks(self) -> None:
        for block in self.evidence.blocks:
            leaf = block_leaf(block.height, block.time, block.state_root)
            if not self.find("block", self._holds(leaf, block.index, block.path), height=block.height, time=block.time):
                continue
            if block.height == self.evidence.height and (
                block.time != self.evidence.time or block.index <= self.evidence.index
            ):
                self.find("own-block", False, height=block.height)
            for fact in block.facts:
                if fact.value is None:
                    true = verify_absence(block.state_root, fact.key, fact.proof)
                else:
                    true = verify_presence(block.state_root, fact.key, fact.value, fact.proof)
                if true:
                    self.shown[fact.key] = (fact.value, block.time)
                else:
                    self.find("fact", False, height=block.height)

    def check_accepted(self) -> None:
        code = self.evidence.code
        refusal = REFUSALS.get(code)
        self.find("accepted", code == ACCEPTED, code=code, name=refusal.__name__ if refusal else "")

    def check_time(self) -> None:
        named = self.evidence.transaction.recent.size
        recent = next((block for block in self.evidence.blocks if block.index == named - 1), None)
        if recent is None:
            self.find("recent", None, size=named)
        elif self.find("recent", recent.time <= self.evidence.time, time=recent.time, size=named):
            self.signed_after = recent.time

    def check_stamp(self) -> None:
        stamp, checkpoint = self.evidence.stamp, self.checkpoint
        assert checkpoint is not None
        if stamp is None:
            if self.authorities is not None:
                self.find("no-stamp", None)
            return
        covers = self.evidence.index < stamp.size and verify_consistency(
            stamp.size, checkpoint.size, stamp.root, checkpoint.root, stamp.path
        )
        if not self.find("stamped", covers, size=stamp.size):
            return
        body = Checkpoint(self.trust.origin_for(stamp.size), stamp.size, stamp.root).note_body()
        try:
            claimed = read_token(stamp.token)
            if self.authorities is None:
                true = claimed.imprint == imprint_of(body)
                why = "" if true else "it is a time stamp of something else"
                self.find("time-stamp", None if true else False, name=claimed.authority, time=claimed.time, why=why)
                return
            token = check_token(stamp.token, body, self.authorities)
        except (TokenUnreadable, TokenRefused) as cause:
            self.find("time-stamp", False, why=str(cause))
            return
        if token.before + STAMP_SLACK_MS < self.evidence.time:
            why = "it says an earlier time than the block that it covers"
            self.find("time-stamp", False, why=why)
        elif self.find("time-stamp", True, name=token.authority, before=token.before, serial=token.serial):
            self.token = token

    # ------------------------------------------------------------------------------------------------------- author

    def check_author(self) -> None:
        e = self.evidence
        origins = tuple(member.origin for member in self.trust.genesis.members)
        shown = self.shown.get(ORIGINS_KEY, (None, 0))[0]
        if shown is not None:
            origins = tuple(str(each) for each in _list(shown))
        why = _signed_by(e.raw, e.algorithm, e.public, self.trust.genesis.rp_id, origins)
        if not self.find("signature", why is None, why=why or ""):
            return
        if e.transaction.proof_kind == 2:
            self._passkey_owner()
        else:
            self._key_owner()

    def _key_owner(self) -> None:
        author, at = self.evidence.transaction.author, self.evidence.time
        shown = self.shown.get(key_key(author), (None, 0))[0]
        if shown is not None:
            key = Key.parse(shown)
            self.member, good = key.member, key.purpose == Purpose.OPERATE and key.starts <= at < key.ends
            self.find("author", good, member=key.member, source="state")
            return
        registered = self.trust.keys.get(KeyId(author))
        if registered is None:
            self.find("author", None)
            return
        member, genesis_key = registered
        good = genesis_key.purpose == Purpose.OPERATE and genesis_key.starts <= at < genesis_key.ends
        self.member = member
        self.find("author", good, member=member, source="genesis")

    def _passkey_owner(self) -> None:
        shown = self.shown.get(credential_key(self.evidence.transaction.author), (None, 0))[0]
        if shown is None:
            self.find("passkey", None)
            return
        credential = Credential.parse(shown)
        same = (credential.algorithm, credential.public) == (self.evidence.algorithm, self.evidence.public)
        self.find("passkey", same, handle=credential.handle, member=credential.member)

    # ---------------------------------------------------------------------------------------- what it commits to

    def check_record(self, statement: RecordStatement) -> None:
        assert isinstance(self.payload, AnchorBatch)
        given, inside = self.thing, statement.stored
        if given is not None and inside is not None:
            self.find("same-bytes", given == inside)
        content = given if given is not None else inside
        if content is None:
            self.find("batch", None)
            return
        # a record and a raw source message are fingerprinted under different labels; one of them must fit
        candidates = (fingerprint(Stored(content), statement.salt), source_fingerprint(content, statement.salt))
        found = next((f for f in candidates if self._in_batch(f, statement)), None)
        shown = found or candidates[0]
        self.find("batch", found is not None, fingerprint=shown.digest, bytes=len(content), tick=self.payload.tick)

    def _in_batch(self, found: Fingerprint, statement: RecordStatement) -> bool:
        assert isinstance(self.payload, AnchorBatch)
        return verify_in_batch(found, statement.proof, self.payload.root)

    def check_original(self, payload: AnchorPublic) -> None:
        same = None if self.thing is None else self.thing == payload.original
        self.find("original", True if same is None else same, type=payload.type.name, bytes=len(payload.original))

    def check_openings(self) -> None:
        openings = self.evidence.statement
        assert not isinstance(openings, RecordStatement)
        fields = {each.number: each.name for each in self.payload.FIELDS}
        opened: dict[str, Value] = {}
        for number, (salt, value) in openings.items():
            name = fields.get(number)
            if isinstance(self.payload, Consent) and name == "rules":
                self.find("rules", salt == bytes(32) and _under(self.payload.rules, value), count=_count(value))
                continue
            committed = None if name is None else getattr(self.payload, name)
            if name is None or committed != commit(label_of(type(self.payload), name), salt, value):
                self.find("opening", False, field=name or str(number))
            else:
                opened[name] = value
        closed = tuple(
            each.name for each in self.payload.FIELDS
            if each.name not in opened and each.name in _COMMITTED.get(self.kind, ())
        )  # fmt: skip
        claimed = sum(fields.get(number) != "rules" for number in openings)
        self.find("openings", len(opened) == claimed if claimed else None, opened=tuple(opened), closed=closed)
        if isinstance(self.payload, Release):
            self._release(opened)
        elif isinstance(self.payload, Withdraw):
            self._withdrawn(self.payload)

    def _release(self, opened: Mapping[str, Value]) -> None:
        self._request(opened.get("request"))
        self._consent(opened.get("consent"))
        sealed = opened.get("sealed")
        if self.thing is None or type(sealed) is not bytes:
            self.find("sealed", None)
        else:
            self.find("sealed", sealed == digest(SEALED_LABEL, self.thing), digest=sealed)

    def _request(self, value: "Value | None") -> None:
        if value is None:
            self.find("request", None)
            return
        try:
            said = SignedStatement.parse(value) if type(value) is bytes else SignedStatement.from_value(value)
            staff = self._staff(said)
        except ValueError as cause:  # CertificateRefused is one
            self.find("request", False, why=str(cause))
            return
        self.find(
            "request", True, member=staff.member, role=staff.role, department=staff.department, number=staff.number
        )
        revocation = self.shown.get(revoked_staff_key(staff.member, staff.revocation))
        if revocation is None or not self._fresh(revocation[1]):
            self.find("not-revoked", None)
        else:
            self.find("not-revoked", revocation[0] is None, time=revocation[1])

    def _fresh(self, seen: int) -> bool:
        """Whether a state shown at this time says something about the mark: at it, or shortly before."""
        return self.evidence.time - FRESH_MS <= seen <= self.evidence.time

    def _staff(self, said: SignedStatement) -> Staff:
        """Judged at the mark's header time, by the CA that the member had then."""
        member = claimed_member(said.certificate)
        then = self.trust.authority_at(self.evidence.index).cosigner(member)
        if then is not None and then.ca == NO_CERTIFICATE:
            raise CertificateRefused(f"{member} had no CA certificate in force then: the members had revoked it")
        match self.trust.certificate_of(member, self.evidence.index):
            case (kind, bytes(ca)):
                return said.check(self.trust.line, ca, member, kind, BlockTime(self.evidence.time))
            case None:
                raise CertificateRefused(f"expected a certificate of a member, got one of {member}")
        raise CertificateRefused(f"the trust file lacks the CA certificate of {member}: get a newer one")

    def _consent(self, value: "Value | None") -> None:
        if type(value) is not bytes:
            self.find("consent", None)
            return
        shown = self.shown.get(consent_key(value))
        if shown is None or not self._fresh(shown[1]):
            self.find("consent", None, id=value)
        elif shown[0] is None:
            self.find("consent", False, id=value, time=shown[1])
        else:
            record = ConsentRecord.parse(shown[0])
            self.find("consent", record.live(shown[1]) and not record.hold, id=value, time=shown[1])

    def _withdrawn(self, payload: Withdraw) -> None:
        shown = self.shown.get(consent_key(payload.id))
        known = shown is not None and shown[1] >= self.evidence.time
        self.find("withdrawn", shown[0] is None if shown is not None and known else None, id=payload.id)


_COMMITTED: Final[Mapping[str, tuple[str, ...]]] = {
    "Release": ("request", "decision", "consent", "running", "previous", "sealed"),
    "Receipt": ("tag", "sealed", "decision"),
    "Enrol": ("identity",),
    "StartRecovery": ("evidence",),
    "Mandate": ("scope", "evidence"),
    "Consent": ("recipients", "form"),
    "Withdraw": ("reason",),
    "BreakGlass": ("request", "reason", "staff"),
    "Review": ("finding", "reviewer"),
    "Erased": ("what", "ground", "holds"),
    "LogRoot": ("uses", "refusals"),
}


def _count(value: "Value") -> int:
    return len(value) if isinstance(value, list) else 0


def _under(root: bytes, value: "Value") -> bool:
    """Whether these are opened rules, at least one, and each is under a consent's root (it is salted itself)."""
    try:
        rules = [OpenedRule.from_value(each) for each in value] if isinstance(value, list) else []
        return bool(rules) and all(rule.check(root) is not None for rule in rules)
    except OpeningError:
        return False


def _list(data: bytes) -> list[Value]:
    value = decode(data)
    return value if isinstance(value, list) else []


def judge(evidence: Evidence, trust: Trust, thing: bytes | None = None, authorities: bytes | None = None) -> Judgement:
    """Walks the numbered steps.

    Args:
        thing: the record (its stored bytes, or the raw source message), the sealed bundle, or the original that the
            evidence is to be about, when it comes in a file of its own.
        authorities: certificates (PEM) of the time-stamping authorities that the reader believes.
    """
    return _Judge(evidence, trust, thing, authorities).run()


def forks(first: Evidence, second: Evidence) -> bool:
    """Whether two evidence files rest on two roots for one size of one log: one of the histories is false."""
    try:
        one, other = read_note(first.note).checkpoint, read_note(second.note).checkpoint
    except NoteError:
        return False
    return one.origin == other.origin and one.size == other.size and one.root != other.root
