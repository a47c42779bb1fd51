"""A member's CometBFT home, written anew from genesis and the member's facts at each start.

    config/config.toml, genesis.json        from `Tuning`, `Facts` and the ledger's genesis: the one source is there
    config/priv_validator_key.json          only while CometBFT starts (it reads them once): `reveal`, then `conceal`
    config/node_key.json
    data/priv_validator_state.json          what this validator last signed. Never reset, never copied elsewhere:
                                            without it a validator signs a second block of a height, and is punished
    abci.sock, rpc.sock                     addressed relative to the home, for a socket's path has at most 107 bytes

docs/cometbft.md says what each setting bought.
"""

import base64
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members import validator_address

__all__ = [
    "ABCI_SOCKET", "RPC_SOCKET", "VOTE_STATE", "Facts", "Home", "HomeDamaged", "Tuning", "chain_id", "first_height",
    "node_id",
]  # fmt: skip

VOTE_STATE: Final = Path("data/priv_validator_state.json")
ABCI_SOCKET: Final = "abci.sock"
RPC_SOCKET: Final = "rpc.sock"

_CONFIG: Final = Path("config/config.toml")
_GENESIS: Final = Path("config/genesis.json")
_VALIDATOR_KEY: Final = Path("config/priv_validator_key.json")
_NODE_KEY: Final = Path("config/node_key.json")
_BLOCKS: Final = Path("data/blockstore.db")
_BEGUN: Final = Path("data/begun")
_LONGEST_PATH: Final = 100


class HomeDamaged(RuntimeError):
    """The home lacks what must not be made up."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How CometBFT is set. None of it can change an outcome; all members had better agree on the times.

    Times in milliseconds, sizes in bytes, rates in bytes a second.
    """

    empty_block_ms: int = 5_000
    commit_ms: int = 300
    propose_ms: int = 3_000
    propose_delta_ms: int = 500
    vote_ms: int = 1_000
    vote_delta_ms: int = 500
    gossip_ms: int = 10
    flush_ms: int = 10
    dial_ms: int = 3_000
    rate: int = 64 << 20
    packet: int = 64 << 10
    bundle: int = 270_000
    mempool_bundles: int = 50_000
    mempool_bytes: int = 64 << 20
    snapshot_discovery_ms: int = 5_000
    snapshot_from: int = 500  # a newcomer fetches fewer blocks than this one by one
    go_collector: int = 400
    log_level: str = "error"


@dataclass(frozen=True, kw_only=True)
class StateSync:
    """Where a newcomer starts instead of at the first block. `servers`: at least two, `http://HOST:PORT` of nodes'
    RPC; `height` and `hash` of a block that its operator trusts."""

    servers: tuple[str, ...]
    height: int
    hash: str
    trust_ms: int = 7 * 86_400_000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is this member's. `listen`: HOST:PORT of p2p. `peers`: node id -> HOST:PORT of others."""

    member: MemberId
    listen: str
    peers: Mapping[str, str] = field(default_factory=dict)
    external: str = ""
    state_sync: StateSync | None = None


def node_id(public: bytes) -> str:
    """How CometBFT names a node, from its NODE key."""
    return validator_address(public).hex()


def chain_id(genesis: Genesis) -> str:
    return f"commonward-{genesis.ledger_id.hex()[:16]}"


def first_height(genesis: Genesis) -> int:
    """Of the first block: heights go on where the ledger that this one goes on from ended."""
    return genesis.height + 1


