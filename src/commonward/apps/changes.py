"""Changes that members vote on, between people and the ledger: read from their words, told in words, shown whole."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography import x509
from pydantic import BaseModel, Field

from commonward.apps.api.words import BadWord, to_bytes, to_member
from commonward.apps.wiring import WallClock
from commonward.ledger.encoding import encode
from commonward.ledger.ids import BlockTime, Digest, Height, MemberKind
from commonward.ledger.members import (
    Admit,
    AdoptTable,
    Change,
    ChangeKind,
    Constitution,
    Majority,
    RenewCertificate,
    Resume,
    RevokeCertificate,
    Roll,
    SetMajority,
    SetParameter,
    SetProposers,
    SetProtocol,
    SetWeight,
    Suspend,
    certificate_digest,
)
from commonward.ledger.members.authorities import known_by
from commonward.ledger.members.changes import CHANGE
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import Refusal
from commonward.ledger.state import State
from commonward.ledger.versions import VERSIONS
from commonward.ledger.wire import Struct
from commonward.records.certificates import CertificateRefused, check_ca

__all__ = ["Wanted", "Words", "certificates", "described", "to_change", "written"]


class Wanted(BaseModel):
    """One change. Which fields count depends on `kind`, one of those of `to_change`."""

    kind: str
    member: str = ""
    application: str = Field(default="", max_length=100_000)  # base64
    certificate: str = Field(default="", max_length=20_000)  # base64 of DER
    parameter: str = ""
    value: int = 0
    of: str = ""  # a kind of change
    fraction: str = ""
    proposers: list[str] = []
    table: str = ""
    digest: str = ""
    height: int = 0
    unknown: bool = False  # propose a version of the rules that this program does not know


def to_change(wanted: Wanted, roll: Roll) -> Change:
    """Raises BadWord; `CertificateRefused` for a CA certificate that no member could use."""
    match wanted.kind:
        case "admit":
            try:
                asked = Admit.parse(_base64(wanted.application))
            except (Refusal, ValueError) as cause:
                raise BadWord(f"expected an application as `commonward member apply` writes it ({cause})") from cause
            return asked
        case "suspend":
            return Suspend(to_member(wanted.member))
        case "resume":
            return Resume(to_member(wanted.member))
        case "parameter":
            return SetParameter(Parameter[_one_of(wanted.parameter, Parameter, "a parameter")], wanted.value)
        case "weight":
            return SetWeight(to_member(wanted.member), wanted.value)
        case "table":
            digest = to_bytes(wanted.digest, "the digest of a table")
            if len(digest) != 32 or not 0 < len(wanted.table) <= 64:
                raise BadWord(f"expected a table's name and its digest of 32 bytes, got {wanted.table[:70]!r}")
            return AdoptTable(wanted.table, Digest(digest))
        case "protocol":
            return _version(wanted)
        case "certificate":
            return RenewCertificate(to_member(wanted.member), _certificate(wanted.certificate))
        case "revocation":
            found = roll.get(to_member(wanted.member))
            if found is None:
                raise BadWord(f"{wanted.member} is not a member")
            return RevokeCertificate(found.ca, _certificate(wanted.certificate) if wanted.certificate else None)
        case "majority":
            majority = _fraction(wanted.fraction)
            return SetMajority(ChangeKind[_one_of(wanted.of, ChangeKind, "a kind of change")], *majority)
        case "proposers":
            kinds = tuple(MemberKind[_one_of(each, MemberKind, "a kind of member")] for each in wanted.proposers)
            return SetProposers(ChangeKind[_one_of(wanted.of, ChangeKind, "a kind of change")], kinds)
    known = ", ".join(kind.name.lower() for kind in ChangeKind)
    raise BadWord(f"expected a change of {known}, got {wanted.kind[:40]!r}")


def _version(wanted: Wanted) -> SetProtocol:
    if wanted.value not in VERSIONS and not wanted.unknown:
        known = ", ".join(map(str, sorted(VERSIONS)))
        raise BadWord(
            f"this program knows version {known} of the rules, not {wanted.value}: a node of it would stop before "
            f"height {wanted.height}; upgrade first, or say that you know"
        )
    return SetProtocol(wanted.value, Height(wanted.height))


def _one_of(word: str, table: Any, what: str) -> str:
    name = word.upper().replace("-", "_")
    if name not in table.__members__:
        raise BadWord(f"expected {what} of {', '.join(each.name.lower() for each in table)}, got {word[:60]!r}")
    return name


def _fraction(text: str) -> Majority:
    numerator, _, denominator = text.partition("/")
    if not (numerator.isascii() and numerator.isdigit() and denominator.isascii() and denominator.isdigit()):
        raise BadWord(f"expected a majority as N/D, like 2/3, got {text[:40]!r}")
    found = Majority(int(numerator[:9]), int(denominator[:9]))
    if not found.sound or found.denominator > 1000:
        raise BadWord(f"expected a majority of at least 1/2 and less than one, D at most 1000, got {text[:40]!r}")
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise ValueError(f"expected base64: {cause}") from cause


def _certificate(text: str) -> bytes:
    """The ledger reads no X.509: whether these bytes are a CA certificate is seen here, before anybody votes."""
    try:
        der = _base64(text)
    except ValueError as cause:
        raise BadWord(f"expected a CA certificate in DER: {cause}") from cause
    check_ca(der, WallClock().now())
    return der


def written(change: Change) -> bytes:
    """The ledger's own bytes."""
    assert CHANGE.write is not None
    return encode(CHANGE.write(change))


