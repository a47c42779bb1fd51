"""Fifty members, simulated in one process and in virtual time: what a block and its cosignatures cost each of them.

Every member runs its real replica and exchange; links delay by 2 ms within a region of ten and by 10 to 40 ms between,
and each member's clock moves on by the processor time that it spent. Consensus is a model: one round without faults.
"""

import asyncio
import statistics
from collections.abc import Iterator

from bench._machine import percentile
from bench._simulation import Members, Round, virtual_loop
from bench.results import Result
from commonward.adapters.cometbft.home import Tuning

MANY, FEW = 50, 4
TRANSACTIONS = 1000
BLOCKS = 3


def run(scale: float = 1.0) -> Iterator[Result]:
    blocks = max(2, int(BLOCKS * scale))
    few, many = (_rounds(count, blocks) for count in (FEW, MANY))
    members, kilo = f"{MANY} members", 1024
    how = f"{TRANSACTIONS:,} receipts of 350 bytes, a bundle of each member; {members}, {blocks} blocks, medians"

    def middle(rounds: list[Round], what: str) -> float:
        return float(statistics.median(getattr(each, what) for each in rounds))

    yield Result(
        name="fifty.block.cpu", value=middle(many, "block_cpu") * 1000, unit="ms",
        conditions=f"of one member: judging it with its signatures, executing, keeping it in memory; {how}",
        reference=f"{FEW} members", reference_value=middle(few, "block_cpu") * 1000,
    )  # fmt: skip
    yield Result(
        name="fifty.cosign.cpu", value=middle(many, "cosign_cpu") * 1000, unit="ms",
        conditions=f"of one member a block: hearing the others' lines and verifying a quorum of them; {how}",
        reference=f"{FEW} members", reference_value=middle(few, "cosign_cpu") * 1000,
    )  # fmt: skip
    yield Result(
        name="fifty.cosign.messages", value=middle(many, "messages") / MANY, unit="messages",
        conditions=f"asked by one member a block, each with an answer; {how}",
        reference=f"{FEW} members", reference_value=middle(few, "messages") / FEW,
    )  # fmt: skip
    yield Result(
        name="fifty.cosign.bytes", value=middle(many, "bytes") / MANY / kilo, unit="KiB",
        conditions=f"asked and answered, by one member a block, with about 0.6 KB of TLS and HTTP a message; {how}",
        reference=f"{FEW} members", reference_value=middle(few, "bytes") / FEW / kilo,
    )  # fmt: skip
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        yield Result(
            name=f"fifty.quorum.{name}", value=percentile([t for each in many for t in each.proven], share), unit="s",
            conditions="virtual time from the proposal until a quorum's cosignatures are verified at a member; "
            f"what CometBFT waits besides ({Tuning().commit_ms} ms after each commit) is not in it",
            reference="until executed there", reference_value=percentile([t for r in many for t in r.executed], share),
        )  # fmt: skip
    yield Result(
        name="fifty.quorum.four", value=percentile([t for each in few for t in each.proven], 0.5), unit="s",
        conditions=f"the same p50 for {FEW} members over the same links",
    )  # fmt: skip


def _rounds(count: int, blocks: int) -> list[Round]:
    with virtual_loop() as loop:
        members = Members(count)

        async def play() -> list[Round]:
            tasks = await members.run()
            done = [await members.round(members.bundles(TRANSACTIONS // count)) for _ in range(blocks + 1)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return done[1:]  # the first finds caches cold

        try:
            return loop.run_until_complete(play())
        finally:
            members.close()
