"""Transactions, bundles and blocks as bytes.

    transaction = [body, proof kind, proof]                 the signed bytes are the stored bytes
    body        = {1: ledger id, 2: kind, 3: nonce, 4: [recent size, recent root], 5: expiry, 6: payload, 7: author}
    bundle      = [carry key id, [transaction ...], signature]
    block       = [[height, time], [bundle ...]], and behind it, where consensus proved some false, [address ...]

Transactions within bundles, and bundles within blocks, are byte strings, so that each is decoded once by who needs it.
The digest of the body is the transaction's name and its replay key. The body names its author (the key that signs, by
id, or the passkey, by `author_of_passkey`): else whoever sees a body could sign it too, and take its digest, or its
place in the log, for himself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from commonward.ledger.audit import BreakGlass, Erased, LogRoot, Receipt, Release, Review
from commonward.ledger.consent import (
    Consent,
    EndMandate,
    Enrol,
    Mandate,
    RotatePasskey,
    StartRecovery,
    StopRecovery,
    Withdraw,
)
from commonward.ledger.encoding import Digest, EncodingError, Value, decode, digest, encode
from commonward.ledger.ids import BlockTime, Height, KeyId, LedgerId
from commonward.ledger.members import AddKey, Equivocation, Propose, RevokeKey, RevokeStaff, Vote
from commonward.ledger.refusals import Malformed, TooLarge, UnknownKind
from commonward.ledger.registry import AnchorBatch, AnchorPublic
from commonward.ledger.rounds.transactions import (
    ApproveStudy,
    CloseStudy,
    Countersign,
    Dispute,
    EnrolSite,
    LeaveStudy,
    Manifest,
    MaskKeys,
    ProposeStudy,
    SubmitUpdate,
)
from commonward.ledger.rules import Header, author_of_passkey
from commonward.ledger.wire import MAX_TIME, Payload

__all__ = [
    "KINDS",
    "TRANSACTIONS",
    "AddKey",
    "AnchorBatch",
    "AnchorPublic",
    "ApproveStudy",
    "Block",
    "BreakGlass",
    "Bundle",
    "CloseStudy",
    "Consent",
    "Countersign",
    "Dispute",
    "EndMandate",
    "Enrol",
    "EnrolSite",
    "Equivocation",
    "Erased",
    "Header",
    "InvalidBlock",
    "LeaveStudy",
    "LogRoot",
    "Mandate",
    "Manifest",
    "MaskKeys",
    "Payload",
    "Propose",
    "ProposeStudy",
    "Receipt",
    "Recent",
    "Release",
    "Review",
    "RevokeKey",
    "RevokeStaff",
    "RotatePasskey",
    "StartRecovery",
    "StopRecovery",
    "SubmitUpdate",
    "Transaction",
    "Vote",
    "Withdraw",
    "assemble",
    "author_of_passkey",
    "build_block",
    "build_body",
    "build_bundle",
    "bundle_digest",
    "parse_block",
    "parse_bundle",
    "parse_transaction",
    "transaction_digest",
    "unreadable_digest",
]

TRANSACTIONS: Final[tuple[type[Payload], ...]] = (
    Propose,
    Vote,
    AddKey,
    RevokeKey,
    RevokeStaff,
    Equivocation,
    AnchorBatch,
    AnchorPublic,
    Enrol,
    RotatePasskey,
    StartRecovery,
    StopRecovery,
    Mandate,
    EndMandate,
    Consent,
    Withdraw,
    Release,
    Receipt,
    BreakGlass,
    Review,
    Erased,
    LogRoot,
    ProposeStudy,
    ApproveStudy,
    EnrolSite,
    Manifest,
    MaskKeys,
    SubmitUpdate,
    Countersign,
    Dispute,
    LeaveStudy,
    CloseStudy,
)
KINDS: Final[dict[int, type[Payload]]] = {each.KIND: each for each in TRANSACTIONS}

MAX_TRANSACTION: Final = max(each.MAX_BYTES for each in TRANSACTIONS)
MAX_BUNDLE_TRANSACTIONS: Final = 256
MAX_BUNDLE_BYTES: Final = 256 * 1024

NONCE_BYTES: Final = 16
ADDRESS_BYTES: Final = 20
MAX_MISBEHAVED: Final = 1024


class InvalidBlock(ValueError):
    """Not a block that an honest proposer makes: it is not applied, and who signs it is at fault."""


class Recent(NamedTuple):
    """A checkpoint that the author had seen: proves "signed after"."""

    size: int
    root: Digest


class Transaction(NamedTuple):
    """A transaction that was read. All that is known of it is that `payload` has the form of its kind."""

    raw: bytes
    body_bytes: bytes
    digest: Digest
    kind: int
    nonce: bytes
    recent: Recent
    expiry: BlockTime
    payload: Payload
    author: Digest
    ledger: LedgerId
    proof_kind: int
    proof: bytes


def transaction_digest(body: bytes) -> Digest:
    """The name of a transaction: what its author signs."""
    return digest("commonward transaction v1", body)


def unreadable_digest(raw: bytes) -> Digest:
    """What stands in the log for bytes that no body could be read from."""
    return digest("commonward unreadable transaction v1", raw)


def parse_transaction(raw: bytes, kinds: Mapping[int, type[Payload]] = KINDS) -> Transaction:
    """`kinds`: those of the version of the rules it is read by. Raises Malformed, TooLarge or UnknownKind."""
    if len(raw) > MAX_TRANSACTION:
        raise TooLarge("a transaction", len(raw), MAX_TRANSACTION)
    try:
        outer = decode(raw)
        if type(outer) is not list or len(outer) != 3:
            raise Malformed("expected [body, proof kind, proof]")
        body_bytes, proof_kind, proof = outer
        if type(body_bytes) is not bytes or type(proof_kind) is not int or type(proof) is not bytes:
            raise Malformed("expected [body, proof kind, proof] as bytes, a number and bytes")
        body = decode(body_bytes)
    except EncodingError as cause:
        raise Malformed(cause.what, cause.offset) from cause
    if type(body) is not dict or len(body) != 7:
        raise Malformed("expected a body of seven fields")
    try:
        ledger, kind, nonce = body[1], body[2], body[3]
        recent, expiry, fields, author = body[4], body[5], body[6], body[7]
    except KeyError as cause:
        raise Malformed(f"expected field {cause} in the body") from None
    if type(ledger) is not bytes or len(ledger) != 32 or type(author) is not bytes or len(author) != 32:
        raise Malformed("expected ledger id and author of 32 bytes each")
    if type(nonce) is not bytes or len(nonce) != NONCE_BYTES:
        raise Malformed(f"expected a nonce of {NONCE_BYTES} bytes")
    if type(expiry) is not int or not 0 <= expiry <= MAX_TIME:
        raise Malformed("expected an expiry in milliseconds since 1970")
    if type(recent) is not list or len(recent) != 2:
        raise Malformed("expected a recent checkpoint as [size, root]")
    size, root = recent
    if type(size) is not int or not 0 <= size <= MAX_TIME or type(root) is not bytes or len(root) != 32:
        raise Malformed("expected a recent checkpoint as [size, root of 32 bytes]")
    if type(kind) is not int:
        raise Malformed("expected a kind as a number")
    kind_of = kinds.get(kind)
    if kind_of is None:
        raise UnknownKind(kind)
    if len(raw) > kind_of.MAX_BYTES:
        raise TooLarge(f"a {kind_of.__name__}", len(raw), kind_of.MAX_BYTES)
    try:
        payload = kind_of.from_value(fields)
    except ValueError as cause:
        raise Malformed(str(cause)) from cause
    return Transaction(
        raw, body_bytes, transaction_digest(body_bytes), kind, nonce, Recent(size, Digest(root)), BlockTime(expiry),
        payload, Digest(author), LedgerId(ledger), proof_kind, proof,
    )  # fmt: skip


def build_body(
    ledger: LedgerId, payload: Payload, nonce: bytes, recent: tuple[int, bytes], expiry: int, *, author: bytes
) -> bytes:
    """The bytes to sign. `author`: the key id of the member key that will sign, or `author_of_passkey`."""
    return encode({1: ledger, 2: payload.KIND, 3: nonce, 4: recent, 5: expiry, 6: payload.to_value(), 7: author})


def assemble(body: bytes, proof_kind: int, proof: bytes) -> bytes:
    return encode([body, int(proof_kind), proof])


# ------------------------------------------------------------------------------------------------- bundles and blocks


class Bundle(NamedTuple):
    """What one member carries into a block, and is charged for."""

    carrier: KeyId
    transactions: tuple[bytes, ...]
    signature: bytes
    digest: Digest


class Block(NamedTuple):
    """`misbehaved`: addresses (20 bytes) of validators that consensus has proof against; never on solo."""

    header: Header
    bundles: tuple[Bundle, ...]
    misbehaved: tuple[bytes, ...] = ()


def bundle_digest(ledger: LedgerId, transactions: Sequence[bytes]) -> Digest:
    """What a member's carry key signs."""
    return digest("commonward bundle v1", ledger, encode(tuple(transactions)))


