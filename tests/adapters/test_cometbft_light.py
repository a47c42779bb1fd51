"""What a newcomer starts from: no member alone can choose it, and nobody is told more than headers."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from commonward.adapters.cometbft.light import LIGHT_PATH, LightDoor, LightServers, trusted_start
from commonward.adapters.cometbft.rpc import RpcAway
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway

ME = MemberId("shield")
FOUR = {MemberId(name): 10 for name in ("clinic", "health", "north", "south")}
TRUE, FALSE = "AA" * 32, "BB" * 32


class Others:
    """Members that say of each height which header stands there; those in `away` say nothing."""

    def __init__(self, said: Mapping[str, Mapping[int, str]], away: tuple[str, ...] = ()) -> None:
        self.said = said
        self.away = away

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        assert path == LIGHT_PATH
        if member in self.away or member not in self.said:
            raise PeerAway(f"{member} is away")
        question = json.loads(body)
        if question["method"] == "snapshots":
            return json.dumps({"result": {"heights": list(self.said[member])}}).encode()
        height = int(question["params"]["height"])
        if height not in self.said[member]:
            return b'{"error": {"message": "no such height"}}'
        commit = {"height": str(height), "block_id": {"hash": self.said[member][height]}}
        return json.dumps({"result": {"signed_header": {"commit": commit}}}).encode()


async def test_the_newest_snapshot_is_taken_whose_header_more_than_a_third_name() -> None:
    others = Others({name: {1000: FALSE, 2000: TRUE} for name in FOUR})
    assert await trusted_start(others.ask, ME, FOUR) == (2000, TRUE)


async def test_one_member_cannot_lead_a_newcomer_to_a_ledger_of_its_own() -> None:
    liar = {9000: FALSE, 2000: FALSE}
    others = Others({"clinic": liar, **{name: {2000: TRUE} for name in ("health", "north", "south")}})
    assert await trusted_start(others.ask, ME, FOUR) == (2000, TRUE)


async def test_one_member_alone_is_not_believed() -> None:
    others = Others({name: {2000: TRUE} for name in FOUR}, away=("health", "north", "south"))
    assert await trusted_start(others.ask, ME, FOUR) is None


async def test_where_two_sides_name_two_headers_neither_is_taken() -> None:
    halves = {"clinic": FALSE, "health": FALSE, "north": TRUE, "south": TRUE}
    others = Others({name: {2000: header} for name, header in halves.items()})
    assert await trusted_start(others.ask, ME, FOUR) is None


async def test_a_newcomers_own_word_counts_for_nothing() -> None:
    others = Others({name: {2000: TRUE} for name in FOUR}, away=("clinic", "health", "north"))
    assert await trusted_start(others.ask, MemberId("north"), FOUR) is None


async def test_without_snapshots_a_newcomer_takes_the_blocks_from_the_first_on() -> None:
    assert await trusted_start(Others({name: {} for name in FOUR}).ask, ME, FOUR) is None


@pytest.mark.parametrize("said", [b"", b"[]", b'{"result": {"heights": "all"}}', b'{"result": {"heights": [-1, "x"]}}'])
async def test_nonsense_from_a_member_is_no_snapshot(said: bytes) -> None:
    async def ask(member: MemberId, path: str, body: bytes) -> bytes:
        return said

    assert await trusted_start(ask, ME, FOUR) is None


class Comet:
    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.away = False

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        if self.away:
            raise RpcAway("starting")
        self.asked.append((method, params))
        return {"height": "5"}


async def test_members_are_told_headers_and_nothing_else() -> None:
    """The door leads to our own CometBFT: what it passes on must not make it dial, or take transactions."""
    comet = Comet()
    door = LightDoor(comet.call, lambda: [1000, 2000])
    told = await door.answer(ME, b'{"method": "commit", "params": {"height": "5", "unsafe": "x"}}')
    assert json.loads(told) == {"result": {"height": "5"}}
    assert comet.asked == [("commit", {"height": "5"})]
    assert json.loads(await door.answer(ME, b'{"method": "snapshots"}')) == {"result": {"heights": [1000, 2000]}}
    for body in (
        b'{"method": "dial_peers", "params": {"peers": ["x"]}}',
        b'{"method": "broadcast_tx_sync", "params": {"tx": "AA"}}',
        b'{"method": "broadcast_evidence", "params": {}}',
        b"not json",
        b"[1]",
        b'{"method": "commit", "params": {"height": "' + b"9" * 5000 + b'"}}',
    ):
        assert "error" in json.loads(await door.answer(ME, body))
    assert len(comet.asked) == 1
    comet.away = True
    assert "error" in json.loads(await door.answer(ME, b'{"method": "status", "params": {}}'))


async def test_a_newcomers_cometbft_asks_through_sockets_in_its_home() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def ask(member: MemberId, path: str, body: bytes) -> bytes:
        asked.append((member, json.loads(body)))
        if member == "south":
            raise PeerAway("south is away")
        return b'{"result": {"signed_header": 1}}'

    with TemporaryDirectory() as folder:
        servers = LightServers(lambda name: Path(folder) / name, ask, [MemberId("north"), MemberId("south")])
        assert await servers.start() == ("unix://light-0.sock", "unix://light-1.sock")
        answers = []
        for number in range(2):
            connector = aiohttp.UnixConnector(path=f"{folder}/light-{number}.sock")
            async with aiohttp.ClientSession(connector=connector) as session:
                question = {"jsonrpc": "2.0", "id": 7, "method": "commit", "params": {"height": "9"}}
                async with session.post("http://light/", json=question) as response:
                    answers.append(await response.json())
        await servers.stop()
        await asyncio.sleep(0)
    assert answers[0] == {"jsonrpc": "2.0", "id": 7, "result": {"signed_header": 1}}
    # CometBFT asks again whoever lacks a height, and never again who answers with any other error (its provider's
    # `regexpMissingHeight`): a member that was away for a moment must not be lost to the newcomer.
    said = answers[1]["error"]["data"]
    assert answers[1]["id"] == 7 and "south is away" in said and re.search(r"height \d+ is not available", said)
    assert asked[0] == ("north", {"method": "commit", "params": {"height": "9"}})
