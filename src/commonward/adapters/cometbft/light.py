"""Headers for a member who joins: what its CometBFT's light client asks goes to other members over their own links.

    a newcomer's CometBFT -> light-0.sock in its home -> this node -> (mutual TLS) -> a member's node -> its CometBFT

CometBFT's RPC listens on no network, and its light client wants servers to ask: two at least, which it compares. So the
newcomer's node opens a socket for each of some members and passes the questions on; a member answers those about
headers and nothing else (`LightDoor`). None of the answers is trusted: the light client checks signatures from the one
header that it starts from, and that header is one which members with more than a third of the weight name
(`trusted_start`), by the weights of the genesis or state that the newcomer has.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from commonward.adapters.cometbft.home import StateSync
from commonward.adapters.cometbft.rpc import RpcAway
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway

__all__ = ["LIGHT_PATH", "Ask", "LightDoor", "LightServers", "trusted_start"]

LIGHT_PATH: Final = "comet/light"

Ask = Callable[[MemberId, str, bytes], Awaitable[bytes]]
"""As `workflows.ports.Peers.ask`. Raises PeerAway."""

_SNAPSHOTS: Final = "snapshots"
_PASSED_ON: Final = {
    "commit": ("height",),
    "validators": ("height", "page", "per_page"),
    "consensus_params": ("height",),
    "status": (),
}
_LONGEST: Final = 4096
_SERVERS: Final = 4
_CANDIDATES: Final = 3
_PATIENCE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class LightDoor:
    """Answers `LIGHT_PATH` for other members."""

    def __init__(
        self, call: Callable[[str, Mapping[str, Any]], Awaitable[Any]], heights: Callable[[], Sequence[int]]
    ) -> None:
        """`call`: our own CometBFT (`Rpc.call`). `heights`: of the snapshots that can be fetched here."""
        self._call = call
        self._heights = heights

    async def answer(self, member: MemberId, body: bytes) -> bytes:
        """Never raises for what the bytes hold."""
        try:
            question = json.loads(body) if len(body) <= _LONGEST else None
            match question:
                case {"method": "snapshots"}:
                    return json.dumps({"result": {"heights": list(self._heights())}}).encode()
                case {"method": str(method), "params": dict(params)} if method in _PASSED_ON:
                    asked = {name: str(params[name])[:20] for name in _PASSED_ON[method] if name in params}
                    found = await self._call(method, asked)
                    failed = isinstance(found, dict) and set(found) == {"error"}
                    return json.dumps(found if failed else {"result": found}).encode()
        except (ValueError, RpcAway) as why:
            return _error(str(why)[:200])
        return _error("this node tells members of headers, validators, parameters and snapshots, and of nothing else")


def _error(why: str) -> bytes:
    return json.dumps({"error": {"code": -32600, "message": "not answered", "data": why}}).encode()


class LightServers:
    """Sockets in a newcomer's home, each of which speaks for one member. CometBFT names them relative to its home."""

    def __init__(self, socket: Callable[[str], Path], ask: Ask, members: Sequence[MemberId]) -> None:
        """`socket`: where we find a socket of the home (`Home.socket`)."""
        self._socket = socket
        self._ask = ask
        self._members = tuple(members)[:_SERVERS]
        self._runners: list[web.AppRunner] = []

    async def start(self) -> tuple[str, ...]:
        """The addresses for CometBFT's settings. Raises OSError."""
        addresses = []
        for number, member in enumerate(self._members):
            name = f"light-{number}.sock"
            app = web.Application()
            app.router.add_post("/{any:.*}", self._handler(member))
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            self._runners.append(runner)
            path = self._socket(name)
            path.unlink(missing_ok=True)
            await web.UnixSite(runner, path).start()
            path.chmod(0o600)
            addresses.append(f"unix://{name}")
        return tuple(addresses)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def _handler(self, member: MemberId) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            number: object = -1
            try:
                question = json.loads(await request.read())
                number = question.get("id", -1)
                passed = {"method": question["method"], "params": question.get("params") or {}}
                async with asyncio.timeout(_PATIENCE_S):
                    answer = json.loads(await self._ask(member, LIGHT_PATH, json.dumps(passed).encode()))
            except (PeerAway, TimeoutError) as why:
                # In words that CometBFT's light client takes for "not here": it asks another, and this one again
                # later. After any other error it would never ask this member again, and give up after the last.
                answer = json.loads(_error(f"height 0 is not available: {member}: {why or 'no answer in time'}"[:200]))
            except (ValueError, KeyError, AttributeError) as why:
                answer = json.loads(_error(f"{member}: {why}"[:200]))
            return web.json_response({"jsonrpc": "2.0", "id": number, **answer})

        return handle


async def _asked(ask: Ask, member: MemberId, method: str, **params: str) -> Any:
    """One member's result; None when it has none."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            said = await ask(member, LIGHT_PATH, json.dumps({"method": method, "params": params}).encode())
        answer = json.loads(said)
    except (PeerAway, TimeoutError, ValueError) as why:
        _log.info("member_told_no_header", member=member, why=str(why))
        return None
    return answer.get("result") if isinstance(answer, dict) else None


async def trusted_start(ask: Ask, me: MemberId, weights: Mapping[MemberId, int]) -> tuple[int, str] | None:
    """Height and header hash from which a newcomer's light client may start: of the newest snapshot for which members
    with more than a third of all weight name one hash, and nobody with as much another. At least one of them is
    honest then, by the assumption that consensus rests on. None where there is no snapshot, or no such agreement.
    """
    members = [member for member, weight in weights.items() if weight and member != me]
    heights: set[int] = set()
    for told in await asyncio.gather(*(_asked(ask, member, _SNAPSHOTS) for member in members)):
        match told:
            case {"heights": [*found]}:
                heights.update([each for each in found if type(each) is int and each > 0][-_CANDIDATES:])
    for height in sorted(heights, reverse=True):
        behind: dict[str, int] = {}
        said = await asyncio.gather(*(_asked(ask, member, "commit", height=str(height)) for member in members))
        for member, commit in zip(members, said, strict=True):
            match commit:
                case {"signed_header": {"commit": {"height": str(at), "block_id": {"hash": str(name)}}}}:
                    if at == str(height) and len(name) == 64:
                        behind[name] = behind.get(name, 0) + weights[member]
        enough = [name for name, weight in behind.items() if 3 * weight > sum(weights.values())]
        if len(enough) == 1:
            return height, enough[0]
        _log.warning("no_header_to_start_from", height=height, named=behind)
    return None


def state_sync(servers: Sequence[str], start: tuple[int, str]) -> StateSync:
    return StateSync(servers=tuple(servers), height=start[0], hash=start[1])
