"""What can be put to the vote: each kind of change, with its fields. The rules are in `governance` and `enacting`.

Numbers never change meaning. Kinds up to CERTIFICATE stand in every genesis; those after it may be missing there, and
are then decided as `STANDS_FOR` says.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, Final

from commonward.ledger.encoding import Digest, Encodable
from commonward.ledger.ids import Height, MemberId, MemberKind, parse_member_id
from commonward.ledger.members.keys import AddKey
from commonward.ledger.members.roll import MAX_CERTIFICATE, MAX_WEIGHT
from commonward.ledger.parameters import Parameter
from commonward.ledger.wire import (
    DIGEST,
    Shape,
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


class ChangeKind(IntEnum):
    ADMIT = 1
    SUSPEND = 2
    RESUME = 3
    PARAMETER = 4
    WEIGHT = 5
    TABLE = 6
    PROTOCOL = 7
    CERTIFICATE = 8
    MAJORITY = 9
    PROPOSERS = 10
    REVOCATION = 11


STANDS_FOR: Final[Mapping[ChangeKind, ChangeKind]] = {
    ChangeKind.MAJORITY: ChangeKind.PROTOCOL,
    ChangeKind.PROPOSERS: ChangeKind.PROTOCOL,
    ChangeKind.REVOCATION: ChangeKind.CERTIFICATE,
}
"""Which kind's majority and proposers count for one that genesis does not name."""

PICKS_VOTERS: Final = (ChangeKind.ADMIT, ChangeKind.SUSPEND, ChangeKind.RESUME)
"""Who decides these decides who votes on everything else."""


@struct
class Admit(Struct):
    """A new member with all its keys; each proves possession to this ledger, under the new id."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.ADMIT
    member: MemberId = wire(1, parsed(parse_member_id))
    kind: MemberKind = wire(2, choice(MemberKind))
    tier: int = wire(3, number(0, 3))
    name: str = wire(4, text(200))
    certificate: bytes = wire(5, octets(1, MAX_CERTIFICATE))
    weight: int = wire(6, number(0, MAX_WEIGHT))
    origin: str = wire(7, text(200))
    keys: tuple[AddKey, ...] = wire(8, items(nested(AddKey), 16, 1))


@struct
class Suspend(Struct):
    """Its transactions are refused and its weight is out, until resumed."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.SUSPEND
    member: MemberId = wire(1, parsed(parse_member_id))


@struct
class Resume(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.RESUME
    member: MemberId = wire(1, parsed(parse_member_id))


@struct
class SetParameter(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.PARAMETER
    parameter: Parameter = wire(1, choice(Parameter))
    value: int = wire(2, number())


@struct
class SetWeight(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.WEIGHT
    member: MemberId = wire(1, parsed(parse_member_id))
    weight: int = wire(2, number(0, MAX_WEIGHT))


@struct
class AdoptTable(Struct):
    """The digest of a table (jurisdictions, sensitive codes) that all members judge by from now on."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.TABLE
    table: str = wire(1, text(64))
    digest: Digest = wire(2, DIGEST)


@struct
class SetProtocol(Struct):
    """From this height on, blocks follow this version of the rules. What was scheduled for that height or a later one
    is off: the version in force then, with a height before it, takes a mistake back."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.PROTOCOL
    version: int = wire(1, number(1, 1 << 16))
    height: Height = wire(2, number())


@struct
class RenewCertificate(Struct):
    """A member's next CA certificate, as opaque bytes."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.CERTIFICATE
    member: MemberId = wire(1, parsed(parse_member_id))
    certificate: bytes = wire(2, octets(1, MAX_CERTIFICATE))


@struct
class SetMajority(Struct):
    """How many must agree to a kind of change: more than `numerator / denominator` of the active members."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.MAJORITY
    kind: ChangeKind = wire(1, choice(ChangeKind))
    numerator: int = wire(2, number(0, 1000))
    denominator: int = wire(3, number(0, 1000))


@struct
class SetProposers(Struct):
    """Which kinds of member may propose a kind of change."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.PROPOSERS
    kind: ChangeKind = wire(1, choice(ChangeKind))
    proposers: tuple[MemberKind, ...] = wire(2, items(choice(MemberKind), 16))


@struct
class RevokeCertificate(Struct):
    """A CA certificate, by its digest, is out of force for every member that is known by it, and for ever: its key may
    be in other hands, and a licensed CA may serve several. `replacement` takes its place for all of them; without one
    they have none until they renew, and no staff of theirs is believed."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.REVOCATION
    certificate: Digest = wire(1, DIGEST)
    replacement: bytes | None = wire(2, octets(1, MAX_CERTIFICATE), default=None)


Change = (
    Admit
    | Suspend
    | Resume
    | SetParameter
    | SetWeight
    | AdoptTable
    | SetProtocol
    | RenewCertificate
    | SetMajority
    | SetProposers
    | RevokeCertificate
)

CHANGES: Final[Mapping[int, type[Change]]] = {
    int(each.CHANGE): each
    for each in (
        Admit,
        Suspend,
        Resume,
        SetParameter,
        SetWeight,
        AdoptTable,
        SetProtocol,
        RenewCertificate,
        SetMajority,
        SetProposers,
        RevokeCertificate,
    )
}


def _read_change(value: Any) -> Change:
    match value:
        case [int(kind), dict(fields)] if kind in CHANGES:
            return CHANGES[kind].from_value(fields)
    raise ValueError(f"expected [kind of change, its fields], got {value!r:.60}")


def _write_change(change: Change) -> Encodable:
    return [int(change.CHANGE), change.to_value()]


CHANGE: Final = Shape(_read_change, _write_change)
