"""What members say to each other, and what is sealed inside: the peer protocol, one dataclass a message.

Bytes on the wire are `workflows.wire` maps. Whatever is signed or hashed goes through a label of its own. Times
are ms since the Unix epoch. Nothing here is on the ledger; the ledger carries commitments to some of it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from commonward.ledger.encoding import Encodable, digest, encode
from commonward.ledger.ids import ConsentId, Digest, Handle, LedgerId, MemberId, Tag
from commonward.ledger.proofs import verify
from commonward.records.fingerprint import BatchProof
from commonward.workflows.wire import Message

# Paths of the peer protocol. Each takes one message and gives one; asking again is always safe.
ASK: Final = "release"  # Asked -> Answer
OPENING: Final = "opening"  # OpeningDeposit -> OpeningAck
MAILBOX_LIST: Final = "mailbox/list"  # PapersWanted -> Papers
MARKS: Final = "marks"  # PapersWanted -> Papers: the sealed openings of a handle's marks, by n
RECEIPT: Final = "receipt"  # ReceiptFacts -> Noted
RECALL: Final = "recall"  # RecallNotice -> RecallAck
LATER_PROOFS: Final = "proofs"  # ProofsWanted -> Proofs: what was pending when it was released


class Mode(IntEnum):
    """Why a request is made. A registration desk may ask for the first alone."""

    FETCH_AHEAD = 1
    DISPLAY = 2


@dataclass(frozen=True, slots=True)
class Request(Message):
    """What one staff member asks of one custodian about one patient.

    `encounter` commits to the requester's own encounter number. `consent` is all zero when a broken glass is the
    basis, and `glass` is then the tag of the `BreakGlass`. `size`, `root`: a recent checkpoint (signed after it).
    """

    ledger: LedgerId
    requester: MemberId
    custodian: MemberId
    handle: Handle
    consent: ConsentId
    purpose: str  # HL7 v3 ActReason (PurposeOfUse): TREAT, ETREAT, HPAYMT, HRESCH, PUBHLTH, PATRQT
    encounter: Digest
    mode: Mode
    at: int
    nonce: bytes
    size: int
    root: Digest
    glass: Tag | None = None
    reason: str | None = None  # why the glass was broken, in words

    def digest(self) -> Digest:
        """What the staff member signs, and what a release's mark commits to."""
        return digest("commonward request v1", self.to_bytes())


@dataclass(frozen=True, slots=True)
class Asked(Message):
    """What goes to the custodian: a staff member's signed statement of a Request, and what the asker presents.

    `statement` is `records.certificates.SignedStatement` bytes. `permits`: the consent's rules that were opened to
    the asker (`OpenedRule` values, encoded); the custodian holds them against the root on the ledger, and whatever
    it refuses follows from them.
    """

    statement: bytes
    permits: tuple[bytes, ...] = ()
    glass_salt: bytes | None = None  # opens the BreakGlass's commitment to this request
    seen: int | None = None  # size of the log that holds what is presented: the custodian's node may be a block behind


class Why(IntEnum):
    """Why a custodian says no. Depends on what the asker presented and on the ledger, never on what is held."""

    MALFORMED = 1
    NOT_FOR_ME = 2  # another ledger, another custodian, or not the member that asks
    STAFF = 3  # certificate or signature does not stand
    ROLE = 4  # this role may not ask this
    PURPOSE = 5  # this kind of member may not ask for this purpose
    NO_CONSENT = 6  # none is open under that id for that handle
    NO_PERMIT = 7  # what was presented does not permit this asker and purpose
    NOT_LIVE = 8  # the ledger could not be shown to be fresh, and grace does not cover it
    GLASS = 9  # no broken glass stands under that tag
    HELD = 10  # a safety hold stands on the handle, for all to see on the ledger
    STALE = 11  # the request is too old, or not yet valid
    NOTHING = 12  # nothing to release under what was presented: none held, none permitted, or not known here


@dataclass(frozen=True, slots=True)
class Answer(Message):
    """Offered (`delivery`, `index` of its mark, or -1 when the mark comes late) or refused (`why`).

    Both forms are padded to a size class, and leave on a grid of time.
    """

    delivery: bytes | None = None
    index: int = -1
    why: Why | None = None
    padding: bytes = b""


@dataclass(frozen=True, slots=True)
class Anchor(Message):
    """Where a fingerprint stands: log `index` of the custodian's AnchorBatch, leaf number, path (16 hashes)."""

    index: int
    position: int
    path: bytes  # joined: a history brings hundreds of these

    def proof(self) -> BatchProof:
        """Raises ValueError when the path is not 16 hashes."""
        return BatchProof.parse(self.position.to_bytes(2, "big") + self.path)


