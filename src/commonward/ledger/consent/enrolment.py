"""How a passkey comes to speak for a handle: enrolment, rotation, recovery, mandates."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from commonward.ledger.consent.handles import (
    MAX_MANDATES,
    MAX_OWN,
    Credential,
    HandleRecord,
    Handles,
    HandleTaken,
    NotItsHandle,
    Recovery,
    TooManyKeys,
)
from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    CredentialId,
    Digest,
    Handle,
    KeyId,
    LedgerId,
    MemberId,
    Purpose,
    parse_credential_id,
    parse_digest,
    parse_handle,
    parse_key_id,
)
from commonward.ledger.members import Roll
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.possession import (
    PasskeyPurpose,
    check_passkey_possession,
    cosignature_digest,
    possession_digest,
)
from commonward.ledger.proofs import BadKey, check_public_key, verify
from commonward.ledger.refusals import BadPossession, Refusal
from commonward.ledger.rules import Header, MemberSigner, PasskeySigner, Role, author_of_passkey
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Payload,
    Signer,
    Struct,
    choice,
    nested,
    octets,
    parsed,
    struct,
    wire,
)

# ------------------------------------------------------------------------------------------------------------ refusals


@dataclass(eq=False)
class RecoveryPending(Refusal):
    code: ClassVar[int] = 411
    handle: bytes
    at: int

    def __str__(self) -> str:
        return f"a recovery of handle {self.handle.hex()} is under way and takes effect at {self.at} ms"


@dataclass(eq=False)
class NoRecoveryPending(Refusal):
    code: ClassVar[int] = 412
    handle: bytes

    def __str__(self) -> str:
        return f"no recovery of handle {self.handle.hex()} is under way"


@dataclass(eq=False)
class SecondMemberNeeded(Refusal):
    code: ClassVar[int] = 413
    what: str

    def __str__(self) -> str:
        return f"a recovery takes two members: {self.what}"


@dataclass(eq=False)
class MandateOutOfBounds(Refusal):
    code: ClassVar[int] = 414
    end: int
    now: int
    latest: int

    def __str__(self) -> str:
        return f"a mandate made at {self.now} ms ends after that and by {self.latest} ms, not at {self.end} ms"


@dataclass(eq=False)
class NoMandate(Refusal):
    code: ClassVar[int] = 415
    author: bytes

    def __str__(self) -> str:
        return f"passkey {self.author.hex()} holds no mandate for this handle (any more)"


@dataclass(eq=False)
class NotYourMandate(Refusal):
    code: ClassVar[int] = 416
    author: bytes

    def __str__(self) -> str:
        return (
            f"the mandate of passkey {self.author.hex()} is ended by the handle's own key, by the representative, by "
            "the member that registered it or by the one that enrolled the handle"
        )


# -------------------------------------------------------------------------------------------------------- transactions


@struct
class Passkey(Struct):
    """A new passkey. `possession`: a passkey proof over `possession_digest(ledger, handle, purpose, ...)`."""

    credential: CredentialId = wire(1, parsed(parse_credential_id))
    algorithm: Algorithm = wire(2, choice(Algorithm))
    public: bytes = wire(3, octets(32, 64))
    possession: bytes = wire(4, octets(1, 4096))

    @property
    def author(self) -> Digest:
        return author_of_passkey(self.credential)


@struct
class Cosigned(Struct):
    """Another member's consent to a recovery: `signature` over `cosignature_digest` by its operate key `key`."""

    key: KeyId = wire(1, parsed(parse_key_id))
    until: BlockTime = wire(2, TIME)
    signature: bytes = wire(3, octets(64))


@struct
class Enrol(Payload):
    """Binds a first passkey and a sealing key (X25519) to a handle. `identity`: commitment to the identity check."""

    KIND: ClassVar[int] = 32
    SECOND_SIGNATURES: ClassVar[int] = 1
    handle: Handle = wire(1, parsed(parse_handle))
    passkey: Passkey = wire(2, nested(Passkey))
    sealing: bytes = wire(3, octets(32))
    identity: Digest = wire(4, DIGEST)


@struct
class RotatePasskey(Payload):
    """A passkey names the next: in its own place, or with `keep` beside it. `sealing`: a new sealing key, if any."""

    KIND: ClassVar[int] = 33
    SIGNED_BY: ClassVar[Signer] = Signer.PASSKEY
    SECOND_SIGNATURES: ClassVar[int] = 1
    passkey: Passkey = wire(1, nested(Passkey))
    keep: bool = wire(2, FLAG)
    sealing: bytes | None = wire(3, octets(32), default=None)


@struct
class StartRecovery(Payload):
    """For a patient whose passkeys are lost: this one takes the place of all, after a wait, if none of them objects."""

    KIND: ClassVar[int] = 34
    SECOND_SIGNATURES: ClassVar[int] = 2
    handle: Handle = wire(1, parsed(parse_handle))
    passkey: Passkey = wire(2, nested(Passkey))
    sealing: bytes = wire(3, octets(32))
    evidence: Digest = wire(4, DIGEST)
    second: Cosigned | None = wire(5, nested(Cosigned), default=None)