def build_bundle(
    ledger: LedgerId, carrier: KeyId, transactions: Sequence[bytes], sign: Callable[[bytes], bytes]
) -> bytes:
    """`sign`: with the carry key over the digest, 64 bytes."""
    return encode([carrier, tuple(transactions), sign(bundle_digest(ledger, transactions))])


def parse_bundle(data: bytes, ledger: LedgerId) -> Bundle:
    """Raises ValueError. The signature is not judged."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise ValueError(f"expected a bundle of at most {MAX_BUNDLE_BYTES} bytes, got {len(data)}")
    match decode(data):
        case [bytes(carrier), list(transactions), bytes(signature)] if len(carrier) == 32:
            if not 1 <= len(transactions) <= MAX_BUNDLE_TRANSACTIONS:
                raise ValueError(
                    f"expected 1 to {MAX_BUNDLE_TRANSACTIONS} transactions in a bundle, got {len(transactions)}"
                )
            raws = tuple(each for each in transactions if type(each) is bytes)
            if len(raws) == len(transactions):
                return Bundle(KeyId(carrier), raws, signature, bundle_digest(ledger, raws))
    raise ValueError("expected a bundle [carry key id, [transaction ...], signature]")


def build_block(header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> bytes:
    if misbehaved:
        return encode([tuple(header), tuple(bundles), tuple(misbehaved)])
    return encode([tuple(header), tuple(bundles)])


def parse_block(data: bytes, ledger: LedgerId, read_bundle: Callable[[bytes], Bundle] | None = None) -> Block:
    """Raises InvalidBlock. Neither header nor signatures are judged. `read_bundle`: stands for `parse_bundle`."""
    read_bundle = read_bundle or (lambda data: parse_bundle(data, ledger))
    try:
        match decode(data):
            case [[int(height), int(time)], list(bundles), *more] if 0 <= height <= MAX_TIME and 0 <= time <= MAX_TIME:
                read = tuple(read_bundle(each) for each in bundles if type(each) is bytes)
                misbehaved = _addresses(more)
                if len(read) == len(bundles) and misbehaved is not None:
                    return Block(Header(Height(height), BlockTime(time)), read, misbehaved)
    except ValueError as cause:
        raise InvalidBlock(str(cause)) from cause
    raise InvalidBlock("expected a block [[height, time], [bundle ...]], or with [address of a validator ...] behind")


def _addresses(more: Sequence[Value]) -> tuple[bytes, ...] | None:
    """None unless it is nothing, or one list of addresses that is not empty: there is one way to write a block."""
    match more:
        case []:
            return ()
        case [[*addresses]] if 0 < len(addresses) <= MAX_MISBEHAVED:
            found = tuple(each for each in addresses if type(each) is bytes and len(each) == ADDRESS_BYTES)
            return found if len(found) == len(addresses) else None
    return None
