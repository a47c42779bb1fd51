"""CometBFT's own kvstore beside ours: four validators with the same settings and no application of their own.

It runs inside CometBFT, keeps its state in memory, and checks no signature: what it does is what ordering alone costs.
A client hands transactions in batches to each node's RPC and reads from block metas how many stand.
"""

import asyncio
import base64
import bisect
import itertools
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bench._consortium import quiet
from commonward.adapters.cometbft.home import RPC_SOCKET, Facts, Home, Tuning, _config, _toml, node_id
from commonward.adapters.cometbft.process import Child, find_binary
from commonward.apps.founding import Founded
from commonward.apps.settings import load
from commonward.apps.wiring import open_keys
from commonward.ledger.ids import MemberId, Purpose

__all__ = ["KvWindow", "kvstore_main"]

_BATCH = 50
_BLOCK_BYTES = 2 << 20
_LOOK_S = 0.02


class KvWindow(NamedTuple):
    """`stood`: from each block, the wall time and how many stood by then; `begun`: when each was handed in, in order;
    `cpu`: processor seconds of the four CometBFT."""

    begun: list[float]
    stood: list[tuple[float, int]]
    size: int
    cpu: float

    def spans(self) -> list[tuple[float, float]]:
        """Begun and stood, by order: the mempool is first come, first served."""
        counts = [count for _, count in self.stood]
        found = []
        for at, begun in enumerate(self.begun):
            block = bisect.bisect_right(counts, at)
            if block < len(counts):
                found.append((begun, self.stood[block][0]))
        return found


def kvstore_main(pipe: Connection, founded: Founded, members: Sequence[MemberId], folder: str) -> None:
    """The four and the client in one process of ours; the four are CometBFT's own."""
    quiet()
    asyncio.run(_kvstore(pipe, founded, members, Path(folder)))


async def _kvstore(pipe: Connection, founded: Founded, members: Sequence[MemberId], folder: Path) -> None:
    genesis = founded.genesis.genesis
    tuning = replace(Tuning(), bundle=4096)
    settings = {member: load(founded.members[member]) for member in members}
    keys = {member: open_keys(settings[member]) for member in members}
    nodes = {member: node_id(keys[member].public(Purpose.NODE)[1]) for member in members}
    homes, children = [], []
    for member in members:
        home = Home(folder / member)
        peers = {nodes[other]: str(settings[other].p2p) for other in members if other != member}
        facts = Facts(member=member, listen=str(settings[member].p2p), peers=peers)
        home.write(genesis, facts, tuning)
        config = _config(facts, tuning)
        config |= {"proxy_app": "kvstore", "filter_peers": False}
        config["rpc"] |= {"max_request_batch_size": 0}
        (home.directory / "config" / "config.toml").write_text(_toml(config))
        _bound_blocks(home.directory / "config" / "genesis.json")
        home.reveal(keys[member].seed(Purpose.NODE), keys[member].seed(Purpose.VALIDATE))
        child = Child(find_binary(), home.directory, tuning.go_collector)
        await child.start()
        homes.append(home)
        children.append(child)
    clients = [_Client(home.socket(RPC_SOCKET)) for home in homes]
    try:
        loop = asyncio.get_running_loop()
        with suppress(EOFError, OSError):
            while True:
                command: tuple[Any, ...] = await loop.run_in_executor(None, pipe.recv)
                if command[0] == "end":
                    break
                try:
                    if command[0] == "ready":
                        await asyncio.gather(*(client.ready(len(members) - 1) for client in clients))
                        answer: Any = True
                    else:
                        answer = await _load(clients, children, *command[1:])
                except Exception as error:
                    answer = RuntimeError(f"kvstore could not {command[0]}: {error!r}")
                pipe.send(answer)
    finally:
        for client in clients:
            await client.close()
        for child in children:
            await child.stop(3)
        for home in homes:
            home.close()
        pipe.send(True)


def _bound_blocks(path: Path) -> None:
    """kvstore takes whatever it is given into a block, where our application bounds it."""
    genesis = json.loads(path.read_text())
    genesis["consensus_params"]["block"]["max_bytes"] = str(_BLOCK_BYTES)
    path.write_text(json.dumps(genesis))


class _Client:
    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=8), timeout=aiohttp.ClientTimeout(total=20)
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, question: object) -> Any:
        async with self._session.post("http://cometbft/", json=question) as response:
            return json.loads(await response.read())

    async def call(self, method: str, **params: Any) -> Any:
        return (await self.post({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})).get("result")

    async def ready(self, peers: int) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                net, status = await self.call("net_info"), await self.call("status")
                if int(net["n_peers"]) >= peers and int(status["sync_info"]["latest_block_height"]) >= 1:
                    return
            await asyncio.sleep(0.1)

    async def hand_in(self, transactions: Sequence[bytes]) -> None:
        await self.post(
            [
                {
                    "jsonrpc": "2.0", "id": at, "method": "broadcast_tx_async",
                    "params": {"tx": base64.b64encode(each).decode()},
                }
                for at, each in enumerate(transactions)
            ]
        )  # fmt: skip


async def _load(clients: Sequence[_Client], children: Sequence[Child], size: int, window: int, seconds: float) -> Any:
    """Keep `window` under way over all nodes for so long, then wait for the rest."""
    from bench._network import comet_cpu

    numbers = itertools.count(time.time_ns())
    begun: list[float] = []
    stood: list[tuple[float, int]] = []
    landed = 0
    status = await clients[0].call("status")
    height = int(status["sync_info"]["latest_block_height"])
    used = sum(comet_cpu(child.pid) for child in children)
    until = time.monotonic() + seconds

    async def hand(client: _Client) -> None:
        while time.monotonic() < until:
            if len(begun) - landed > window - _BATCH:
                await asyncio.sleep(_LOOK_S / 4)
                continue
            now = time.time()
            begun.extend([now] * _BATCH)
            await client.hand_in([b"%d=" % next(numbers) + b"x" * (size - 20) for _ in range(_BATCH)])

    handing = [asyncio.create_task(hand(client)) for client in clients]
    while time.monotonic() < until + 30 and (landed < len(begun) or time.monotonic() < until):
        metas = (await clients[0].call("blockchain", minHeight=str(height + 1), maxHeight=str(height + 20))) or {}
        new = sorted((int(each["header"]["height"]), int(each["num_txs"])) for each in metas.get("block_metas", ()))
        for at, count in new:
            if at == height + 1:
                height, landed = at, landed + count
                stood.append((time.time(), landed))
        await asyncio.sleep(_LOOK_S)
    await asyncio.gather(*handing)
    return KvWindow(begun, stood, size, sum(comet_cpu(child.pid) for child in children) - used)