class Words:
    """A change in a sentence, beside what is so now."""

    def __init__(self, state: State, constitution: Constitution) -> None:
        self._state = state
        self._constitution = constitution

    def of(self, change: Change) -> str:
        roll = self._state.roll
        match change:
            case Admit():
                tier = f" of tier {change.tier}" if change.tier else ""
                what = f"{change.kind.name.lower()}{tier}, weight {change.weight}"
                return f"admit {change.member} ({change.name}): {what}"
            case Suspend():
                return f"suspend {change.member}"
            case Resume():
                return f"let {change.member} act again"
            case SetParameter():
                now = self._state.parameters[change.parameter]
                return f"set {change.parameter.name.lower()} to {change.value} (now {now})"
            case SetWeight():
                found = roll.get(change.member)
                return f"give {change.member} weight {change.weight} (now {found.weight if found else 0})"
            case AdoptTable():
                return f"adopt table {change.table}, digest {change.digest.hex()}"
            case SetProtocol():
                unknown = "" if change.version in VERSIONS else "; this program does not know them and would stop"
                return f"from height {change.height} on, rules of version {change.version}{unknown}"
            case RenewCertificate():
                return f"{change.member}'s next CA certificate: {certificate_digest(change.certificate).hex()}"
            case RevokeCertificate():
                whose = ", ".join(known_by(roll, change.certificate)) or "nobody now"
                then = (
                    "they have none until they renew"
                    if change.replacement is None
                    else f"{certificate_digest(change.replacement).hex()} takes its place"
                )
                return f"revoke CA certificate {change.certificate.hex()} of {whose}; {then}"
            case SetMajority():
                now_needed = self._state.majorities.majority(change.kind, self._constitution)
                return (
                    f"{change.kind.name.lower()} needs more than {change.numerator}/{change.denominator} of the "
                    f"members (now {now_needed.numerator}/{now_needed.denominator})"
                )
            case SetProposers():
                kinds = ", ".join(each.name.lower() for each in change.proposers)
                return f"{change.kind.name.lower()} may be proposed by: {kinds}"


def described(change: Struct, *, whole: bool = False) -> dict[str, Any]:
    """A change by its fields. `whole`: with all bytes of it."""
    said: dict[str, Any] = {"change": type(change).__name__}
    for each in change.FIELDS:
        value = getattr(change, each.name)
        if isinstance(value, bytes):
            value = value.hex() if whole or len(value) <= 64 else f"{len(value)} bytes"
        elif isinstance(value, tuple):
            value = [_one(one, whole=whole) for one in value]
        elif hasattr(value, "name"):
            value = value.name.lower()
        said[each.name] = value
    return said


def _one(value: object, *, whole: bool) -> Any:
    if isinstance(value, Struct):
        return described(value, whole=whole)
    return value.name.lower() if hasattr(value, "name") else str(value)


def certificates(change: Change) -> list[dict[str, Any]]:
    """The CA certificates in a change, read for people; `problem` says what is wrong with one, if anything is."""
    der = None
    if isinstance(change, Admit | RenewCertificate):
        der = change.certificate
    elif isinstance(change, RevokeCertificate):
        der = change.replacement
    return [] if der is None else [_read(der)]


def _read(der: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {"sha256": certificate_digest(der).hex(), "problem": ""}
    try:
        found = x509.load_der_x509_certificate(der)
        said["subject"] = found.subject.rfc4514_string()
        starts, ends = found.not_valid_before_utc, found.not_valid_after_utc
        said["starts"], said["ends"] = int(starts.timestamp() * 1000), int(ends.timestamp() * 1000)
        check_ca(der, BlockTime(said["starts"]))
    except (CertificateRefused, ValueError) as cause:
        said["problem"] = str(cause)
    return said
