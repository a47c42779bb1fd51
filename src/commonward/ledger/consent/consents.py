"""Consents: made, held and withdrawn. The ledger knows that one is open, and nothing of what it permits.

A consent commits to a Merkle root of salted rules; who may see which is opened off the ledger. A safety hold is a
consent that only denies: while a handle has one open, custodians release nothing for it. Any live key of the handle
places one at once; it is lifted only by the handle's own key or by who placed it, so that of two representatives
deny wins.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple

from commonward.ledger.consent.handles import HandleRecord, Handles, HandleUnknown, NotItsHandle
from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import (
    BlockTime,
    ConsentId,
    Digest,
    Handle,
    Height,
    MemberId,
    parse_consent_id,
    parse_digest,
    parse_handle,
    parse_height,
    parse_member_id,
)
from commonward.ledger.members import Roll
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import DAY, Cells, Header, MemberSigner, PasskeySigner, Role
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

MAX_HOLDS: Final = 16


class Assurance(IntEnum):
    """How sure we are that it was the patient. Policy says which each class of data needs."""

    WITNESSED = 1  # a form, two staff signatures inside, by a member's operate key
    REPRESENTATIVE = 2
    PASSKEY = 3


@dataclass(eq=False)
class ConsentTaken(Refusal):
    code: ClassVar[int] = 421
    consent: bytes

    def __str__(self) -> str:
        return f"consent {self.consent.hex()} is open already: take a new id"


@dataclass(eq=False)
class WrongAssurance(Refusal):
    code: ClassVar[int] = 422
    claimed: int
    proven: int

    def __str__(self) -> str:
        return f"this proof gives assurance {self.proven}; the consent claims {self.claimed}"


@dataclass(eq=False)
class AssuranceTooLow(Refusal):
    code: ClassVar[int] = 423
    assurance: int
    minimal: int

    def __str__(self) -> str:
        return f"the consortium asks for assurance {self.minimal} at least, got {self.assurance}"


@dataclass(eq=False)
class EndOutOfBounds(Refusal):
    code: ClassVar[int] = 424
    end: int
    now: int
    latest: int

    def __str__(self) -> str:
        return (
            f"a consent made at {self.now} ms ends at a midnight (UTC) after that and by {self.latest} ms, "
            f"not at {self.end} ms"
        )


@dataclass(eq=False)
class ConsentNotOpen(Refusal):
    """Withdrawn, ended, or never made."""

    code: ClassVar[int] = 425
    consent: bytes

    def __str__(self) -> str:
        return f"no consent {self.consent.hex()} is open"


@dataclass(eq=False)
class NotYourHold(Refusal):
    code: ClassVar[int] = 426
    consent: bytes

    def __str__(self) -> str:
        return f"safety hold {self.consent.hex()} is lifted by the handle's own key or by who placed it"


@dataclass(eq=False)
class UnknownSite(Refusal):
    code: ClassVar[int] = 427
    site: str

    def __str__(self) -> str:
        return f"a research consent names a site that is a member; {self.site} is not"


@dataclass(eq=False)
class TooManyHolds(Refusal):
    code: ClassVar[int] = 428
    most: int

    def __str__(self) -> str:
        return f"a handle has at most {self.most} safety holds open"


@dataclass(eq=False)
class ResearchHandle(Refusal):
    """One patient counts once, and what a patient studies shows nothing of what else they consent to."""

    code: ClassVar[int] = 429
    handle: bytes

    def __str__(self) -> str:
        return f"handle {self.handle.hex()} has a research consent open: take a handle of its own for each"


@struct
class Research(Struct):
    """A research consent names its study (16 bytes) and site in clear."""

    study: bytes = wire(1, octets(16))
    site: MemberId = wire(2, parsed(parse_member_id))


@struct
class Consent(Payload):
    """`end`: a midnight UTC (ms), so that it tells little. `rules`, `recipients`, `form`: commitments."""

    KIND: ClassVar[int] = 38
    SIGNED_BY: ClassVar[Signer] = Signer.EITHER
    id: ConsentId = wire(1, parsed(parse_consent_id))
    handle: Handle = wire(2, parsed(parse_handle))
    assurance: Assurance = wire(3, choice(Assurance))
    end: BlockTime = wire(4, TIME)
    rules: Digest = wire(5, DIGEST)
    recipients: Digest = wire(6, DIGEST)
    form: Digest = wire(7, DIGEST)
    hold: bool = wire(8, FLAG)
    research: Research | None = wire(9, nested(Research), default=None)


@struct
class Withdraw(Payload):
    """Ends a consent, or lifts a safety hold, by name. `reason`: commitment."""

    KIND: ClassVar[int] = 39
    SIGNED_BY: ClassVar[Signer] = Signer.EITHER
    id: ConsentId = wire(1, parsed(parse_consent_id))
    reason: Digest = wire(2, DIGEST)


@struct
class ConsentRecord(Struct):
    """An open consent. `author`: of the passkey, or `member` for a witnessed one."""

    handle: Handle = wire(1, parsed(parse_handle))
    assurance: Assurance = wire(2, choice(Assurance))
    end: BlockTime = wire(3, TIME)
    rules: Digest = wire(4, DIGEST)
    hold: bool = wire(5, FLAG)
    height: Height = wire(6, parsed(parse_height))
    made: BlockTime = wire(7, TIME)
    author: Digest | None = wire(8, parsed(parse_digest), default=None)
    member: MemberId | None = wire(9, parsed(parse_member_id), default=None)
    research: Research | None = wire(10, nested(Research), default=None)

    def live(self, at: int) -> bool:
        """Withdrawn ones are not in the state; ended ones may still be."""
        return self.made <= at < self.end


class SiteCount(NamedTuple):
    """Of a study at a site: open consents, and height and header time (ms) of the last block in which one was
    withdrawn, ended or put on hold; 0: none yet."""

    open: int
    last_withdrawal: int
    withdrawn_at: int


def consent_key(consent: bytes) -> bytes:
    return b"consent/" + consent


def site_key(study: bytes, site: str) -> bytes:
    return b"site/" + study + site.encode()


class Consents:
    """The slice: `consent/` id -> ConsentRecord; `site/` study site -> SiteCount."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def get(self, consent: bytes) -> ConsentRecord | None:
        data = self._cells.get(consent_key(consent))
        return None if data is None else ConsentRecord.parse(data)

    def add(self, consent: ConsentId, record: ConsentRecord) -> None:
        self._cells.put(consent_key(consent), record.to_bytes())
        if record.research is not None and not record.hold:  # a hold permits nothing, whatever it names
            count = self.site(record.research)
            self._count(record.research, count._replace(open=count.open + 1))

    def close(self, consent: ConsentId, record: ConsentRecord, header: Header) -> None:
        self._cells.delete(consent_key(consent))
        if record.research is not None and not record.hold:
            count = self.site(record.research)
            self._count(record.research, SiteCount(count.open - 1, header.height, header.time))

    def held(self, research: Research, header: Header) -> None:
        """A patient who consented to this put everything on hold: as if withdrawn, but that the consent stays open."""
        self._count(research, SiteCount(self.site(research).open, header.height, header.time))

    def site(self, research: Research) -> SiteCount:
        value = decode(self._cells.get(site_key(research.study, research.site)) or b"\x83\0\0\0")
        assert isinstance(value, list)
        return SiteCount(*value)  # type: ignore[arg-type]

    def _count(self, research: Research, count: SiteCount) -> None:
        self._cells.put(site_key(research.study, research.site), encode(list(count)))


