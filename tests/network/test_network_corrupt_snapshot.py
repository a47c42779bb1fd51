"""Members whose snapshots were damaged on disk do not hurt a newcomer: it refuses the chunks and asks elsewhere."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.network.net import PATIENCE_S, QUICK, Net, until
from tests.network.test_network_joining import first_block
from tests.workflows.test_replica import release


def damage(net: Net, name: str) -> int:
    """Turns a bit in every chunk. Later snapshots of the same state share the files."""
    chunks = list((net.nodes[name].disk.folder / "snapshots").glob("0*/chunk-*"))  # type: ignore[union-attr]
    for chunk in {each.stat().st_ino: each for each in chunks}.values():
        data = bytearray(chunk.read_bytes())
        data[-1] ^= 1
        with chunk.open("r+b") as file:
            file.write(data)
    return len(chunks)


async def test_a_newcomer_passes_over_members_whose_snapshots_are_damaged() -> None:
    tuning = replace(QUICK, empty_block_ms=1_000, snapshot_from=1)
    with TemporaryDirectory() as folder:
        few = {"keep_blocks": 2}
        async with Net(Path(folder), durable=True, snapshots_every=4, tuning=tuning, replica_options=few) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members * 2)]

            def newest(name: str) -> int:
                store = net.nodes[name].snapshots
                assert store is not None
                return max((each.height for each in store.offers()), default=0)

            for name in net.members:
                await until(lambda name=name: newest(name) > landed[-1].height, f"{name} has it all")  # type: ignore[misc]
                deadline = time.monotonic() + PATIENCE_S
                while await first_block(net, name) == 1:
                    assert time.monotonic() < deadline, f"{name} keeps all blocks"
                    await asyncio.sleep(0.2)
            assert all(damage(net, name) for name in net.members[:-1])
            await net.start("shield")
            await net.ready(["shield"])
            later = await net.submit(release(100), by=net.members[-1])
            await net.agree(size=later.index + 2)
            assert len(net.roots()) == 1
            assert net.nodes["shield"].disk.blocks.first > 1, "it took the blocks one by one"
