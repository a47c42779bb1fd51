"""A backup of one member in one file, made while its node runs, and what brings it back on another machine.

    keys/ ca/ node.toml genesis.cwg   what the member is; the passphrase only when asked for: with it, the file is all
    vault.sqlite                      as of one moment
    ledger/blocks/                    whole blocks up to about that moment; state and log are made from them again.
                                      On solo only: under consensus a node that comes back starts from the others'
    cometbft/.../priv_validator_state.json   the least that this validator has voted for
    backup.json                       last: what the rest must be, byte for byte. A file that was cut short has none

The vault is as sealed in here as at home; who keeps the file, and whether it is encrypted once more, is the member's
matter. Never in it: the sequencer's own log. Two histories follow from an old one, so it is made anew from the log of
the node that stands highest (docs/operations.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Final

from commonward.adapters.store.copying import copy_vault, prefixes
from commonward.apps.applying import APPLICATION
from commonward.apps.founding import GENESIS
from commonward.apps.settings import FILE, Settings
from commonward.apps.wiring import read_genesis

FORMAT: Final = "commonward backup v1"
MANIFEST: Final = "backup.json"
VAULT: Final = "vault.sqlite"
BLOCKS: Final = "ledger/blocks"
PASSPHRASE: Final = "passphrase"  # noqa: S105  a name of a file
VOTES: Final = "cometbft/data/priv_validator_state.json"
"""What CometBFT has voted for, which it must never do twice (`adapters.cometbft.home`)."""

CHUNK: Final = 1 << 20

Progress = Callable[[str], None]


class BackupRefused(ValueError):
    """A backup that cannot be made or brought back as asked; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    member: str
    ledger: str
    made: int  # ms
    program: str
    height: int  # of the last block in it
    validator: int | None  # the height that this validator had voted at, where it is one
    files: Mapping[str, tuple[int, str]]  # name -> size, SHA-256

    def to_bytes(self) -> bytes:
        said = {**self.__dict__, "format": FORMAT, "files": {name: list(each) for name, each in self.files.items()}}
        return json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Raises ValueError."""
        said = json.loads(data)
        if not isinstance(said, dict) or said.pop("format", None) != FORMAT:
            raise ValueError(f"expected {FORMAT!r}")
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in said.pop("files").items()}
        return cls(files=files, **said)


def voted_height(data: bytes) -> int:
    """The height in a priv_validator_state.json. Raises ValueError."""
    said = json.loads(data)
    if not isinstance(said, dict) or "height" not in said:
        raise ValueError("expected the vote state of a CometBFT validator")
    return int(said["height"])


def back_up(
    settings: Settings, to: Path, now: int, *, with_passphrase: bool = False, progress: Progress = lambda what: None
) -> Manifest:
    """Write a backup of the member to the new file `to` (0600). The node may run; it is not disturbed.

    Raises:
        BackupRefused: `to` exists, or something that a backup needs is missing.
        StoreError, VaultFull: something cannot be read, is damaged, or there is no room.
    """
    genesis = read_genesis(settings)
    try:
        out = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as cause:
        raise BackupRefused(f"{to} exists; give the name of a new file: an old backup is never overwritten") from cause
    except OSError as cause:
        raise BackupRefused(f"{to}: cannot be written ({cause.strerror})") from cause
    try:
        with out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            writer = _Writer(tar, now)
            progress("keys, CA and settings")
            for name in _small(settings.data):
                writer.add(name, (settings.data / name).read_bytes())
            if with_passphrase:
                writer.add(PASSPHRASE, settings.passphrase() + b"\n")
            votes = settings.data / VOTES
            voted = votes.read_bytes() if votes.exists() else None
            if voted is not None:
                writer.add(VOTES, voted)
            if settings.vault_file.exists():
                progress("vault")
                _vault(writer, settings.vault_file, to)
            height = 0
            # CometBFT, which keeps its own blocks, will not start under a ledger that is ahead of them: a node that is
            # brought back under consensus has neither, and gets both from the others.
            log = () if genesis.consensus else prefixes(settings.data / BLOCKS, lambda at: progress(f"block {at:,}"))
            for prefix in log:
                height = prefix.height
                with prefix.path.open("rb") as file:
                    writer.copy(f"{BLOCKS}/{prefix.path.name}", file, prefix.length)
            manifest = Manifest(
                member=settings.member,
                ledger=genesis.ledger_id.hex(),
                made=now,
                program=_program(),
                height=height,
                validator=None if voted is None else voted_height(voted),
                files=writer.files,
            )
            _Writer(tar, now).add(MANIFEST, manifest.to_bytes())
            progress("syncing")
            tar.close()
            out.flush()
            os.fsync(out.fileno())
    except OSError as cause:
        to.unlink(missing_ok=True)
        raise BackupRefused(f"{to}: the backup failed ({cause.strerror or cause}); nothing is left of it") from cause
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return manifest


def _small(data: Path) -> Iterator[str]:
    """What the member is, without the passphrase: names relative to its directory."""
    for name in (FILE, GENESIS, APPLICATION):
        if (data / name).exists():
            yield name
    for folder in ("keys", "ca", "ca-next"):
        yield from sorted(f"{folder}/{path.name}" for path in (data / folder).glob("*") if path.is_file())


def _vault(writer: _Writer, vault: Path, to: Path) -> None:
    copy = to.with_name(f".{to.name}.vault")
    copy.unlink(missing_ok=True)  # of a backup that was killed
    copy_vault(vault, copy)
    try:
        with copy.open("rb") as file:
            writer.copy(VAULT, file, copy.stat().st_size)
    finally:
        copy.unlink()


def _program() -> str:
    try:
        return version("commonward")
    except PackageNotFoundError:
        return "from source"


class _Writer:
    """Adds files to the archive and remembers what they were."""

    def __init__(self, tar: tarfile.TarFile, now: int) -> None:
        self._tar = tar
        self._now = now
        self.files: dict[str, tuple[int, str]] = {}

    def add(self, name: str, data: bytes) -> None:
        self.copy(name, io.BytesIO(data), len(data))

    def copy(self, name: str, source: IO[bytes], length: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = length, 0o600, self._now // 1000
        hashed = Hashed(source, length)
        self._tar.addfile(info, hashed)
        if hashed.left:
            raise BackupRefused(f"{name} became shorter by {hashed.left} bytes while it was read; try again")
        self.files[name] = (length, hashed.digest.hexdigest())


class Hashed(io.RawIOBase):
    """So many bytes of a stream, hashed as they are read."""

    def __init__(self, inner: IO[bytes], length: int) -> None:
        self._inner = inner
        self.left = length
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        self.digest.update(data)
        return data
