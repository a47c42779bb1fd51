"""The sequencer killed with -9 while members submit: nothing that was acknowledged is lost, nothing happens twice."""

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from commonward.adapters.solo.follower import Follower
from commonward.ledger.ids import BlockTime, MemberId
from commonward.ledger.transactions import parse_transaction
from commonward.workflows.following import FollowingReplica
from commonward.workflows.ports import LedgerAway
from tests.adapters.solo_process import WallClock
from tests.ledgerkit import Kit, demo_genesis
from tests.memory_engine import MAP_BITS, Disk, SoftKeys
from tests.tls_world import TlsWorld
from tests.workflows.test_replica import release

SCRIPT = Path(__file__).with_name("solo_process.py")


class Killable:
    """The sequencer's process over a folder."""

    def __init__(self, folder: Path, created: int) -> None:
        self.folder = folder
        self.created = created
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])

    def start(self) -> str:
        """Start it, and return the line it says once it listens."""
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT, self.folder, str(self.port), str(self.created)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"},
        )  # fmt: skip
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def test_the_sequencer_killed_and_restarted_loses_and_doubles_nothing(tmp_path: Path) -> None:
    created = time.time_ns() // 1_000_000 - 1000
    tls = TlsWorld(tmp_path)
    operator, north_tls = tls.member("health"), tls.member("north")
    tls.trust(operator, north_tls)
    folder = tmp_path / "sequencer"
    folder.mkdir()
    next(tmp_path.glob("health-*.pem")).rename(folder / "tls.pem")
    (folder / "authorities.pem").write_bytes(
        b"".join(each.certificate.public_bytes(Encoding.PEM) for each in tls.authorities.values())
    )
    (folder / "members").write_text(
        "\n".join(f"{hashlib.sha256(der).hexdigest()} {member}" for der, member in tls.registered.items())
    )
    process = Killable(folder, created)
    assert process.start().startswith("ready 0")
    genesis, disk = demo_genesis(created=BlockTime(created)), Disk()
    north = FollowingReplica(
        keys=SoftKeys(MemberId("north")), genesis=genesis, store=disk.store, log_store=disk.log, blocks=disk.blocks,
        clock=WallClock(), submit_ms=20_000, map_bits=MAP_BITS,
    )  # fmt: skip
    following = asyncio.create_task(Follower(north, north_tls.client, tls.resolve, "127.0.0.1", process.port).run())
    kit = Kit(genesis=genesis, map_bits=MAP_BITS)
    kit.now = WallClock().now()
    raws = [kit.sign(release(n), by="north") for n in range(120)]

    async def submit(raw: bytes) -> int:
        while True:
            try:
                return (await north.submit(raw)).code
            except LedgerAway:
                continue

    waiting = []
    for turn in range(3):
        for raw in raws[turn * 40 : turn * 40 + 40]:
            waiting.append(asyncio.create_task(submit(raw)))
            await asyncio.sleep(0.001)
        process.kill()
        if turn == 1:  # the last write was torn: half a frame at the end of the file
            with next(folder.glob("blocks/blocks-*")).open("ab") as out:
                out.write(b"CWB1 torn in the middle of")
        said = await asyncio.to_thread(process.start)
        assert said.startswith("torn" if turn == 1 else "ready")
    assert set(await asyncio.gather(*waiting)) == {0}
    entries = north.entries(0, 1000)
    assert sorted(entry.digest for entry in entries) == sorted(parse_transaction(raw).digest for raw in raws)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    process.kill()
    north.close()