def consent(
    asked: Consent,
    signer: MemberSigner | PasskeySigner,
    header: Header,
    *,
    consents: Consents,
    handles: Handles,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
) -> None:
    record = _its_handle(asked, signer, handles)
    proven = _assurance(signer)
    if asked.assurance != proven:
        raise WrongAssurance(asked.assurance, proven)
    minimal = parameters[Parameter.MINIMAL_ASSURANCE]
    if proven < minimal and not asked.hold:  # a hold only denies: it needs no more than a witness
        raise AssuranceTooLow(proven, minimal)
    if consents.get(asked.id) is not None:
        raise ConsentTaken(asked.id)
    latest = header.time + parameters[Parameter.CONSENT_LASTS]
    if asked.end % DAY or not header.time < asked.end <= latest:
        raise EndOutOfBounds(asked.end, header.time, latest)
    if asked.research is not None and roll.get(asked.research.site) is None:
        raise UnknownSite(asked.research.site)
    if asked.hold:
        if len(record.holds) >= MAX_HOLDS:
            raise TooManyHolds(MAX_HOLDS)
        handles.put(asked.handle, record.but(holds=(*record.holds, asked.id)))
        _hold_research(record, header, consents)
    elif record.research is not None:
        raise ResearchHandle(asked.handle)
    elif asked.research is not None:
        handles.put(asked.handle, record.but(research=asked.id))
    elif handles.get(asked.handle) is None:
        handles.put(asked.handle, record)
    author, member = (None, signer.member) if isinstance(signer, MemberSigner) else (signer.author, None)
    consents.add(
        asked.id,
        ConsentRecord(
            asked.handle, asked.assurance, asked.end, asked.rules, asked.hold, header.height, header.time, author,
            member, asked.research,
        ),
    )  # fmt: skip
    dues.add(asked.end, DueKind.CONSENT_ENDS, asked.id)


