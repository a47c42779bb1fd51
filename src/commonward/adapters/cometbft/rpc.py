"""CometBFT's RPC, over its unix socket: hand in a bundle, ask how it stands, have it dial a peer.

Its words end here: what it says of a bundle becomes a `Handed`, everything else that goes wrong `RpcAway`.
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from commonward.ledger.ids import Digest

__all__ = ["Handed", "Rpc", "RpcAway", "Standing", "refusals_from_log", "refusals_to_log"]

_TEXT: Final = 300
_CODE_OK: Final = 0
CODE_REFUSED: Final = 1
CODE_LATER: Final = 2
"""Nothing is wrong with the bundle, but its carrier has as much waiting as it may."""

# What CometBFT's mempool says, by the words of its errors (they have no codes); tests hold both versions to them.
_IN_CACHE: Final = "tx already exists in cache"
_FULL: Final = ("mempool is full", "mempool is still rechecking")


class RpcAway(ConnectionError):
    """CometBFT did not answer, or not what it was asked."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of a bundle: queued when `refusals` and `why` are both empty. `later`: full now, offer it again."""

    refusals: tuple[tuple[Digest, int, str], ...] = ()
    why: str = ""
    later: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How CometBFT stands. `height`: of its last block. `peers`: node ids it is connected to."""

    height: int
    catching_up: bool
    power: int
    peers: tuple[str, ...]


def refusals_to_log(refusals: Sequence[tuple[bytes, int, str]], why: str) -> str:
    """As CheckTx says it in `log`, the one field that comes back to who handed the bundle in."""
    return json.dumps({"refusals": [[bytes(d).hex(), c, text[:_TEXT]] for d, c, text in refusals], "why": why[:_TEXT]})


def refusals_from_log(log: str) -> Handed:
    """The reverse. What is not ours becomes `why`."""
    try:
        match json.loads(log):
            case {"refusals": [*refusals], "why": str(why)}:
                return Handed(tuple((Digest(bytes.fromhex(d)), int(c), str(t)) for d, c, t in refusals), why)
    except (ValueError, TypeError):
        pass
    return Handed(why=log[:_TEXT] or "refused without a reason")


class Rpc:
    """One client; its connections are kept open."""

    def __init__(self, socket: Path, timeout_s: float = 10.0) -> None:
        self._connector = aiohttp.UnixConnector(path=str(socket), limit=16)
        self._session = aiohttp.ClientSession(
            connector=self._connector, timeout=aiohttp.ClientTimeout(total=timeout_s), auto_decompress=False
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result; or a JSON-RPC error as `{"error": {...}}`. Raises RpcAway."""
        question = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params or {}}
        try:
            # The name is never looked up: the connector has but one place to go.
            async with self._session.post("http://cometbft/", json=question) as response:
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as cause:
            raise RpcAway(f"CometBFT did not answer {method}: {cause or type(cause).__name__}") from cause
        if isinstance(answer, dict) and "error" in answer:
            return {"error": answer["error"]}
        if not isinstance(answer, dict) or "result" not in answer:
            raise RpcAway(f"expected a result of {method} from CometBFT, got {str(answer)[:100]}")
        return answer["result"]

    async def hand_in(self, bundle: bytes) -> Handed:
        """Put a bundle into CometBFT's mempool, which asks our own node first. Raises RpcAway."""
        result = await self.call("broadcast_tx_sync", {"tx": base64.b64encode(bundle).decode()})
        error = result.get("error")
        if error is not None:
            text = f"{error.get('message', '')}: {error.get('data', '')}" if isinstance(error, dict) else str(error)
            if _IN_CACHE in text:
                return Handed()  # it waits already, or stands in a block, which will tell
            return Handed(why=text[:_TEXT], later=any(each in text for each in _FULL))
        if int(result["code"]) == _CODE_OK:
            return Handed()
        found = refusals_from_log(str(result.get("log", "")))
        return replace(found, later=True) if int(result["code"]) == CODE_LATER else found

    async def standing(self) -> Standing:
        """Raises RpcAway."""
        status, net = await self.call("status"), await self.call("net_info")
        try:
            return Standing(
                int(status["sync_info"]["latest_block_height"]),
                bool(status["sync_info"]["catching_up"]),
                int(status["validator_info"]["voting_power"]),
                tuple(sorted(str(each["node_info"]["id"]) for each in net["peers"])),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise RpcAway(f"expected the status of CometBFT, got {str(status)[:200]}") from cause

    async def dial(self, peers: Sequence[str]) -> None:
        """Have it connect to `ID@HOST:PORT` again, however long they were away. Raises RpcAway."""
        await self.call("dial_peers", {"peers": list(peers), "persistent": True, "unconditional": True})