@dataclass(frozen=True, slots=True)
class SentRecord(Message):
    """One record in a bundle. `thing` is the same for all versions; `id` names this one. Both are opaque."""

    thing: bytes
    id: bytes
    version: int
    stored: bytes
    salt: bytes
    anchor: Anchor | None = None  # None: pending, its proof follows
    replaces: bytes | None = None  # the id of the version before


class MarkState(IntEnum):
    """What a patient is told of a mark besides its facts."""

    STANDS = 1
    LATE = 2  # left while the ledger was away; its mark follows, or followed
    VOID = 3  # a number that was reserved and never used


@dataclass(frozen=True, slots=True)
class MarkFacts(Message):
    """What a mark commits to. The ledger has a commitment for each; `salts` (32 bytes each) open them in this order:
    request, decision, consent, n, previous, sealed. `request` is the signed request (`SignedStatement` bytes).

    `previous` is the digest of the facts of the mark before, zero for the first; `sealed` that of the sealed bundle,
    zero for a void mark. `decision` is the encoded list of [record id, decision].
    """

    tag: Tag
    request: bytes
    decision: Digest
    consent: ConsentId
    n: int
    previous: Digest
    sealed: Digest
    salts: tuple[bytes, ...]

    def digest(self) -> Digest:
        """What the next mark calls `previous`."""
        return digest("commonward mark facts v1", self.to_bytes())


@dataclass(frozen=True, slots=True)
class PatientMark(Message):
    """One line of the patient's log, sealed to the patient: a mark's opening, and what it means."""

    custodian: MemberId
    requester: MemberId
    purpose: str
    role: str
    department: str
    number: str  # the opaque number of the staff member
    at: int
    records: int
    kinds: tuple[str, ...]
    state: MarkState
    facts: MarkFacts
    glass: Tag | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle(Message):
    """What a delivery holds once opened. `id` names this release: a leaked copy names it.

    The mark's running number and its predecessor are the patient's business: the requester gets the tag, and what
    opens request, decision and consent.
    """

    id: bytes
    tag: Tag
    request: Digest
    handle: Handle
    consent: ConsentId
    at: int
    decisions: bytes
    salts: tuple[bytes, ...]  # of request, decision, consent
    records: tuple[SentRecord, ...]
    late: bool = False


@dataclass(frozen=True, slots=True)
class Delivery(Message):
    """The bytes that are sent, and sent again: `sealed` opens with the requester's HPKE key to a padded Bundle.

    `salt` opens the mark's commitment to the digest of `sealed`.
    """

    tag: Tag
    sealed: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class OpeningDeposit(Message):
    """A consent's or withdrawal's opening, sealed to `to`. Whoever gets it for another passes it on."""

    to: MemberId
    entry: Digest  # of the Consent or Withdraw transaction
    sealed: bytes


class Extent(IntEnum):
    """How much of a transaction an opening opened."""

    PERMITS = 1  # of a consent, permits that name the addressee
    ALL = 2  # of a consent, all rules; of a withdrawal, what there is


@dataclass(frozen=True, slots=True)
class OpeningAck(Message):
    """The addressee's word that this very deposit reached it, opened and fits the ledger's commitment.

    No signature: a member that passes it on could not reach the addressee yet, and will retry.
    """

    member: MemberId
    entry: Digest
    key: bytes  # key id of the operate key
    signature: bytes  # over `ack_message`; b"" when only kept
    extent: Extent | None = None  # what it opened

    @classmethod
    def waits(cls, deposit: OpeningDeposit) -> "OpeningAck":
        """Not acknowledged yet."""
        return cls(deposit.to, deposit.entry, b"", b"")


def ack_message(ledger: LedgerId, deposit: OpeningDeposit, extent: Extent) -> Digest:
    """What the addressee signs. Bound to the sealed bytes, so that nobody shows it for another opening."""
    facts: list[Encodable] = [ledger, deposit.to, deposit.entry, int(extent)]
    return digest("commonward opening ack v1", encode(facts), deposit.sealed)


def acknowledges(ack: OpeningAck, ledger: LedgerId, deposit: OpeningDeposit, key: tuple[int, bytes] | None) -> bool:
    """Whether an ack is of this deposit, under `key`: (algorithm, public bytes) of the addressee's operate key that it
    names, or None when it names none that counts."""
    if key is None or not ack.signature or ack.extent is None or (ack.member, ack.entry) != (deposit.to, deposit.entry):
        return False
    return verify(key[0], key[1], ack_message(ledger, deposit, ack.extent), ack.signature)


class PaperKind(IntEnum):
    """What a paper for a patient is about."""

    MARK = 1
    RECEIPT = 2
    GLASS = 3
    NOTICE = 4
    LINK = 5


