"""Brings a member back from its backup, whole or not at all.

    read into a new folder beside DATA, each file compared with the manifest -> genesis, blocks and vault checked
    -> what a validator has voted for: the newest that is known, never an older one -> in place, by one rename

A validator that forgets what it voted for may vote twice, which takes its weight away for good. So a validator comes
back only with something newer than the backup: the state that is on this machine, a copy from the dead machine's disk,
or the height that the others have reached, below which it will then never vote.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from commonward.adapters.keys import read_private, write_private
from commonward.adapters.store.copying import vault_fault
from commonward.adapters.store.errors import StoreError
from commonward.adapters.store.readonly import read_blocks
from commonward.apps.applying import APPLICATION
from commonward.apps.backup import (
    BLOCKS,
    CHUNK,
    MANIFEST,
    PASSPHRASE,
    VAULT,
    VOTES,
    BackupRefused,
    Hashed,
    Manifest,
    Progress,
    voted_height,
)
from commonward.apps.founding import GENESIS
from commonward.apps.settings import FILE
from commonward.ledger.genesis import GenesisError, SignedGenesis

_KNOWN: Final = re.compile(
    "|".join(
        (
            *map(re.escape, (FILE, GENESIS, APPLICATION, PASSPHRASE, VAULT, VOTES, MANIFEST)),
            r"(keys|ca|ca-next)/[A-Za-z0-9][A-Za-z0-9.-]*",
            re.escape(BLOCKS) + r"/blocks-[0-9]+\.log",
        )
    )
)
_MOST_MANIFEST: Final = 64 << 20
_LAST_ROUND: Final = (1 << 31) - 1
_PRECOMMIT: Final = 3  # CometBFT's last step of a round


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was brought back. `aside`: where what was there before is now."""

    manifest: Manifest
    data: Path
    aside: Path | None
    has_passphrase: bool
    votes_after: int | None  # a validator's: it votes at greater heights only


def look(file: Path) -> Manifest:
    """What a backup says it holds, without bringing it back. Raises BackupRefused."""
    manifest = None
    with _archive(file) as tar:
        for info in tar:
            manifest = _manifest(tar, info, file) if info.name == MANIFEST else None
    if manifest is None:
        raise BackupRefused(f"{file} does not end with its manifest: it was cut short, or is no backup of ours")
    return manifest


def restore(
    file: Path,
    data: Path,
    now: int,
    *,
    replace: bool = False,
    passphrase_file: Path | None = None,
    votes_file: Path | None = None,
    network_height: int | None = None,
    progress: Progress = lambda what: None,
) -> Restored:
    """Bring a member back to `data`.

    Args:
        replace: what is at `data` is set aside, under another name; without, `data` must be new or empty.
        passphrase_file: the words that open the keys, where the backup was made without them.
        votes_file: a copy of the dead machine's priv_validator_state.json.
        network_height: the height that the other members have reached: this validator votes above the next one only.

    Raises:
        BackupRefused: nothing was changed; the text says what was expected, found, and what to do.
    """
    taken = data.exists() and any(data.iterdir())
    if taken and not replace:
        raise BackupRefused(f"{data} is not empty; restore elsewhere, or set it aside with --replace")
    if taken:
        _stopped(data)
    data.parent.mkdir(parents=True, exist_ok=True)
    made = data.with_name(f".{data.name}.restoring")
    shutil.rmtree(made, ignore_errors=True)  # of a restore that was killed
    made.mkdir(mode=0o700)
    try:
        manifest = _unpack(file, made, progress)
        progress("checking")
        _check(made, manifest)
        votes_after = _votes(made, data, manifest, votes_file, network_height)
        has_passphrase = _passphrase(made, data, passphrase_file)
        for folder in ("staff", "ledger"):
            _folder(made, made / folder)
        aside = None
        if taken:
            stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
            aside = data.with_name(f"{data.name}.replaced-{stamp}")
            data.rename(aside)
        elif data.exists():
            data.rmdir()
        made.rename(data)
    except (OSError, StoreError) as cause:
        raise BackupRefused(f"{file} cannot be brought back: {cause}; {data} is as it was") from cause
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Restored(manifest=manifest, data=data, aside=aside, has_passphrase=has_passphrase, votes_after=votes_after)


def _stopped(data: Path) -> None:
    """Nobody works there: a node that goes on writing in a folder that was set aside would vote from it."""
    for lock in (data / BLOCKS / "LOCK", data / "sequencer" / "blocks" / "LOCK"):
        with contextlib.suppress(FileNotFoundError), lock.open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise BackupRefused(f"a process of this member works in {data}: stop it first") from cause


# ------------------------------------------------------------------------------------------------------------ unpacking


