"""The data directory itself: which program, which rules, who may read what, and the genesis beside the settings."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.doctor.known import Known
from commonward.apps.settings import BadSettings, Settings
from commonward.apps.wiring import read_genesis
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId
from commonward.ledger.versions import VERSIONS
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

_PUBLIC: Final = ("genesis.json", "addrbook.json")
"""What CometBFT keeps in JSON and anyone may read."""


def program() -> Finding:
    try:
        ours = version("commonward")
    except PackageNotFoundError:
        ours = "from source"
    return ok(
        "program",
        f"commonward {ours}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{ssl.OPENSSL_VERSION.split(' (')[0]}, {platform.system()} {platform.machine()}",
    )


def rules(known: Known, height: int) -> Finding:
    """Whether this program knows the rules that the members agreed on, now and as far as they are scheduled."""
    now, later = known.state.adopted.version_at(height + 1), known.state.adopted.scheduled(height)
    unknown = [(at, version) for at, version in later if version not in VERSIONS]
    knows = f"this program knows version {', '.join(str(each) for each in sorted(VERSIONS))}"
    if now not in VERSIONS:
        do = "install the version of commonward that the members agreed on; the node goes on from where it stopped"
        return fail("rules", f"the ledger's rules are version {now}; {knows}", do)
    if unknown:
        at, first = unknown[0]
        do = f"install a version of commonward that knows it before block {at:,}: the node stops there otherwise"
        return warn("rules", f"version {now} now, {first} from block {at:,}; {knows}", do)
    ahead = "".join(f", {version} from block {at:,}" for at, version in later)
    return ok("rules", f"version {now}{ahead}; {knows}")


def secrets_in(settings: Settings) -> list[Path]:
    """Files that nobody else may read."""
    data = settings.data
    found = [settings.passphrase_file, *data.glob("vault.sqlite*"), data / "node.sock", *data.glob("staff/*.pem")]
    found += [path for path in data.glob("keys/*.pem*") if not path.name.endswith(".crt.pem")]
    found += data.glob("ca*/*.key.pem")
    found += [path for path in data.glob("cometbft/*/*.json") if path.name not in _PUBLIC]
    return sorted(path for path in found if path.exists())


def files(settings: Settings) -> Iterator[Finding]:
    data = settings.data
    names = ("ca", "keys", "staff", "ledger", "cometbft")
    folders = [path for path in (data, *(data / name for name in names)) if path.is_dir()]
    secrets = secrets_in(settings)
    exposed = [(path, 0o700) for path in folders if path.stat().st_mode & 0o077]
    exposed += [(path, 0o600) for path in secrets if path.stat().st_mode & 0o077]
    for path, wanted in exposed:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield fail("files", f"{path} is open to others (mode {mode:04o})", f"chmod {wanted:o} {path}")
    foreign = [path for path in (*folders, *secrets) if path.stat().st_uid != os.getuid() and os.getuid()]
    for path in foreign:
        yield fail("files", f"{path} belongs to another user", f"chown {os.getuid()} {path}, or run as its owner")
    if not exposed and not foreign:
        yield ok("files", f"{len(secrets)} secrets and {len(folders)} folders, open to their owner alone")


def genesis_of(settings: Settings) -> Genesis | Finding:
    try:
        return read_genesis(settings)
    except BadSettings as why:
        do = "mend node.toml if it names the engine; else copy genesis.cwg from a member, and compare its id with two"
        return fail("genesis", str(why), do)


def genesis_findings(genesis: Genesis) -> Finding:
    engine = "cometbft" if genesis.consensus else "solo"
    pilot = ", a pilot: one party could rewrite it" if genesis.pilot else ""
    return ok("genesis", f"{len(genesis.members)} members{pilot}, {engine}; ledger {genesis.ledger_id.hex()}")


def membership(settings: Settings, known: Known) -> Iterator[Finding]:
    """Whether the ledger, as far as this node knows it, has this member."""
    own = known.roll.get(MemberId(settings.member))
    if own is None:
        do = "right until this node has caught up with its admission; else mend `member` in node.toml"
        yield warn("member", f"the ledger knows no {settings.member} yet", do)
    elif not own.active:
        do = "ask the others why; `commonward governance list` shows what is open to the vote"
        yield fail("member", f"the members suspended {settings.member}: what it signs is refused", do)


def tables(known: Known, genesis: Genesis) -> Iterator[Finding]:
    """Whether this program decides by the tables that the members adopted."""
    ours = {"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest}
    adopted = {table.name: table.digest for table in genesis.tables} | dict(known.state.adopted.tables())
    for name in sorted(ours.keys() & adopted.keys()):
        if ours[name] != adopted[name]:
            yield warn(
                "tables",
                f"this program's {name} table is not the one that the members adopted",
                "install the version of commonward that they agreed on, or propose this one",
            )
