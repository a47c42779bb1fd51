"""Judges an evidence file against a trust file: numbered findings, each passed, failed or not checked.

Pure: the same two files give the same findings on any day. A finding names its rule by a key and gives the facts; the
sentences for people are `apps.verify`'s. Nothing is inferred from what was not checked: a file convinces when the
checks that its kind requires have passed and none has failed.

What many files share (the trust file, the checkpoint with its cosignatures, block leaves, the transaction of a batch)
is judged once and remembered by its bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from commonward.ledger.checkpoint import NoteError
from commonward.ledger.consent import Consent, ConsentRecord, Credential, consent_key, credential_key
from commonward.ledger.encoding import Value, decode, digest
from commonward.ledger.ids import BlockTime, KeyId, MemberId, Purpose, key_id
from commonward.ledger.members import NO_CERTIFICATE, Key, key_key, revoked_staff_key
from commonward.ledger.members.weights import ORIGINS_KEY
from commonward.ledger.proofs import MemberProof, check_member, check_passkey, parse_proof
from commonward.ledger.refusals import Refusal
from commonward.ledger.registry import AnchorBatch, AnchorPublic
from commonward.ledger.rules import author_of_passkey
from commonward.ledger.transactions import Release, Withdraw
from commonward.records.certificates import CertificateRefused, SignedStatement, Staff, claimed_member
from commonward.records.evidence import SEALED_LABEL, Evidence, RecordStatement, label_of, read_note, read_transaction
from commonward.records.findings import Finding, State
from commonward.records.fingerprint import Fingerprint, fingerprint, source_fingerprint, verify_in_batch
from commonward.records.judging_history import HistoryJudge
from commonward.records.openings import OpenedRule, OpeningError, commit
from commonward.records.stored import Stored
from commonward.records.trust import Trust


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


class _Judge(HistoryJudge):
    """One file under judgement: walks the steps in order and collects the findings."""

    def __init__(self, evidence: Evidence, trust: Trust, thing: bytes | None, authorities: bytes | None) -> None:
        super().__init__(evidence, trust, authorities)
        self.thing = thing
        self.payload = evidence.transaction.payload
        self.kind = type(self.payload).__name__
        self.member: MemberId | None = None

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