class Home:
    """One member's home on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._handle = -1

    # ------------------------------------------------------------------------------------------------------- writing

    def write(self, genesis: Genesis, facts: Facts, tuning: Tuning) -> None:
        """Settings and genesis, as they are now. Raises OSError; HomeDamaged where blocks are but no vote state."""
        for part in ("config", "data"):
            (self.directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        (self.directory / RPC_SOCKET).unlink(missing_ok=True)  # CometBFT does not start over one that was left
        self._place(_CONFIG, _toml(_config(facts, tuning)).encode())
        self._place(_GENESIS, _json(_genesis(genesis)))
        state = self.directory / VOTE_STATE
        if state.exists():
            return
        if (self.directory / _BLOCKS).exists():
            raise HomeDamaged(
                f"expected {state}, which says what this validator signed last: without it it could sign twice. "
                f"Put the file back; if it is lost, register a new validator key (`commonward member rotate-key "
                f"validate`), wait until the ledger knows it, then remove {self.directory} and start again"
            )
        self._place(VOTE_STATE, _json({"height": "0", "round": 0, "step": 0}))

    def reveal(self, node_seed: bytes, validator_seed: bytes) -> None:
        """Put the private keys where CometBFT reads them. `conceal` once it has: it reads them before it connects."""
        node, validator = SigningKey(node_seed), SigningKey(validator_seed)
        self._place(_NODE_KEY, _json({"priv_key": _private(node)}))
        public = bytes(validator.verify_key)
        self._place(
            _VALIDATOR_KEY,
            _json(
                {
                    "address": validator_address(public).hex().upper(),
                    "pub_key": _public(public),
                    "priv_key": _private(validator),
                }
            ),
        )

    def conceal(self) -> None:
        for path in (_NODE_KEY, _VALIDATOR_KEY):
            (self.directory / path).unlink(missing_ok=True)

    def _place(self, path: Path, data: bytes) -> None:
        """All of it or none, readable by this member alone, on disk before anyone counts on it."""
        target = self.directory / path
        scratch = target.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(target)

    # ------------------------------------------------------------------------------------------------------- reading

    def signed_height(self) -> int:
        """The height of what this validator signed last; 0 before the first."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads((self.directory / VOTE_STATE).read_bytes())["height"])
        return 0

    def begun(self) -> bool:
        """Whether CometBFT has a block. One that has takes no snapshot; one that has none takes blocks only for an
        application that has none either."""
        return (self.directory / _BEGUN).exists()

    def begin(self) -> None:
        (self.directory / _BEGUN).touch(mode=0o600)

    def start_over(self) -> None:
        """Drop what a state sync left that came to no block: CometBFT would go on from there. What this validator
        signed stays. Raises OSError."""
        if not self.begun() and (self.directory / VOTE_STATE).exists():
            for path in (self.directory / "data").glob("*/"):
                shutil.rmtree(path)

    def socket(self, name: str) -> Path:
        """Where we find a socket of the home; through an open handle where its path is too long for one."""
        path = self.directory / name
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            return path
        if self._handle < 0:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        return Path(f"/proc/self/fd/{self._handle}/{name}")

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def _public(key: bytes) -> dict[str, str]:
    return {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(key).decode()}


def _private(key: SigningKey) -> dict[str, str]:
    both = bytes(key) + bytes(key.verify_key)
    return {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(both).decode()}


