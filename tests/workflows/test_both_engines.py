"""Stories told with a `Consortium` are told on both engines, and on the one that is named."""

from tests.consortium import Consortium
from tests.memory_agreement import MemoryAgreement


async def test_the_consortium_is_on_the_engine_that_was_asked_for(ordered_by: str) -> None:
    async with Consortium() as c:
        assert isinstance(c.engine, MemoryAgreement) == (ordered_by == "consensus")
        assert c.engine.genesis.consensus == (ordered_by == "consensus")
        await c.all_tick()
        assert len(c.engine.roots()) == 1
        assert c.north.node.proven() is not None
