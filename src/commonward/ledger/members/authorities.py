"""Members' CA certificates over time: which is in force, which were before, and which were revoked.

To the ledger a certificate is bytes with a digest (`records.certificates` reads it at the border). What a member was
known by stays in the state when another takes its place, so that evidence from its time can always be judged: the
authority of each epoch names the digest, and the bytes are here. One that was revoked never comes into force again.
"""

from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import BlockTime, MemberId
from commonward.ledger.members.roll import Roll, certificate_digest
from commonward.ledger.rules import Cells

NO_CERTIFICATE: Final = Digest(bytes(32))
"""Stands in a member's record, and in the authority, for that it has no CA certificate in force. No certificate has
this digest."""

FORMER_KEY: Final = b"former-certificates"


def former_key(certificate: Digest) -> bytes:
    return b"former-certificate/" + certificate


class Former(NamedTuple):
    """One that is no longer in force for some member."""

    certificate: bytes
    until: BlockTime
    revoked: bool


class Authorities:
    """The slice: `former-certificate/` digest -> [bytes, until (ms), revoked]; `former-certificates` -> the digests.
    What is in force is the roll's."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def former(self) -> tuple[Former, ...]:
        """All of them, in the order in which they went out of force."""
        found = (self.get(each) for each in self._digests())
        return tuple(each for each in found if each is not None)

    def get(self, certificate: Digest) -> Former | None:
        match decode(self._cells.get(former_key(certificate)) or b"\x80"):
            case [bytes(data), int(until), int(revoked)]:
                return Former(data, BlockTime(until), revoked == 1)
        return None

    def is_revoked(self, certificate: Digest) -> bool:
        found = self.get(certificate)
        return found is not None and found.revoked

    def put_in_force(self, roll: Roll, member: MemberId, certificate: bytes, now: BlockTime) -> None:
        """`certificate` takes the place of what the member was known by."""
        old = roll.certificate(member)
        if old is not None and old != certificate:
            self._retire(old, now, revoked=False)
        roll.put_certificate(member, certificate)
        roll.put(member, roll.must(member).but(ca=certificate_digest(certificate)))

    def revoke(self, roll: Roll, certificate: Digest, replacement: bytes | None, now: BlockTime) -> None:
        """Takes it out of force for all who are known by it."""
        for member in known_by(roll, certificate):
            data = roll.certificate(member)
            assert data is not None
            self._retire(data, now, revoked=True)
            if replacement is None:
                roll.drop_certificate(member)
                roll.put(member, roll.must(member).but(ca=NO_CERTIFICATE))
            else:
                self.put_in_force(roll, member, replacement, now)

    def _digests(self) -> tuple[Digest, ...]:
        value = decode(self._cells.get(FORMER_KEY) or b"\x80")
        assert isinstance(value, list)
        return tuple(Digest(each) for each in value if isinstance(each, bytes))

    def _retire(self, certificate: bytes, now: BlockTime, *, revoked: bool) -> None:
        digest = certificate_digest(certificate)
        known = self.get(digest)
        if known is None:
            self._cells.put(FORMER_KEY, encode([*self._digests(), digest]))
        elif known.revoked:
            return
        self._cells.put(former_key(digest), encode([certificate, now, int(revoked)]))


def known_by(roll: Roll, certificate: Digest) -> tuple[MemberId, ...]:
    """The members, suspended ones too, whose CA certificate has this digest."""
    return tuple(each for each in roll.ids() if roll.must(each).ca == certificate)
