"""Cosignatures reach everyone without a sequencer: told by each, relayed by others, believed for the signature."""

import asyncio
from collections.abc import Callable

import pytest

from commonward.ledger.encoding import encode
from commonward.ledger.ids import MemberId
from commonward.workflows.exchange import COSIGNED_PATH, BadTelling, CosignExchange
from commonward.workflows.ports import PeerAway
from tests.agreeing_world import AgreeingWorld
from tests.workflows.test_agreeing import MEMBERS, releases


class Wire:
    """Peers by name; a pair that is cut cannot reach each other."""

    def __init__(self) -> None:
        self.exchanges: dict[str, CosignExchange] = {}
        self.cut: set[frozenset[str]] = set()

    def of(self, name: str) -> "_End":
        return _End(self, name)


class _End:
    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self._name = name

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        assert path == COSIGNED_PATH
        await asyncio.sleep(0)
        if frozenset({self._name, str(member)}) in self._wire.cut:
            raise PeerAway(f"{member} cannot be reached")
        return await self._wire.exchanges[member].answer(MemberId(self._name), body)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def exchanging(world: AgreeingWorld, cut: set[frozenset[str]]) -> None:
    """A block of one transaction whose cosignatures go over the exchange alone; waits until all have it proven."""
    wire = Wire()
    wire.cut = cut
    for name, node in world.nodes.items():
        wire.exchanges[name] = CosignExchange(node, wire.of(name))
        world.lines[name].cosigned = lambda *_, name=name: wire.exchanges[name].cosigned()  # type: ignore
    running = [asyncio.create_task(each.run()) for each in wire.exchanges.values()]
    try:
        await world.hand("north", world.bundle(releases(world, 1), "north"))
        await world.round()
        size = world.nodes["north"].machine.tip.size

        def all_proven() -> bool:
            return all((said := node.proven()) is not None and said.size == size for node in world.nodes.values())

        await until(all_proven)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_every_member_hears_every_other() -> None:
    async with AgreeingWorld() as world:
        await exchanging(world, set())


async def test_a_line_reaches_whom_its_author_cannot_through_a_third() -> None:
    """North reaches nobody but clinic: the others hear of its line, and it of theirs, from clinic."""
    async with AgreeingWorld() as world:
        await exchanging(world, {frozenset({"north", other}) for other in MEMBERS if other not in ("north", "clinic")})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        encode({1: 2}),
        encode([["north", -1, bytes(32), "line"]]),
        encode([["north", 1, bytes(31), "line"]]),
        encode([["north", 1, bytes(32), "x" * 600]]),
        encode([["NOT A MEMBER", 1, bytes(32), "line"]]),
        encode([[1] * 2000]),
    ],
)
async def test_what_is_no_telling_is_refused_and_changes_nothing(body: bytes) -> None:
    async with AgreeingWorld() as world:
        exchange = CosignExchange(world.nodes["north"], Wire().of("north"))
        before = world.nodes["north"].lines_over_latest()
        with pytest.raises(BadTelling):
            await exchange.answer(MemberId("south"), body)
        assert world.nodes["north"].lines_over_latest() == before


async def test_a_line_that_its_name_did_not_sign_counts_for_nobody() -> None:
    async with AgreeingWorld() as world:
        await world.hand("north", world.bundle(releases(world, 1), "north"))
        await world.round()
        north = world.nodes["north"]
        await until(lambda: any(member == "clinic" for member, _, _ in north.lines_over_latest()))
        lines = north.lines_over_latest()
        clinic = next(line for member, _, line in lines if member == "clinic")
        head = lines[0][1]
        forged = encode([["south", head.size, head.root, clinic.to_text().replace("clinic", "south")]])
        world.stop("south")
        fresh = world.start("south")
        await CosignExchange(fresh, Wire().of("south")).answer(MemberId("clinic"), forged)
        assert fresh.proven() is None
        assert not fresh.accused
