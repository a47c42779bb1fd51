"""A node that was away for too long says what it needs, who lacks it and what to do; one that comes on is silent."""

import json
from dataclasses import replace

from commonward.adapters.cometbft.engine import EngineStatus
from commonward.apps.forgotten import Forgotten
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway

STANDS = EngineStatus(
    running=True, catching_up=True, height=40, power=1, signed_height=40, peers=(MemberId("north"), MemberId("south")),
    of=(MemberId("north"), MemberId("south")),
)  # fmt: skip


class World:
    """Who keeps which blocks from where on; None for a member that is away."""

    def __init__(self, **kept: int | None) -> None:
        self.kept = kept
        self.status = STANDS
        self.asked = 0
        self.looking = Forgotten(lambda: self.status, self._ask)

    async def _ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        self.asked += 1
        first = self.kept[member]
        if first is None:
            raise PeerAway("away")
        return json.dumps({"result": {"sync_info": {"earliest_block_height": str(first)}}}).encode()

    async def looks(self, times: int = 2) -> str:
        for _ in range(times):
            await self.looking.look()
        return self.looking.trouble


async def test_where_nobody_keeps_the_next_block_it_is_named_with_what_to_do() -> None:
    said = await World(north=100, south=90).looks()
    assert "needs block 41" in said and "north, south keep blocks from 90 on" in said and "--replace" in said


async def test_one_who_keeps_the_block_is_enough() -> None:
    assert await World(north=100, south=41).looks() == ""


async def test_nobody_is_asked_while_blocks_come_or_before_the_first() -> None:
    world = World(north=100, south=100)
    assert await world.looks(1) == "", "one look tells nothing yet"
    world.status = replace(STANDS, height=41)
    assert await world.looks(1) == ""
    world.status = replace(STANDS, height=0)
    assert await world.looks() == "" and world.asked == 0


async def test_it_is_told_though_cometbft_takes_itself_for_caught_up() -> None:
    """It compares itself with those peers alone that have its next block: with none of them, it is the longest."""
    world = World(north=100, south=90)
    world.status = replace(STANDS, catching_up=False)
    assert "needs block 41" in await world.looks()


async def test_it_is_said_no_longer_once_blocks_come_and_silence_proves_nothing() -> None:
    world = World(north=100, south=None)
    assert "north keep" in await world.looks()
    world.kept["north"] = None
    assert await world.looks() == ""
    world.kept["north"] = 100
    assert await world.looks(1) != ""
    world.status = replace(STANDS, height=42)
    assert await world.looks(1) == ""


async def test_an_answer_that_is_none_is_passed_over() -> None:
    world = World(north=100)
    world.status = replace(STANDS, peers=(MemberId("north"),))
    for junk in (b"", b"{}", b"[]", b'{"result": {"sync_info": {"earliest_block_height": "x"}}}'):

        async def says(member: MemberId, path: str, body: bytes, junk: bytes = junk) -> bytes:
            return junk

        looking = Forgotten(lambda: world.status, says)
        await looking.look()
        await looking.look()
        assert looking.trouble == ""