@struct
class StopRecovery(Payload):
    """The veto of any key of the handle, a representative's included."""

    KIND: ClassVar[int] = 35
    SIGNED_BY: ClassVar[Signer] = Signer.PASSKEY
    handle: Handle = wire(1, parsed(parse_handle))


@struct
class Mandate(Payload):
    """A representative's passkey speaks for the handle until `end`. `scope`, `evidence`: commitments."""

    KIND: ClassVar[int] = 36
    SECOND_SIGNATURES: ClassVar[int] = 1
    handle: Handle = wire(1, parsed(parse_handle))
    passkey: Passkey = wire(2, nested(Passkey))
    sealing: bytes = wire(3, octets(32))
    end: BlockTime = wire(4, TIME)
    scope: Digest = wire(5, DIGEST)
    evidence: Digest = wire(6, DIGEST)


@struct
class EndMandate(Payload):
    """`author`: of the representative's passkey. By either party, or a member that had a hand in it."""

    KIND: ClassVar[int] = 37
    SIGNED_BY: ClassVar[Signer] = Signer.EITHER
    handle: Handle = wire(1, parsed(parse_handle))
    author: Digest = wire(2, parsed(parse_digest))
    reason: Digest = wire(3, DIGEST)


# --------------------------------------------------------------------------------------------------------------- rules


class SigningPages(NamedTuple):
    """What a passkey's assertion is held against: SHA-256 of the RP ID, and the origins of active members' pages."""

    ledger: LedgerId
    rp_id_hash: bytes
    origins: tuple[str, ...]


def _check_passkey(new: Passkey, handle: Handle, purpose: PasskeyPurpose, pages: SigningPages) -> None:
    wanted = possession_digest(pages.ledger, handle, purpose, new.algorithm, new.public)
    check_passkey_possession(
        wanted, new.credential, new.algorithm, new.public, new.possession, pages.rp_id_hash, pages.origins
    )


def _check_sealing(public: bytes) -> None:
    try:
        check_public_key(Algorithm.X25519, public)
    except BadKey as cause:
        raise BadPossession(f"sealing key: {cause}") from cause


def enrol(asked: Enrol, signer: MemberSigner, *, handles: Handles, pages: SigningPages) -> None:
    known = handles.get(asked.handle)
    if known is not None and (known.own or known.recovery is not None or known.member != signer.member):
        raise HandleTaken(asked.handle)
    _check_sealing(asked.sealing)
    _check_passkey(asked.passkey, asked.handle, PasskeyPurpose.OWN, pages)
    new = asked.passkey
    handles.add_credential(new.author, Credential(asked.handle, Role.OWN, new.algorithm, new.public, signer.member))
    if known is None:
        record = HandleRecord(signer.member, (new.author,), (), (), asked.sealing)
    else:
        record = known.but(own=(new.author,), sealing=asked.sealing)
    handles.put(asked.handle, record)


def rotate_passkey(
    asked: RotatePasskey, signer: PasskeySigner, *, handles: Handles, dues: Dues, pages: SigningPages
) -> None:
    record = handles.get(signer.handle)
    old = handles.credential(signer.author)
    assert record is not None and old is not None  # the signer was found there
    new = asked.passkey
    purpose = PasskeyPurpose.OWN if signer.role == Role.OWN else PasskeyPurpose.REPRESENTATIVE
    if asked.sealing is not None:
        _check_sealing(asked.sealing)
    _check_passkey(new, signer.handle, purpose, pages)
    if signer.role == Role.OWN:
        if asked.keep and len(record.own) >= MAX_OWN:
            raise TooManyKeys(MAX_OWN)
        stay = record.own if asked.keep else tuple(author for author in record.own if author != signer.author)
        changed = record.but(own=(*stay, new.author), sealing=asked.sealing or record.sealing)
    else:  # a mandate is one key's: the next takes its place and its end
        others = tuple(author for author in record.mandates if author != signer.author)
        changed = record.but(mandates=(*others, new.author))
    handles.add_credential(
        new.author,
        Credential(
            signer.handle, old.role, new.algorithm, new.public, old.member, old.ends,
            (asked.sealing or old.sealing) if signer.role == Role.REPRESENTATIVE else None,
        ),
    )  # fmt: skip
    if signer.role == Role.REPRESENTATIVE or not asked.keep:
        handles.drop_credential(signer.author)
    if old.ends is not None:
        dues.add(old.ends, DueKind.MANDATE_ENDS, new.author)
    handles.put(signer.handle, changed)


def start_recovery(
    asked: StartRecovery,
    signer: MemberSigner,
    header: Header,
    *,
    handles: Handles,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
    pages: SigningPages,
    pilot: bool,
) -> None:
    record = handles.enrolled(asked.handle)
    if record.recovery is not None:
        raise RecoveryPending(asked.handle, record.recovery.at)
    second = _second_member(asked, signer, header, roll=roll, ledger=pages.ledger, pilot=pilot)
    _check_sealing(asked.sealing)
    _check_passkey(asked.passkey, asked.handle, PasskeyPurpose.RECOVERY, pages)
    new = asked.passkey
    at = BlockTime(header.time + parameters[Parameter.RECOVERY_WAIT])
    handles.add_credential(
        new.author,
        Credential(asked.handle, Role.PENDING, new.algorithm, new.public, signer.member, None, asked.sealing),
    )
    handles.put(asked.handle, record.but(recovery=Recovery(new.author, at, signer.member, second)))
    dues.add(at, DueKind.RECOVERY_TAKES_EFFECT, asked.handle)


