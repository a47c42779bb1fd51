"""The roll: which organisations are members, with what keys and weight. The slice; rules are beside it.

State: `member/` id -> Member; `certificate/` id -> its CA certificate as opaque bytes (nothing here parses X.509);
`key/` key id -> Key; `members` -> the ids. A revoked key stays, marked, until its validity would have ended, so that it
cannot be registered again and what it signs is refused by its name.
"""

import hashlib
from functools import lru_cache
from typing import Final

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    KeyId,
    MemberId,
    MemberKind,
    Purpose,
    key_id,
    parse_key_id,
    parse_member_id,
)
from commonward.ledger.rules import Cells
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Struct,
    choice,
    items,
    nested,
    number,
    octets,
    parsed,
    struct,
    text,
    wire,
)

MAX_KEYS: Final = 64
"""Keys a member may have registered at one time, revoked ones that have not ended included."""

MAX_WEIGHT: Final = 1 << 32
MAX_CERTIFICATE: Final = 4096

ALGORITHMS: Final = {
    # checkpoint notes, cosignatures, and the node and validator keys of CometBFT know Ed25519 alone
    Purpose.OPERATE: (Algorithm.EDDSA, Algorithm.ES256),
    Purpose.CARRY: (Algorithm.EDDSA, Algorithm.ES256),
    Purpose.COSIGN: (Algorithm.EDDSA,),
    Purpose.NODE: (Algorithm.EDDSA,),
    Purpose.TLS: (Algorithm.EDDSA, Algorithm.ES256),
    Purpose.HPKE: (Algorithm.X25519,),
    Purpose.SEQUENCE: (Algorithm.EDDSA,),
    Purpose.VALIDATE: (Algorithm.EDDSA,),
}


def certificate_digest(certificate: bytes) -> Digest:
    """Plain SHA-256 of the bytes: the fingerprint that any X.509 tool prints for a DER certificate."""
    return Digest(hashlib.sha256(certificate).digest())


@struct
class KeyRef(Struct):
    purpose: Purpose = wire(1, choice(Purpose))
    key: KeyId = wire(2, parsed(parse_key_id))


@struct
class Member(Struct):
    """An organisation, as the state holds it."""

    kind: MemberKind = wire(1, choice(MemberKind))
    tier: int = wire(2, number(0, 3))
    name: str = wire(3, text(200))
    ca: Digest = wire(4, DIGEST)
    active: bool = wire(5, FLAG)
    weight: int = wire(6, number(0, MAX_WEIGHT))
    origin: str = wire(7, text(200))
    keys: tuple[KeyRef, ...] = wire(8, items(nested(KeyRef), MAX_KEYS))

    def keys_for(self, purpose: Purpose) -> tuple[KeyId, ...]:
        return tuple(ref.key for ref in self.keys if ref.purpose == purpose)

    def but(self, **changes: object) -> "Member":
        """This member with some fields changed."""
        return Member(**{**{each.name: getattr(self, each.name) for each in self.FIELDS}, **changes})


@struct
class Key(Struct):
    """A member's key. It counts from `starts` until before `ends`, unless revoked."""

    member: MemberId = wire(1, parsed(parse_member_id))
    purpose: Purpose = wire(2, choice(Purpose))
    algorithm: Algorithm = wire(3, choice(Algorithm))
    public: bytes = wire(4, octets(32, 64))
    starts: BlockTime = wire(5, TIME)
    ends: BlockTime = wire(6, TIME)
    revoked: BlockTime | None = wire(7, TIME, default=None)

    @property
    def id(self) -> KeyId:
        return key_id(self.algorithm, self.public)

    def covers(self, at: int) -> bool:
        return self.starts <= at < self.ends and self.revoked is None


# Parsing is a function of the bytes, so what it made may be kept: a busy key is read thousands of times a second.
_member = lru_cache(maxsize=1024)(Member.parse)
_key = lru_cache(maxsize=4096)(Key.parse)

MEMBERS_KEY: Final = b"members"


def member_key(member: str) -> bytes:
    return b"member/" + member.encode()


def certificate_key(member: str) -> bytes:
    return b"certificate/" + member.encode()


def key_key(key: bytes) -> bytes:
    return b"key/" + key


class Roll:
    """The slice."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def ids(self) -> tuple[MemberId, ...]:
        """All members, suspended ones too, in ascending order."""
        data = self._cells.get(MEMBERS_KEY)
        if data is None:
            return ()
        value = decode(data)
        assert isinstance(value, list)
        return tuple(MemberId(each) for each in value if isinstance(each, str))

    def active(self) -> tuple[MemberId, ...]:
        return tuple(each for each in self.ids() if self.must(each).active)

    def get(self, member: str) -> Member | None:
        data = self._cells.get(member_key(member))
        return None if data is None else _member(data)

    def must(self, member: str) -> Member:
        found = self.get(member)
        if found is None:
            raise LookupError(f"expected member {member} in the state")
        return found

    def put(self, member: MemberId, value: Member) -> None:
        self._cells.put(member_key(member), value.to_bytes())

    def add(self, member: MemberId, value: Member, certificate: bytes) -> None:
        self._cells.put(MEMBERS_KEY, encode(sorted({*self.ids(), member})))
        self.put(member, value)
        self.put_certificate(member, certificate)

    def certificate(self, member: str) -> bytes | None:
        return self._cells.get(certificate_key(member))

    def put_certificate(self, member: MemberId, certificate: bytes) -> None:
        self._cells.put(certificate_key(member), certificate)

    def drop_certificate(self, member: MemberId) -> None:
        self._cells.delete(certificate_key(member))

    def key(self, key: bytes) -> Key | None:
        data = self._cells.get(key_key(key))
        return None if data is None else _key(data)

    def put_key(self, value: Key) -> KeyId:
        """Adds or replaces a key, and lists it under its member."""
        name = value.id
        self._cells.put(key_key(name), value.to_bytes())
        owner = self.must(value.member)
        ref = KeyRef(value.purpose, name)
        if ref not in owner.keys:
            self.put(value.member, owner.but(keys=(*owner.keys, ref)))
        elif value.purpose in (Purpose.COSIGN, Purpose.SEQUENCE):
            self.put(value.member, owner)  # touched: the authority is written anew
        return name

    def drop_key(self, key: bytes) -> None:
        found = self.key(key)
        if found is None:
            return
        self._cells.delete(key_key(key))
        owner = self.must(found.member)
        self.put(found.member, owner.but(keys=tuple(ref for ref in owner.keys if ref.key != key)))

    def live(self, member: MemberId, purpose: Purpose, at: int) -> tuple[Key, ...]:
        """A member's keys of one purpose that count at a time."""
        found = (self.key(each) for each in self.must(member).keys_for(purpose))
        return tuple(key for key in found if key is not None and key.covers(at))
