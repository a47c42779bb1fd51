"""The data directory itself: settings' surroundings, who may read what, room on the disk, and the genesis beside it."""

from __future__ import annotations

import platform
import shutil
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.settings import BadSettings, Settings
from commonward.apps.wiring import read_genesis
from commonward.ledger.genesis import Genesis
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

_LITTLE_ROOM: Final = 5 << 30
_NO_ROOM: Final = 500 << 20


def program() -> Finding:
    try:
        ours = version("commonward")
    except PackageNotFoundError:
        ours = "from source"
    return ok("program", f"commonward {ours}, Python {platform.python_version()}, {platform.system()}")


def secrets_in(data: Path) -> list[Path]:
    """Files that nobody else may read."""
    found = [data / "passphrase", *data.glob("vault.sqlite*"), data / "node.sock", *data.glob("staff/*.pem")]
    found += [path for path in data.glob("keys/*.pem*") if not path.name.endswith(".crt.pem")]
    found += data.glob("ca/*.key.pem")
    return sorted(path for path in found if path.exists())


def files(data: Path) -> Iterator[Finding]:
    folders = [path for path in (data, *(data / name for name in ("ca", "keys", "staff", "ledger"))) if path.is_dir()]
    exposed = [(path, 0o700) for path in folders if path.stat().st_mode & 0o077]
    exposed += [(path, 0o600) for path in secrets_in(data) if path.stat().st_mode & 0o077]
    for path, wanted in exposed:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield fail("files", f"{path} is open to others (mode {mode:04o})", f"chmod {wanted:o} {path}")
    if not exposed:
        yield ok("files", f"{len(secrets_in(data))} secrets and {len(folders)} folders, open to their owner alone")


def room(data: Path) -> Finding:
    usage = shutil.disk_usage(data)
    found = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB"
    if usage.free < _NO_ROOM:
        return fail("disk", found, "make room now: a node that cannot write stops, and goes on when there is room")
    if usage.free < _LITTLE_ROOM:
        return warn("disk", found, "make room soon")
    return ok("disk", found)


def genesis_of(settings: Settings) -> Genesis | Finding:
    try:
        return read_genesis(settings)
    except BadSettings as why:
        return fail("genesis", str(why), "copy genesis.cwg from another member, and compare the ledger id with two")


def genesis_findings(settings: Settings, genesis: Genesis) -> Iterator[Finding]:
    if settings.member not in {each.id for each in genesis.members}:
        yield warn(
            "genesis",
            f"{settings.member} is not among its members",
            "right if it was admitted later; else mend `member` in node.toml",
        )
    else:
        pilot = ", a pilot: one party could rewrite it" if genesis.pilot else ""
        yield ok("genesis", f"{len(genesis.members)} members{pilot}; ledger {genesis.ledger_id.hex()}")
    ours = {"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest}
    for table in genesis.tables:
        if table.name in ours and ours[table.name] != table.digest:
            yield warn(
                "tables",
                f"this program's {table.name} table is not the one that genesis adopted",
                "right if members voted for a newer one; else install the version of commonward that they agreed on",
            )
