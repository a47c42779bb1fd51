"""What a member may set for its own node. Read once, frozen, passed by name; this module alone reads the environment.

A setting that could change an outcome on the ledger is no setting: it stands in genesis.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

FILE = "node.toml"
ENGINES: Final = {"solo": ("sequencer",), "cometbft": ("p2p", "p2p_peers")}
"""Who orders: a sequencer that one member operates, or the members' CometBFT. And what each needs to be told."""

_ALWAYS: Final = ("member", "listen", "signing", "peers", "passphrase_file")
_TABLES: Final = ("peers", "p2p_peers")
_NUMBERS: Final = (
    "grace_ms", "answer_grid_ms", "copies_expire_days", "idle_block_s", "tsa_every_s", "keep_blocks", "snapshot_every",
)  # fmt: skip
_TSA_EVERY_MIN_S: Final = 60
_IDLE_BLOCK_MAX_S: Final = 20
_KEEP_BLOCKS_MIN: Final = 400_000
"""More than two days of blocks at the fastest pace (two a second): so long evidence of double signing counts. CometBFT
keeps the header and votes of a block that is forgotten earlier, and then for ever."""
_SNAPSHOT_EVERY_MIN: Final = 100


class BadSettings(ValueError):
    """A settings file that cannot be used; the text says which entry, what was expected and what was found."""


@dataclass(frozen=True, kw_only=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, where: str) -> Address:
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise BadSettings(f"{where}: expected HOST:PORT, got {text!r}")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One node's settings. Paths are relative to the data directory. Times in milliseconds unless named otherwise."""

    data: Path  # the member's data directory, 0700
    member: str  # who this node is; no default: a node must know
    listen: Address  # members' nodes call here, mutual TLS
    signing: Address  # patients' pages call here, TLS
    peers: Mapping[str, Address]  # every other member's `listen`
    passphrase_file: Path  # opens the keys at rest; a file, never an argument
    engine: str = "solo"  # one of ENGINES; must be the one that genesis was founded for
    sequencer: Address | None = None  # solo: where the operator's sequencer listens
    p2p: Address | None = None  # cometbft: where this node's CometBFT listens to the others'
    p2p_peers: Mapping[str, Address] = field(default_factory=dict)  # cometbft: other members' `p2p`
    cometbft: str = ""  # cometbft: another program than the pinned CometBFT that make installs
    idle_block_s: int = 5  # cometbft: with nothing to do, a block this often; header times lag by it
    keep_blocks: int = 2_000_000  # cometbft: so many of the last blocks CometBFT keeps; 0 for all
    snapshot_every: int = 1000  # cometbft: a snapshot for members who join at each multiple of it; 0 for none
    grace_ms: int = 4 * 3600 * 1000  # care goes on under a consent proven live this long ago
    answer_grid_ms: int = 5  # answers leave on this grid, refusals on a coarser one: their time tells nothing
    copies_expire_days: int = 30  # received copies nobody relied on are destroyed after this
    tsa_url: str = ""  # a time-stamping authority (RFC 3161); "" where there is none
    tsa_certificate: Path | None = None  # its certificates up to a root, PEM: what its tokens are judged by
    tsa_every_s: int = 3600  # it is asked at most this often, and only when the ledger has grown
    time_zone: str = "+08:00"  # of HL7 v2 time stamps that carry none
    log_level: str = "info"

    @property
    def ledger_directory(self) -> Path:
        return self.data / "ledger"

    @property
    def comet_home(self) -> Path:
        """Where CometBFT keeps its own: its blocks, and what it last signed. Never copy it to a second machine."""
        return self.data / "cometbft"

    @property
    def vault_file(self) -> Path:
        return self.data / "vault.sqlite"

    @property
    def socket(self) -> Path:
        """The control socket of this member's own programs, 0600."""
        return self.data / "node.sock"

    def tsa_certificates(self) -> bytes:
        """What tokens of the time-stamping authority are judged by. Raises BadSettings."""
        assert self.tsa_certificate is not None
        try:
            return self.tsa_certificate.read_bytes()
        except OSError as cause:
            raise BadSettings(f"tsa_certificate: cannot read {self.tsa_certificate}: {cause.strerror}") from cause

    def passphrase(self) -> bytes:
        """The words that open this member's keys. Raises BadSettings where the file is missing or open to others."""
        try:
            mode = self.passphrase_file.stat().st_mode
            text = self.passphrase_file.read_bytes().strip()
        except OSError as cause:
            raise BadSettings(f"passphrase_file: cannot read {self.passphrase_file}: {cause.strerror}") from cause
        # What systemd hands a service (LoadCredential) shows its reader's entry in the ACL as the group's bits.
        handed = os.environ.get("CREDENTIALS_DIRECTORY", "") == str(self.passphrase_file.parent)
        if mode & (0o037 if handed else 0o077):
            raise BadSettings(f"passphrase_file: {self.passphrase_file} is open to others; run chmod 600 on it")
        if len(text) < 12:
            raise BadSettings(f"passphrase_file: expected at least 12 characters in {self.passphrase_file}")
        return text