@contextlib.contextmanager
def _archive(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as tar:
            yield tar
    except tarfile.TarError as cause:
        raise BackupRefused(f"{file} is not a whole backup of ours ({cause}); take another copy") from cause
    except OSError as cause:
        raise BackupRefused(f"{file}: cannot be read ({cause.strerror or cause})") from cause


def _body(tar: tarfile.TarFile, info: tarfile.TarInfo, file: Path) -> IO[bytes]:
    body = tar.extractfile(info) if info.isreg() else None
    if body is None or not _KNOWN.fullmatch(info.name):
        raise BackupRefused(f"{file} holds {info.name!r}, which no backup of ours does; nothing was taken from it")
    return body


def _manifest(tar: tarfile.TarFile, info: tarfile.TarInfo, file: Path) -> Manifest:
    try:
        return Manifest.parse(_body(tar, info, file).read(_MOST_MANIFEST))
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise BackupRefused(f"{file}: its {MANIFEST} cannot be read ({cause})") from cause


def _unpack(file: Path, to: Path, progress: Progress) -> Manifest:
    found: dict[str, tuple[int, str]] = {}
    manifest = None
    with _archive(file) as tar:
        for info in tar:
            if manifest is not None:
                raise BackupRefused(f"{file} goes on after its manifest: it was altered")
            if info.name == MANIFEST:
                manifest = _manifest(tar, info, file)
                continue
            progress(info.name)
            hashed = Hashed(_body(tar, info, file), info.size)
            target = to / info.name
            _folder(to, target.parent)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                while part := hashed.read(CHUNK):
                    out.write(part)
                out.flush()
                os.fsync(out.fileno())
            found[info.name] = (info.size, hashed.digest.hexdigest())
    if manifest is None:
        raise BackupRefused(f"{file} does not end with its manifest: it was cut short; take another copy")
    for name in sorted({*found, *manifest.files}):
        if found.get(name) != manifest.files.get(name):
            raise BackupRefused(f"{file}: {name} is not what the manifest says it was; take another copy")
    return manifest


def _folder(root: Path, folder: Path) -> None:
    """Made with all above it, each open to its owner alone: `parents=True` would leave those in between open."""
    for each in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
        (root / each).mkdir(mode=0o700, exist_ok=True)


def _check(made: Path, manifest: Manifest) -> None:
    """Beyond its checksums: is it one member's, of one ledger, and sound."""
    try:
        genesis = SignedGenesis.parse((made / GENESIS).read_bytes()).genesis
    except (OSError, GenesisError) as cause:
        raise BackupRefused(f"the genesis in it cannot be used: {cause}") from cause
    if genesis.ledger_id.hex() != manifest.ledger:
        raise BackupRefused(f"its manifest says ledger {manifest.ledger}, its genesis {genesis.ledger_id.hex()}")
    fault = vault_fault(made / VAULT) if (made / VAULT).exists() else ""
    if fault:
        raise BackupRefused(f"the vault in it is damaged ({fault}); take another backup")
    height = 0
    for height, _ in read_blocks(made / BLOCKS):  # noqa: B007  the last is wanted
        pass
    if height != manifest.height:
        raise BackupRefused(f"expected blocks up to {manifest.height} in it, found {height}")


# -------------------------------------------------------------------------------------------------------------- secrets


def _passphrase(made: Path, data: Path, given: Path | None) -> bool:
    """Puts the words beside the keys they open: those given, else the backup's, else those that were there."""
    if given is not None:
        words = read_private(given).strip()
        write_private(made / PASSPHRASE, words + b"\n", replace=True)
    elif not (made / PASSPHRASE).exists() and (data / PASSPHRASE).exists():
        write_private(made / PASSPHRASE, read_private(data / PASSPHRASE))
    return (made / PASSPHRASE).exists()


def _votes(
    made: Path, data: Path, manifest: Manifest, votes_file: Path | None, network_height: int | None
) -> int | None:
    """Keep the newest that is known of this validator's votes. None where the backup is of no validator."""
    if manifest.validator is None and not (data / VOTES).exists() and votes_file is None:
        return None
    newer = []
    for path in (data / VOTES, votes_file):
        if path is not None and path.exists():
            newer.append(path.read_bytes())
        elif path is not None and path == votes_file:
            raise BackupRefused(f"{votes_file}: there is no such file")
    if network_height is not None:
        newer.append(_abstaining(network_height + 1))
    if not newer:
        raise BackupRefused(
            f"this backup is of a validator that had voted at height {manifest.validator} when it was made, and may "
            "have voted since: with that forgotten it could vote twice, and lose its weight. Make sure that the old "
            "machine is off for good, then give --validator-state FILE (priv_validator_state.json from its disk), or "
            "--network-height N (the height that two other members show now: it votes above the next one only)"
        )
    try:
        newest = max(newer, key=_standing)
        if manifest.validator is not None and voted_height(newest) < manifest.validator:
            raise BackupRefused(
                f"the backup knows of votes up to height {manifest.validator}; what you give would bring back an older "
                f"state, of height {voted_height(newest)}: give the newest there is"
            )
    except ValueError as cause:
        if isinstance(cause, BackupRefused):
            raise
        raise BackupRefused(f"not the vote state of a validator: {cause}") from cause
    _folder(made, (made / VOTES).parent)
    write_private(made / VOTES, newest, replace=True)
    return voted_height(newest)


def _standing(data: bytes) -> tuple[int, int, int]:
    said = json.loads(data)
    return voted_height(data), int(said.get("round", 0)), int(said.get("step", 0))


def _abstaining(height: int) -> bytes:
    """As if it had voted in the last round there can be at this height: CometBFT then signs nothing up to it."""
    return json.dumps({"height": str(height), "round": _LAST_ROUND, "step": _PRECOMMIT}, indent=2).encode()