def _second_member(
    asked: StartRecovery, signer: MemberSigner, header: Header, *, roll: Roll, ledger: LedgerId, pilot: bool
) -> MemberId | None:
    if asked.second is None:
        if pilot:
            return None
        raise SecondMemberNeeded("expected the co-signature of another member, got none")
    key = roll.key(asked.second.key)
    if key is None or key.purpose != Purpose.OPERATE or not key.covers(header.time):
        raise SecondMemberNeeded("expected a live operate key of another member")
    if key.member == signer.member or not roll.must(key.member).active:
        raise SecondMemberNeeded(f"expected another active member, got {key.member}")
    if asked.second.until <= header.time:
        raise SecondMemberNeeded(f"the co-signature ended at {asked.second.until} ms; now is {header.time} ms")
    passkey = asked.passkey
    wanted = cosignature_digest(ledger, asked.handle, passkey.algorithm, passkey.public, asked.second.until)
    if not verify(key.algorithm, key.public, wanted, asked.second.signature):
        raise SecondMemberNeeded(f"the co-signature is not that of {key.member} over this key and handle")
    return key.member


def stop_recovery(asked: StopRecovery, signer: PasskeySigner, *, handles: Handles) -> None:
    if signer.handle != asked.handle:
        raise NotItsHandle(asked.handle)
    record = handles.get(asked.handle)
    if record is None or record.recovery is None:
        raise NoRecoveryPending(asked.handle)
    handles.drop_credential(record.recovery.author)
    handles.put(asked.handle, record.but(recovery=None))


def recovery_takes_effect(handle: Handle, now: int, *, handles: Handles) -> None:
    """Due: the new passkey stands in place of all the handle's own. Mandates and consents stay as they are."""
    record = handles.get(handle)
    if record is None or record.recovery is None or record.recovery.at > now:
        return  # stopped, or a later one is under way
    author = record.recovery.author
    new = handles.credential(author)
    assert new is not None
    for old in record.own:
        handles.drop_credential(old)
    handles.drop_credential(author)
    handles.add_credential(author, Credential(handle, Role.OWN, new.algorithm, new.public, new.member))
    handles.put(handle, record.but(own=(author,), sealing=new.sealing, recovery=None))


def mandate(
    asked: Mandate,
    signer: MemberSigner,
    header: Header,
    *,
    handles: Handles,
    dues: Dues,
    parameters: Parameters,
    pages: SigningPages,
) -> None:
    """For a handle that nobody has used yet as well: a child has no passkey of its own."""
    record = handles.get(asked.handle) or HandleRecord(signer.member, (), (), ())
    latest = header.time + parameters[Parameter.MANDATE_LASTS]
    if not header.time < asked.end <= latest:
        raise MandateOutOfBounds(asked.end, header.time, latest)
    if len(record.mandates) >= MAX_MANDATES:
        raise TooManyKeys(MAX_MANDATES)
    _check_sealing(asked.sealing)
    _check_passkey(asked.passkey, asked.handle, PasskeyPurpose.REPRESENTATIVE, pages)
    new = asked.passkey
    handles.add_credential(
        new.author,
        Credential(
            asked.handle, Role.REPRESENTATIVE, new.algorithm, new.public, signer.member, asked.end, asked.sealing
        ),
    )
    handles.put(asked.handle, record.but(mandates=(*record.mandates, new.author)))
    dues.add(asked.end, DueKind.MANDATE_ENDS, new.author)


def end_mandate(asked: EndMandate, signer: MemberSigner | PasskeySigner, *, handles: Handles) -> None:
    record = handles.get(asked.handle)
    held = handles.credential(asked.author)
    if record is None or held is None or asked.author not in record.mandates:
        raise NoMandate(asked.author)
    if isinstance(signer, MemberSigner):
        if signer.member not in (held.member, record.member):
            raise NotYourMandate(asked.author)
    elif signer.handle != asked.handle or (signer.role != Role.OWN and signer.author != asked.author):
        raise NotYourMandate(asked.author)
    _drop_mandate(asked.author, held, record, handles)


def mandate_ends(author: Digest, now: int, *, handles: Handles) -> None:
    """Due: a mandate past its end leaves the state (it stopped counting when it ended)."""
    held = handles.credential(author)
    if held is None or held.ends is None or held.ends > now:
        return
    record = handles.get(held.handle)
    assert record is not None
    _drop_mandate(author, held, record, handles)


def _drop_mandate(author: Digest, held: Credential, record: HandleRecord, handles: Handles) -> None:
    handles.drop_credential(author)
    handles.put(held.handle, record.but(mandates=tuple(each for each in record.mandates if each != author)))