@dataclass(frozen=True, slots=True)
class PatientPaper(Message):
    """Something sealed to a handle's opening key, kept until the patient fetches it."""

    handle: Handle
    kind: PaperKind
    id: bytes
    sealed: bytes
    number: int = 0  # of a mark: its n; of a mailbox paper: its place


@dataclass(frozen=True, slots=True)
class PapersWanted(Message):
    """Asked on a patient's behalf by any member; `proof` is a live passkey's over `digest`, so that nobody else
    learns how many papers there are."""

    ledger: LedgerId
    member: MemberId
    handle: Handle
    at: int
    after: int = 0
    proof: bytes = b""

    def digest(self) -> Digest:
        """Bound to who is asked, and when."""
        facts: list[Encodable] = [self.ledger, self.member, self.handle, self.at, self.after]
        return digest("commonward papers wanted v1", encode(facts))


@dataclass(frozen=True, slots=True)
class Papers(Message):
    papers: tuple[PatientPaper, ...]


@dataclass(frozen=True, slots=True)
class Noted(Message):
    """Kept durably."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class ReceiptFacts(Message):
    """What a receipt commits to, opened to custodian and patient. `salts`: of tag, sealed, decision."""

    requester: MemberId
    tag: Tag
    sealed: Digest
    decision: Digest
    salts: tuple[bytes, ...]
    index: int  # of the Receipt in the log
    at: int


class Fault(IntEnum):
    """Why a record is recalled."""

    CORRECTED = 1
    ERRONEOUS = 2
    MOVED = 3  # it belongs to another patient
    ERASED = 4
    WITHDRAWN = 5


@dataclass(frozen=True, slots=True)
class RecallNotice(Message):
    """From a custodian to one who received a record: do not rely on it any more."""

    id: bytes
    custodian: MemberId
    records: tuple[bytes, ...]  # ids as they stood in the bundles
    fault: Fault
    at: int
    replaced_by: bytes | None = None  # the id of the version that takes its place; a new request brings it


@dataclass(frozen=True, slots=True)
class RecallAck(Message):
    """`signature` by the operate key over digest("commonward recall ack v1", notice bytes)."""

    id: bytes
    member: MemberId
    known: bool  # whether a copy was held
    key: bytes
    algorithm: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class ProofsWanted(Message):
    tag: Tag


@dataclass(frozen=True, slots=True)
class Proofs(Message):
    """(record id, anchor) of what was pending and is anchored now; `index` of the mark if it stands by now."""

    ids: tuple[bytes, ...]
    anchors: tuple[Anchor, ...]
    index: int = -1


@dataclass(frozen=True, slots=True)
class Relayed(Message):
    """What became of a patient's transaction: accepted (0) or a refusal's number; -1 when it never left."""

    code: int
    digest: Digest
    index: int = -1
    why: str = ""


@dataclass(frozen=True, slots=True)
class ConsentOpening(Message):
    """All of a consent, for patient and custodian. `rules` is `RulesTree.open_all`."""

    consent: ConsentId
    rules: bytes
    recipients: tuple[str, ...]
    recipients_salt: bytes
    form: bytes
    form_salt: bytes


@dataclass(frozen=True, slots=True)
class PermitsOpening(Message):
    """For a requester: the permits that name it, each an encoded `OpenedRule` value."""

    consent: ConsentId
    permits: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WithdrawOpening(Message):
    consent: ConsentId
    reason: str
    salt: bytes


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """One of the three, as it is sealed to its reader."""

    consent: ConsentOpening | None = None
    permits: PermitsOpening | None = None
    withdraw: WithdrawOpening | None = None


def opening_info(ledger: LedgerId, to: MemberId, entry: Digest) -> bytes:
    """HPKE info of a sealed opening: it opens for one reader and one transaction alone."""
    return encode(["opening", ledger, to, entry])


def delivery_info(ledger: LedgerId, custodian: MemberId, requester: MemberId, tag: Tag) -> bytes:
    return encode(["delivery", ledger, custodian, requester, tag])


def paper_info(ledger: LedgerId, handle: Handle, kind: PaperKind) -> bytes:
    return encode(["paper", ledger, handle, int(kind)])


def sealed_digest(sealed: bytes) -> Digest:
    """What a mark and a receipt commit to of a delivery."""
    return digest("commonward sealed bundle v1", sealed)


def encounter_commitment(salt: bytes, number: str) -> Digest:
    """Hides the encounter's number; two requests of one encounter carry the same commitment."""
    return digest("commonward encounter v1", salt, number.encode())


NO_CONSENT_ID: Final = ConsentId(bytes(16))