def _hold_research(record: HandleRecord, header: Header, consents: Consents) -> None:
    held = None if record.research is None else consents.get(record.research)
    if held is not None and held.research is not None:
        consents.held(held.research, header)


def _its_handle(asked: Consent, signer: MemberSigner | PasskeySigner, handles: Handles) -> HandleRecord:
    """A witnessed consent may be the first that is heard of a handle: not everyone has a passkey."""
    if isinstance(signer, PasskeySigner) and signer.handle != asked.handle:
        raise NotItsHandle(asked.handle)
    record = handles.get(asked.handle)
    if record is not None:
        return record
    if isinstance(signer, PasskeySigner):
        raise HandleUnknown(asked.handle)
    return HandleRecord(signer.member, (), (), ())


def _assurance(signer: MemberSigner | PasskeySigner) -> Assurance:
    if isinstance(signer, MemberSigner):
        return Assurance.WITNESSED
    return Assurance.PASSKEY if signer.role == Role.OWN else Assurance.REPRESENTATIVE


def withdraw(
    asked: Withdraw,
    signer: MemberSigner | PasskeySigner,
    header: Header,
    *,
    consents: Consents,
    handles: Handles,
) -> None:
    """Of a permit: by any live key of the handle, or by a member before whom the patient stood."""
    record = consents.get(asked.id)
    if record is None or record.end <= header.time:
        raise ConsentNotOpen(asked.id)
    if isinstance(signer, PasskeySigner) and signer.handle != record.handle:
        raise NotItsHandle(record.handle)
    if record.hold:
        placed = signer.member == record.member if isinstance(signer, MemberSigner) else signer.author == record.author
        own = isinstance(signer, PasskeySigner) and signer.role == Role.OWN
        if not (placed or own):
            raise NotYourHold(asked.id)
    _close(asked.id, record, header, consents, handles)


def consent_ends(consent: ConsentId, header: Header, *, consents: Consents, handles: Handles) -> None:
    """Due: an ended consent leaves the state (it stopped counting when it ended)."""
    record = consents.get(consent)
    if record is not None and record.end <= header.time:
        _close(consent, record, header, consents, handles)


def _close(consent: ConsentId, record: ConsentRecord, header: Header, consents: Consents, handles: Handles) -> None:
    consents.close(consent, record, header)
    if not record.hold and record.research is None:
        return
    handle = handles.get(record.handle)
    assert handle is not None
    if handle.research == consent:
        handles.put(record.handle, handle.but(research=None))
    else:
        handles.put(record.handle, handle.but(holds=tuple(each for each in handle.holds if each != consent)))
