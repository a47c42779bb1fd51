"""A member's next certificate authority: made beside the one in use, voted on, then put in its place.

    ca-next/    made here; its certificate is what the members vote on
    ca/         takes its place once the ledger knows it; the old one stays as ca-until-TIME, for nobody to sign with

What was signed under the old CA still counts, by the time at which it was signed. The other members' nodes let a TLS
certificate of the new CA in once they were restarted after the vote.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from commonward.adapters.keys import CertificateAuthority, MemberKeys
from commonward.apps.doctor.known import known
from commonward.apps.settings import BadSettings, Settings
from commonward.apps.wiring import open_keys, read_genesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.members import Roll

NEXT: Final = "ca-next"


def hosts_of(settings: Settings, roll: Roll) -> list[str]:
    """The names under which this member's node is called: by members, by patients' pages, by its own programs."""
    own = roll.get(MemberId(settings.member))
    page = urlsplit(own.origin).hostname if own is not None else None
    names = {settings.listen.host, settings.signing.host, "localhost", *((page,) if page else ())}
    return sorted(names - {"0.0.0.0", "::"})  # noqa: S104  nobody is called by these


def certify(settings: Settings, keys: MemberKeys, roll: Roll, now: BlockTime) -> None:
    """A TLS certificate under the CA in use, for the TLS key in use. Raises an error of `adapters.keys`."""
    authority = CertificateAuthority.open(settings.data / "ca", settings.passphrase())
    algorithm, public, _ = keys.public(Purpose.TLS)
    keys.install_tls(authority.issue_tls(keys.member, algorithm, public, hosts=hosts_of(settings, roll), starts=now))


def make_next(settings: Settings, now: BlockTime) -> Path:
    """A new CA beside the one in use. Returns its certificate's file. Raises BadSettings, StoreError."""
    folder = settings.data / NEXT
    with known(settings, read_genesis(settings)) as ledger:
        own = ledger.roll.get(MemberId(settings.member))
    if own is None:
        raise BadSettings(f"the ledger knows no member {settings.member}; start its node, and let it catch up")
    if folder.exists():
        raise BadSettings(f"{folder} exists: propose its certificate, or remove it to make another")
    CertificateAuthority.create(folder, own.name, settings.passphrase(), now)
    return folder / "ca.pem"


def adopt_next(settings: Settings, now: BlockTime) -> Path:
    """Put the next CA in the place of the one in use, and certify the TLS key under it. Returns where the old one is.

    Raises BadSettings while the ledger knows another; StoreError, an error of `adapters.keys`.
    """
    folder = settings.data / NEXT
    if not folder.exists():
        raise BadSettings(f"no {folder}; `commonward member new-ca` makes it")
    made = CertificateAuthority.open(folder, settings.passphrase())
    with known(settings, read_genesis(settings)) as ledger:
        if ledger.roll.certificate(settings.member) != made.certificate:
            raise BadSettings(
                f"the ledger still knows another CA of {settings.member}: the members have to vote on "
                f"{folder / 'ca.pem'} first (`commonward governance propose certificate`)"
            )
        stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = settings.data / f"ca-until-{stamp}"
        (settings.data / "ca").rename(aside)
        folder.rename(settings.data / "ca")
        certify(settings, open_keys(settings), ledger.roll, now)
    return aside
