"""Day certificates of a member's staff: issued under its own CA, kept in DATA/staff/NUMBER.pem, listed from there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from commonward.adapters.keys import CertificateAuthority, StaffKey, read_private
from commonward.adapters.keys.errors import KeyFileExposed, KeyFileMissing, KeyFileUnreadable
from commonward.apps.applying import applied
from commonward.apps.settings import BadSettings, Settings
from commonward.apps.wiring import read_genesis
from commonward.ledger.genesis import GenesisMember
from commonward.ledger.ids import BlockTime, MemberId
from commonward.records.certificates import ROLES, CertificateRefused, Staff, check_staff, leaf_key

NUMBER: Final = re.compile(r"[A-Za-z0-9]{1,32}")


class CannotIssue(ValueError):
    """A staff certificate that cannot be made as asked; the sentence says what to change."""


@dataclass(frozen=True, slots=True)
class Held:
    """One file of DATA/staff: the person it stands for, or why it stands for nobody."""

    path: Path
    staff: Staff | None
    why: str = ""


def own_member(settings: Settings) -> GenesisMember:
    """This member as genesis has it, or as it applied to be admitted later. Raises BadSettings."""
    genesis = read_genesis(settings)
    found = next((each for each in genesis.members if each.id == settings.member), None) or applied(settings.data)
    if found is None:
        known = ", ".join(each.id for each in genesis.members)
        raise BadSettings(f"member: expected one of genesis ({known}), got {settings.member!r}")
    return found


def issue(
    settings: Settings, *, role: str, department: str, number: str, hours: float, now: BlockTime
) -> tuple[Path, Staff]:
    """Makes key and certificate for a person's day; replaces that person's older file.

    Raises CannotIssue, BadSettings, or an error of `adapters.keys`.
    """
    member = own_member(settings)
    allowed = ROLES[member.kind]
    if role not in allowed:
        raise CannotIssue(f"role: a {member.kind.name.lower()} has {', '.join(sorted(allowed))}; got {role!r}")
    if not NUMBER.fullmatch(number):
        raise CannotIssue(f"number: expected 1 to 32 letters and digits, opaque outside; got {number!r}")
    if not department or len(department) > 64 or not department.isprintable():
        raise CannotIssue(f"department: expected 1 to 64 printable characters, got {department!r}")
    if not 0 < hours <= 24:
        raise CannotIssue(f"hours: a staff certificate lives more than 0 and at most 24, got {hours:g}")
    authority = CertificateAuthority.open(settings.data / "ca", settings.passphrase())
    key = StaffKey.issue(
        authority,
        MemberId(settings.member),
        role=role,
        department=department,
        number=number,
        starts=now,
        life_ms=int(hours * 3_600_000) // 1000 * 1000,
    )
    try:
        staff = check_staff(key.certificate, authority.certificate, member.id, member.kind, now)
    except CertificateRefused as why:
        raise CannotIssue(
            f"the other members would refuse it: {why}. `commonward doctor` says whether {settings.data / 'ca'} is the "
            "CA that the ledger knows this member by"
        ) from why
    path = settings.data / "staff" / f"{number}.pem"
    key.save(path, settings.passphrase())
    return path, staff


def held(settings: Settings, now: BlockTime) -> Iterator[Held]:
    """Every staff file of this member, by number, judged now. Private keys stay closed."""
    member, authority = own_member(settings), _own_ca(settings)
    for path in sorted((settings.data / "staff").glob("*.pem")):
        try:
            pem = x509.load_pem_x509_certificate(read_private(path))
            der = pem.public_bytes(Encoding.DER)
            leaf_key(der)
        except (KeyFileExposed, KeyFileMissing, KeyFileUnreadable, CertificateRefused) as why:
            yield Held(path, None, str(why))
            continue
        except ValueError:
            yield Held(path, None, "expected a certificate in PEM before the key; issue it again")
            continue
        try:
            # At the certificate's own start: what has ended is listed as ended, not as wrong.
            starts = int(pem.not_valid_before_utc.timestamp()) * 1000
            at = BlockTime(min(max(starts, 0), now))
            yield Held(path, check_staff(der, authority or member.certificate, member.id, member.kind, at))
        except CertificateRefused as why:
            yield Held(path, None, str(why))


def _own_ca(settings: Settings) -> bytes | None:
    """DER of the certificate in DATA/ca, which a vote may have put in the place of genesis'; None if unreadable."""
    try:
        pem = (settings.data / "ca" / "ca.pem").read_bytes()
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except (OSError, ValueError):
        return None
