"""What CometBFT's RPC says of a bundle, in our words."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp import web

from commonward.adapters.cometbft.rpc import Handed, Rpc, RpcAway, refusals_from_log, refusals_to_log
from commonward.ledger.ids import Digest

D = Digest(bytes(range(32)))


class Fake:
    """Answers every call with what a test says."""

    def __init__(self) -> None:
        self.says: Any = {}
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.Response(text=self.says if isinstance(self.says, str) else json.dumps(self.says))


class World:
    def __init__(self, fake: Fake, rpc: Rpc) -> None:
        self.fake, self.rpc = fake, rpc


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with TemporaryDirectory() as folder:
        fake = Fake()
        app = web.Application()
        app.router.add_post("/", fake.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, f"{folder}/rpc.sock").start()
        rpc = Rpc(Path(folder) / "rpc.sock", timeout_s=30)
        yield World(fake, rpc)
        await rpc.close()
        await runner.cleanup()
        await asyncio.sleep(0)


async def test_a_bundle_that_waits_is_handed_in(world: World) -> None:
    world.fake.says = {"jsonrpc": "2.0", "id": 0, "result": {"code": 0, "log": ""}}
    assert await world.rpc.hand_in(b"bundle") == Handed()
    assert base64.b64decode(world.fake.asked[0]["params"]["tx"]) == b"bundle"
    assert world.fake.asked[0]["method"] == "broadcast_tx_sync"


async def test_a_refused_bundle_names_its_transactions_and_rules(world: World) -> None:
    log = refusals_to_log([(D, 105, "was there")], "")
    world.fake.says = {"result": {"code": 1, "log": log}}
    assert await world.rpc.hand_in(b"x") == Handed(((D, 105, "was there"),))
    world.fake.says = {"result": {"code": 1, "log": refusals_to_log([], "suspended")}}
    assert await world.rpc.hand_in(b"x") == Handed(why="suspended")


async def test_a_bundle_that_is_there_already_is_as_good_as_handed_in(world: World) -> None:
    world.fake.says = {"error": {"code": -32603, "message": "Internal error", "data": "tx already exists in cache"}}
    assert await world.rpc.hand_in(b"x") == Handed()


@pytest.mark.parametrize(
    "text",
    [
        "mempool is full: number of txs 5 (max: 5), total txs bytes 9 (max: 10)",
        "mempool is still rechecking after a new committed block, so it is considered as full",
    ],
)
async def test_a_full_mempool_means_later(world: World, text: str) -> None:
    world.fake.says = {"error": {"code": -32603, "message": "Internal error", "data": text}}
    handed = await world.rpc.hand_in(b"x")
    assert handed.later and "mempool" in handed.why


@pytest.mark.parametrize("said", ["<html>", "[]", '{"id": 0}', '"text"'])
async def test_an_answer_that_is_none_is_cometbft_being_away(world: World, said: str) -> None:
    world.fake.says = said
    with pytest.raises(RpcAway):
        await world.rpc.standing()


async def test_nobody_at_the_socket_is_cometbft_being_away(tmp_path: Path) -> None:
    rpc = Rpc(tmp_path / "none.sock")
    with pytest.raises(RpcAway, match="did not answer status"):
        await rpc.standing()
    await rpc.close()


@pytest.mark.parametrize("log", ["", "{}", "[1]", '{"refusals": [["zz", 1, ""]], "why": ""}', "out of gas"])
def test_a_log_that_is_not_ours_is_a_reason(log: str) -> None:
    handed = refusals_from_log(log)
    assert handed.why and not handed.refusals


def test_what_a_refusal_says_is_bounded() -> None:
    log = refusals_to_log([(D, 105, "long " * 1000)] * 256, "x" * 10_000)
    assert len(log) < 256 * 450
    assert len(refusals_from_log(log).refusals) == 256