def load(data: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in `data`/node.toml; `COMMONWARD_<NAME>` in the environment goes before the file's entry.

    Raises BadSettings naming the entry.
    """
    environ = os.environ if environ is None else environ
    path = data / FILE
    try:
        found: dict[str, object] = tomllib.loads(path.read_text())
    except FileNotFoundError as cause:
        raise BadSettings(
            f"no {FILE} in {data}; is this a member's data directory? `commonward init` makes one"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        raise BadSettings(f"{path}: {cause}") from cause
    known = {field.name for field in fields(Settings)} - {"data"}
    unknown = sorted(set(found) - known)
    if unknown:
        raise BadSettings(f"{path}: unknown entry {unknown[0]!r}; known are {', '.join(sorted(known))}")
    for name in known - set(_TABLES):
        override = environ.get(f"COMMONWARD_{name.upper()}")
        if override is not None:
            found[name] = override
    values: dict[str, object] = {"data": data}
    for name in sorted(known):
        if name in found:
            values[name] = _parsed(name, found[name], path, data)
    engine = values.get("engine", "solo")
    missing = [name for name in (*_ALWAYS, *ENGINES[str(engine)]) if name not in values]
    if missing:
        why = f", which engine = {engine!r} needs" if missing[0] in ENGINES[str(engine)] else ""
        raise BadSettings(f"{path}: {missing[0]!r} is missing{why}")
    foreign = [name for kind, needs in ENGINES.items() if kind != engine for name in needs if name in values]
    if foreign:
        raise BadSettings(f"{path}: {foreign[0]!r} means nothing to engine = {engine!r}; remove it, or change engine")
    if values.get("tsa_url") and "tsa_certificate" not in values:
        raise BadSettings(f"{path}: 'tsa_certificate' is missing, which tsa_url needs: its tokens could not be judged")
    return Settings(**values)  # type: ignore[arg-type]  # each value was parsed to its field's type above


def _parsed(name: str, value: object, path: Path, data: Path) -> object:
    where = f"{path}: {name}"
    if name in _TABLES:
        if not isinstance(value, dict):
            raise BadSettings(f"{where}: expected a table of member = 'HOST:PORT', got {value!r}")
        return {member: Address.parse(str(text), f"{where}.{member}") for member, text in sorted(value.items())}
    if name in ("listen", "signing", "sequencer", "p2p"):
        return Address.parse(str(value), where)
    if name in ("passphrase_file", "tsa_certificate"):
        return data / str(value)
    if name == "tsa_url" and value and not str(value).startswith(("http://", "https://")):
        raise BadSettings(f"{where}: expected an address that starts with http:// or https://, got {value!r}")
    if name == "engine" and value not in ENGINES:
        raise BadSettings(f"{where}: expected {' or '.join(ENGINES)}, got {value!r}")
    if name in _NUMBERS:
        if isinstance(value, bool) or not str(value).isdigit():
            raise BadSettings(f"{where}: expected a whole number, got {value!r}")
        if name == "tsa_every_s" and int(str(value)) < _TSA_EVERY_MIN_S:
            raise BadSettings(f"{where}: expected at least {_TSA_EVERY_MIN_S} seconds, got {value!r}")
        if name == "idle_block_s" and not 1 <= int(str(value)) <= _IDLE_BLOCK_MAX_S:
            # Header times lag by it, and a node cosigns nothing whose time is 30 s off.
            raise BadSettings(f"{where}: expected 1 to {_IDLE_BLOCK_MAX_S} seconds, got {value!r}")
        least = {"keep_blocks": _KEEP_BLOCKS_MIN, "snapshot_every": _SNAPSHOT_EVERY_MIN}.get(name, 0)
        if 0 < int(str(value)) < least:
            raise BadSettings(f"{where}: expected 0, or at least {least:,}, got {value!r}")
        return int(str(value))
    return str(value)
