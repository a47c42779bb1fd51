"""What a change that is put to the vote must be able to do, and what it does once the majority is there."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from commonward.ledger.dues import Dues
from commonward.ledger.ids import LedgerId, MemberId, Purpose
from commonward.ledger.members.adopted import Adopted
from commonward.ledger.members.authorities import Authorities, known_by
from commonward.ledger.members.changes import (
    PICKS_VOTERS,
    Admit,
    AdoptTable,
    Change,
    ChangeKind,
    RenewCertificate,
    Resume,
    RevokeCertificate,
    SetMajority,
    SetParameter,
    SetProposers,
    SetProtocol,
    SetWeight,
    Suspend,
)
from commonward.ledger.members.keys import register_key
from commonward.ledger.members.majorities import Constitution, Majorities, Majority
from commonward.ledger.members.roll import Member, Roll, certificate_digest
from commonward.ledger.members.weights import Weights, check_any_left, check_weights
from commonward.ledger.parameters import Parameters, check_parameter
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Header


@dataclass(eq=False)
class ChangeNotPossible(Refusal):
    code: ClassVar[int] = 212
    what: str

    def __str__(self) -> str:
        return f"this change is not possible: {self.what}"


@dataclass(eq=False)
class NobodyMayPropose(Refusal):
    """What nobody may propose could never be changed again."""

    code: ClassVar[int] = 217
    change: str

    def __str__(self) -> str:
        return f"no active member would be of a kind that may propose {self.change}: name a kind that some member is of"


@dataclass(eq=False)
class MajorityNotAllowed(Refusal):
    code: ClassVar[int] = 218
    what: str

    def __str__(self) -> str:
        return f"this majority is not allowed: {self.what}"


@dataclass(eq=False)
class CertificateOutOfForce(Refusal):
    """A CA certificate that the members revoked."""

    code: ClassVar[int] = 219
    certificate: bytes

    def __str__(self) -> str:
        return f"CA certificate {self.certificate.hex()} was revoked and never counts again: make a new one"


class Chamber(NamedTuple):
    """All that a decision reads and changes."""

    ledger: LedgerId
    constitution: Constitution
    majorities: Majorities
    adopted: Adopted
    authorities: Authorities
    roll: Roll
    weights: Weights
    dues: Dues
    parameters: Parameters


def check_change(change: Change, header: Header, chamber: Chamber) -> None:
    """Raises the refusal of a change that cannot be. Asked when proposed, and again when the majority is there."""
    roll, pilot = chamber.roll, chamber.constitution.pilot
    match change:
        case Admit():
            _check_admission(change, header, chamber)
        case Suspend():
            # Not judged by `check_weights`: a rogue must go even if the others' shares then reach a third. More than
            # two thirds of what remains is then needed, so nothing false can be made binding; it may only take longer.
            if not _member(roll, change.member).active:
                raise ChangeNotPossible(f"{change.member} is suspended already")
            check_any_left(roll, change.member, 0)
        case Resume():
            found = _member(roll, change.member)
            if found.active:
                raise ChangeNotPossible(f"{change.member} is not suspended")
            _check_keys_for_weight(roll, change.member, found.weight, header, chamber.constitution)
            check_weights(roll, chamber.weights.before(), change.member, found.weight, pilot=pilot)
        case SetWeight():
            found = _member(roll, change.member)
            _check_keys_for_weight(roll, change.member, change.weight, header, chamber.constitution)
            if found.active:
                check_weights(roll, chamber.weights.before(), change.member, change.weight, pilot=pilot)
        case SetParameter():
            try:
                check_parameter(change.parameter, change.value)
            except ValueError as cause:
                raise ChangeNotPossible(str(cause)) from cause
        case SetProtocol():
            _check_version(change, header, chamber.adopted)
        case RenewCertificate():
            _member(roll, change.member)
            _check_certificate(change.certificate, chamber)
        case RevokeCertificate():
            _check_revocation(change, chamber)
        case SetMajority():
            _check_majority(change, chamber)
        case SetProposers():
            if not any(roll.must(each).kind in change.proposers for each in roll.active()):
                raise NobodyMayPropose(change.kind.name)
        case AdoptTable():
            pass


def _member(roll: Roll, member: MemberId) -> Member:
    found = roll.get(member)
    if found is None:
        raise ChangeNotPossible(f"{member} is not a member")
    return found


def _check_admission(change: Admit, header: Header, chamber: Chamber) -> None:
    roll, consensus = chamber.roll, chamber.constitution.consensus
    if roll.get(change.member) is not None:
        raise ChangeNotPossible(f"{change.member} is a member already")
    purposes = {key.purpose for key in change.keys}
    if Purpose.OPERATE not in purposes:
        raise ChangeNotPossible(f"{change.member} would have no operate key")
    if consensus and Purpose.NODE not in purposes:
        raise ChangeNotPossible(f"{change.member} would have no node key, and no other node would talk to it")
    if change.weight:
        for purpose in _needed_for_weight(chamber.constitution):
            if purpose not in purposes:
                raise ChangeNotPossible(f"{change.member} would have weight and no {purpose.name} key")
    if any(roll.must(each).origin == change.origin for each in roll.ids()):
        raise ChangeNotPossible(f"{change.origin} is the signing page of another member")
    _check_certificate(change.certificate, chamber)
    check_weights(roll, chamber.weights.before(), change.member, change.weight, pilot=chamber.constitution.pilot)


def _needed_for_weight(constitution: Constitution) -> tuple[Purpose, ...]:
    return (Purpose.COSIGN, Purpose.VALIDATE) if constitution.consensus else (Purpose.COSIGN,)


def _check_keys_for_weight(
    roll: Roll, member: MemberId, weight: int, header: Header, constitution: Constitution
) -> None:
    """Weight that cannot sign counts against every majority of weight, and takes part in none."""
    if weight:
        for purpose in _needed_for_weight(constitution):
            if not roll.live(member, purpose, header.time):
                raise ChangeNotPossible(
                    f"{member} would have weight and no live {purpose.name} key: it registers one first; where it is "
                    "suspended and cannot, give it weight 0, resume it, and then give it weight"
                )


def _check_certificate(certificate: bytes, chamber: Chamber) -> None:
    digest = certificate_digest(certificate)
    if chamber.authorities.is_revoked(digest):
        raise CertificateOutOfForce(digest)


def _check_version(change: SetProtocol, header: Header, adopted: Adopted) -> None:
    """Blocks that stand keep their rules, and rules only go forward. Which versions a program knows is not asked: two
    nodes with different programs must give the same answer."""
    if change.height <= header.height:
        raise ChangeNotPossible(f"expected a height after {header.height}, got {change.height}")
    before = adopted.version_at(change.height - 1)
    if change.version < before or (change.version == before and not adopted.scheduled(change.height - 1)):
        raise ChangeNotPossible(f"version {before} rules before height {change.height}: expected a later one")


def _check_revocation(change: RevokeCertificate, chamber: Chamber) -> None:
    if chamber.authorities.is_revoked(change.certificate):
        raise CertificateOutOfForce(change.certificate)
    if not known_by(chamber.roll, change.certificate):
        raise ChangeNotPossible(f"no member is known by CA certificate {change.certificate.hex()}")
    if change.replacement is not None:
        if certificate_digest(change.replacement) == change.certificate:
            raise ChangeNotPossible("the replacement is the certificate that is to be revoked")
        _check_certificate(change.replacement, chamber)


def _check_majority(change: SetMajority, chamber: Chamber) -> None:
    """Whoever picks the voters can reach every other majority: those must not look harder to reach than they are."""
    new = Majority(change.numerator, change.denominator)
    if not new.sound:
        raise MajorityNotAllowed(f"expected at least a half and less than one, got {new.numerator}/{new.denominator}")
    for kind in ChangeKind:
        other = chamber.majorities.majority(kind, chamber.constitution)
        if change.kind in PICKS_VOTERS and kind not in PICKS_VOTERS and other.exceeds(new):
            raise MajorityNotAllowed(
                f"{kind.name} needs more than {other.numerator}/{other.denominator}, and {change.kind.name} picks who "
                f"votes on it: lower {kind.name} first"
            )
        if change.kind not in PICKS_VOTERS and kind in PICKS_VOTERS and new.exceeds(other):
            raise MajorityNotAllowed(
                f"{kind.name} picks who votes, and needs no more than {other.numerator}/{other.denominator}: raise "
                f"{kind.name} first"
            )


def enact(change: Change, header: Header, chamber: Chamber) -> None:
    """Does what `check_change` has let pass. Raises only what registering a new member's keys may raise."""
    roll = chamber.roll
    match change:
        case Admit():
            roll.add(
                change.member,
                Member(
                    change.kind, change.tier, change.name, certificate_digest(change.certificate), True, change.weight,
                    change.origin, (),
                ),
                change.certificate,
            )  # fmt: skip
            for key in change.keys:
                register_key(
                    chamber.ledger, change.member, key, header.time, roll=roll, dues=chamber.dues,
                    parameters=chamber.parameters, operator=chamber.constitution.operator,
                )  # fmt: skip
        case Suspend():
            roll.put(change.member, roll.must(change.member).but(active=False))
        case Resume():
            roll.put(change.member, roll.must(change.member).but(active=True))
        case SetWeight():
            roll.put(change.member, roll.must(change.member).but(weight=change.weight))
        case RenewCertificate():
            chamber.authorities.put_in_force(roll, change.member, change.certificate, header.time)
        case RevokeCertificate():
            chamber.authorities.revoke(roll, change.certificate, change.replacement, header.time)
        case SetParameter():
            chamber.parameters.change(change.parameter, change.value)
        case AdoptTable():
            chamber.adopted.adopt(change.table, change.digest)
        case SetProtocol():
            chamber.adopted.schedule(change.height, change.version)
        case SetMajority():
            chamber.majorities.set_majority(change.kind, Majority(change.numerator, change.denominator))
        case SetProposers():
            chamber.majorities.set_proposers(change.kind, change.proposers)