def _genesis(genesis: Genesis) -> dict[str, Any]:
    """CometBFT's genesis. The app hash of height 0 is told by the application (InitChain), so it stands empty here."""
    time = datetime.fromtimestamp((genesis.created + 1) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    validators = []
    for member in genesis.members:
        keys = [key for key in member.keys if key.purpose == Purpose.VALIDATE]
        if member.weight and keys:
            public = max(keys, key=lambda key: (key.starts, key.id)).public
            validators.append(
                {
                    "address": validator_address(public).hex().upper(),
                    "pub_key": _public(public),
                    "power": str(member.weight),
                    "name": member.id,
                }
            )
    return {
        "genesis_time": f"{time}.{(genesis.created + 1) % 1000:03d}Z",
        "chain_id": chain_id(genesis),
        "initial_height": str(first_height(genesis)),
        "consensus_params": {
            # -1: a proposer sees all that waits, so that who floods first keeps nobody out; what a block may hold is
            # a rule of the ledger, and every node judges proposals by it.
            "block": {"max_bytes": "-1", "max_gas": "-1"},
            # Evidence counts as long as either bound holds: two days, and 100,000 blocks where they come fast.
            "evidence": {"max_age_num_blocks": "100000", "max_age_duration": "172800000000000", "max_bytes": "65536"},
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "0"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": validators,
        "app_hash": "",
    }


def _ms(count: int) -> str:
    return f"{count}ms"


def _config(facts: Facts, tuning: Tuning) -> dict[str, Any]:
    """What differs from CometBFT's defaults, or must never change with them."""
    ids = ",".join(sorted(facts.peers))
    sync = facts.state_sync
    return {
        "proxy_app": f"unix://{ABCI_SOCKET}",
        "moniker": facts.member,
        "log_level": tuning.log_level,
        "log_format": "json",
        "genesis_file": str(_GENESIS),
        "priv_validator_key_file": str(_VALIDATOR_KEY),
        "priv_validator_state_file": str(VOTE_STATE),
        "node_key_file": str(_NODE_KEY),
        "filter_peers": True,
        "rpc": {
            "laddr": f"unix://{RPC_SOCKET}",
            "unsafe": True,  # for dial_peers: CometBFT gives up on a peer that was away for long. The socket is ours
            "max_body_bytes": 2_000_000,
        },
        "p2p": {
            "laddr": f"tcp://{facts.listen}",
            "external_address": facts.external,
            "persistent_peers": ",".join(f"{peer}@{at}" for peer, at in sorted(facts.peers.items())),
            "unconditional_peer_ids": ids,
            "private_peer_ids": ids,
            "addr_book_strict": False,
            "allow_duplicate_ip": True,
            "max_num_inbound_peers": 64,
            "max_num_outbound_peers": 0,
            "pex": False,
            "flush_throttle_timeout": _ms(tuning.flush_ms),
            "max_packet_msg_payload_size": tuning.packet,
            "send_rate": tuning.rate,
            "recv_rate": tuning.rate,
            "dial_timeout": _ms(tuning.dial_ms),
        },
        "mempool": {
            "type": "flood",
            "recheck": True,
            "recheck_timeout": "5s",
            "size": tuning.mempool_bundles,
            "max_txs_bytes": tuning.mempool_bytes,
            "cache_size": 2 * tuning.mempool_bundles,
            "max_tx_bytes": tuning.bundle,
        },
        "statesync": {
            "enable": sync is not None,
            "rpc_servers": ",".join(sync.servers) if sync else "",
            "trust_height": sync.height if sync else 0,
            "trust_hash": sync.hash if sync else "",
            "trust_period": _ms(sync.trust_ms) if sync else "168h0m0s",
            "discovery_time": _ms(tuning.snapshot_discovery_ms),
            "temp_dir": "",
        },
        "consensus": {
            "timeout_propose": _ms(tuning.propose_ms),
            "timeout_propose_delta": _ms(tuning.propose_delta_ms),
            "timeout_prevote": _ms(tuning.vote_ms),
            "timeout_prevote_delta": _ms(tuning.vote_delta_ms),
            "timeout_precommit": _ms(tuning.vote_ms),
            "timeout_precommit_delta": _ms(tuning.vote_delta_ms),
            "timeout_commit": _ms(tuning.commit_ms),
            "create_empty_blocks": False,
            "create_empty_blocks_interval": _ms(tuning.empty_block_ms),
            "peer_gossip_sleep_duration": _ms(tuning.gossip_ms),
            "block_time_tolerance": "30s",
        },
        "storage": {"discard_abci_responses": True},
        "tx_index": {"indexer": "null"},
        "instrumentation": {"prometheus": False},
    }


def _toml(table: Mapping[str, Any]) -> str:
    """JSON writes strings, numbers, truths and lists as TOML does."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in inner.items())]
    return "\n".join(lines) + "\n"
