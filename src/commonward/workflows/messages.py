"""What members say to each other, and what is sealed inside: the peer protocol, one dataclass a message.

Bytes on the wire are `workflows.wire` maps. Whatever is signed or hashed goes through a label of its own. Times
are ms since the Unix epoch. Nothing here is on the ledger; the ledger carries commitments to some of it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from commonward.ledger.encoding import digest, encode
from commonward.ledger.ids import ConsentId, Digest, Handle, LedgerId, MemberId, Tag
from commonward.workflows.wire import Message

# Paths of the peer protocol. Each takes one message and gives one; asking again is always safe.
ASK: Final = "release"  # SignedRequest -> Answer
OPENING: Final = "opening"  # OpeningDeposit -> OpeningAck
MAILBOX_PUT: Final = "mailbox/put"  # PatientPaper -> Noted
MAILBOX_LIST: Final = "mailbox/list"  # PapersWanted -> Papers
MARKS: Final = "marks"  # PapersWanted -> Papers: the sealed openings of a handle's marks, by n
RECEIPT: Final = "receipt"  # ReceiptNotice -> Noted
RECALL: Final = "recall"  # RecallNotice -> RecallAck
LATER_PROOFS: Final = "proofs"  # ProofsWanted -> Proofs: what was pending when it was released
LATE_MARK: Final = "late-mark"  # LateMark -> Noted


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
class SignedRequest(Message):
    """`request` are a Request's bytes; `certificate` is DER; `signature` covers the request's digest.

    `recipient` is the X25519 key of the requester to which the answer is sealed; it must be registered.
    `trial`, if given, opens the consent's permits that name the requester, should the custodian lack them.
    """

    request: bytes
    certificate: bytes
    signature: bytes

    def digest(self) -> Digest:
        return digest("commonward request v1", self.request)


class Why(IntEnum):
    """Why a custodian says no. Depends on what the asker presented and on the ledger, never on what is held."""

    MALFORMED = 1
    NOT_FOR_ME = 2  # another ledger, another custodian, or not the member that asks
    STAFF = 3  # certificate or signature does not stand
    ROLE = 4  # this role may not ask this
    PURPOSE = 5  # this kind of member may not ask for this purpose
    NO_CONSENT = 6  # none is open under that id, or it does not permit this asker and purpose
    NOT_LIVE = 7  # the ledger could not be shown to be fresh, and grace does not cover it
    GLASS = 8  # no broken glass stands under that tag
    WAIT = 9  # something the patient signed has not reached the custodian yet: ask again later
    STALE = 10  # the request is too old, or not yet valid


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
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SentRecord(Message):
    """One record in a bundle. `thing` is the same for all versions; `id` names this one. Both are opaque."""

    thing: bytes
    id: bytes
    version: int
    stored: bytes
    salt: bytes
    anchor: Anchor | None = None  # None: pending, its proof follows


@dataclass(frozen=True, slots=True)
class MarkFacts(Message):
    """What a mark commits to: each field is a commitment's value on the ledger, with the salt that opens it."""

    tag: Tag
    n: int
    previous: Digest  # of the mark before: digest of its facts; zero for the first
    request: Digest
    decision: bytes
    consent: bytes
    sealed: Digest  # of the bundle sealed to the requester
    salts: tuple[bytes, ...]  # 32 bytes each: request, decision, consent, n, previous, sealed

    def digest(self) -> Digest:
        """What the next mark calls `previous`."""
        return digest("commonward mark facts v1", self.to_bytes())


@dataclass(frozen=True, slots=True)
class Bundle(Message):
    """What a delivery holds once opened. `id` names this release: a leaked copy names it.

    The mark's running number and its predecessor are the patient's business: the requester gets the tag alone.
    """

    id: bytes
    tag: Tag
    request: Digest
    decision: bytes
    decision_salt: bytes
    request_salt: bytes
    handle: Handle
    at: int
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


@dataclass(frozen=True, slots=True)
class OpeningAck(Message):
    """The addressee's word that the opening reached it, opened and fits the ledger's commitment.

    `kept` alone (no signature): a member that passes it on could not reach the addressee yet, and will retry.
    """

    member: MemberId
    entry: Digest
    key: bytes  # key id of the operate key
    signature: bytes  # over digest("commonward opening ack v1", ledger id, entry); b"" when only kept
    algorithm: int = 0


def ack_message(ledger: LedgerId, entry: Digest) -> Digest:
    return digest("commonward opening ack v1", ledger, entry)


class PaperKind(IntEnum):
    """What a paper for a patient is about."""

    MARK = 1
    RECEIPT = 2
    GLASS = 3
    NOTICE = 4


@dataclass(frozen=True, slots=True)
class PatientPaper(Message):
    """Something sealed to a handle's opening key, kept until the patient fetches it."""

    handle: Handle
    kind: PaperKind
    id: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class PapersWanted(Message):
    handle: Handle
    after: bytes = b""


@dataclass(frozen=True, slots=True)
class Papers(Message):
    papers: tuple[PatientPaper, ...]


@dataclass(frozen=True, slots=True)
class Noted(Message):
    """Kept durably."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class ReceiptNotice(Message):
    """Tells the custodian which log entry holds the receipt for a tag, and opens it."""

    tag: Tag
    index: int
    salts: tuple[bytes, ...]
    decision: bytes


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


def encounter_commitment(salt: bytes, number: str) -> Digest:
    """Hides the encounter's number; two requests of one encounter carry the same commitment."""
    return digest("commonward encounter v1", salt, number.encode())


def padded(message: bytes, size: int) -> bytes:
    """A length-prefixed message filled with zeros to `size` bytes."""
    if len(message) + 4 > size:
        raise ValueError(f"a message of {len(message)} bytes does not fit {size}")
    return len(message).to_bytes(4, "big") + message + bytes(size - 4 - len(message))


def unpadded(data: bytes) -> bytes:
    """Raises ValueError unless the filling is zero: what is sealed has one form."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 or length > len(data) - 4 or any(data[4 + length :]):
        raise ValueError("padding is not as it should be")
    return data[4 : 4 + length]


NO_CONSENT_ID: Final = ConsentId(bytes(16))

_ = encode
