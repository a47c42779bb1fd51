"""A sequencer in a process of its own, for tests that kill it: `python solo_process.py FOLDER PORT`.

FOLDER has `tls.pem` (certificate and key of the operator), `authorities.pem` and `members` (lines: hex SHA-256 of a
certificate, member). Prints `ready` once it listens. Keys and genesis are those of `tests.ledgerkit`.
"""

import asyncio
import hashlib
import ssl
import sys
import time
from pathlib import Path

from commonward.adapters.solo.sequencer import Sequencer
from commonward.adapters.solo.server import SequencerServer
from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from tests.ledgerkit import demo_genesis, member_soft_key
from tests.memory_engine import MAP_BITS


class WallClock:
    def now(self) -> BlockTime:
        return BlockTime(time.time_ns() // 1_000_000)


async def main(folder: Path, port: int, created: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "tls.pem")
    context.load_verify_locations(folder / "authorities.pem")
    members = dict(line.split() for line in (folder / "members").read_text().splitlines())

    def resolve(certificate: bytes) -> MemberId | None:
        found = members.get(hashlib.sha256(certificate).hexdigest())
        return MemberId(found) if found else None

    key = member_soft_key("health", Purpose.SEQUENCE)
    tiles = TileFiles(folder / "tiles")
    blocks = BlockFiles(folder / "blocks")
    sequencer = Sequencer(
        genesis=demo_genesis(created=BlockTime(created)), store=RocksStore(folder / "state", first=tiles.sync),
        log_store=tiles, blocks=blocks, clock=WallClock(), public=key.public, sign=key.sign, map_bits=MAP_BITS,
    )  # fmt: skip
    await SequencerServer(sequencer, context, resolve).start("127.0.0.1", port)
    print("torn" if blocks.torn else "ready", sequencer.height, flush=True)
    await sequencer.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
