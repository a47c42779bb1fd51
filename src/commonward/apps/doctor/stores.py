"""What the member keeps: its vault, its own log, and its copy of the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from commonward.adapters.store.errors import StoreError
from commonward.adapters.store.readonly import read_blocks
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.doctor.growth import Growth
from commonward.apps.errors import FORESEEN
from commonward.apps.founding import GENESIS
from commonward.apps.intake import Intake
from commonward.apps.outsider import Counts, geneses_before, replay
from commonward.apps.settings import Settings
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime
from commonward.ledger.transactions import InvalidBlock, parse_block
from commonward.workflows.blocklog import Record, RecordError

_CLOCK_FAR: Final = 30_000
_LOG_ENTRIES: Final = 500
_TELL_EACH: Final = 1000


def vault(settings: Settings) -> Iterator[Finding]:
    try:
        with Intake(settings) as own:
            yield ok("vault", f"opens; {own.vault.last_number():,} records")
            waiting = own.ingest.dead_letters.count()
            if waiting:
                do = "`commonward dead-letters list` says where and why"
                yield warn("dead letters", f"{waiting:,} wait for someone to look at them", do)
            else:
                yield ok("dead letters", "none")
            last = own.log.head()[0]
            read = sum(1 for _ in own.log.entries(max(1, last - _LOG_ENTRIES + 1)))
            yield ok("member's log", f"{last:,} entries; the chain of the last {read:,} holds")
    except FORESEEN as why:
        yield fail("vault", str(why), "keep the file as it is, and restore the last good copy beside it")


def blocks(
    settings: Settings,
    genesis: Genesis,
    now: BlockTime,
    growth: Growth,
    *,
    deep: bool,
    progress: Callable[[str], None],
) -> Iterator[Finding]:
    """Reads every block; `growth` is told of each."""
    path = settings.ledger_directory / "blocks"
    height, last = 0, b""
    try:
        first = 0
        for height, last in read_blocks(path):
            first = first or height
            growth.note(height, last)
            if height % _TELL_EACH == 0:
                progress(f"block {height:,}")
        if not height:
            do = f"start the node, and it fetches them: commonward node {settings.data}"
            yield warn("block log", "no block yet", do)
            return
        growth.close(last)
        header = parse_block(Record.parse(last).block, genesis.ledger_id).header
        since = "" if first == 1 else f" from block {first:,} on, as kept here"
        yield ok("block log", f"{height - first + 1:,} blocks{since}, every checksum and the chain hold")
        ahead = header.time - now
        moment = datetime.fromtimestamp(header.time // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        if ahead > _CLOCK_FAR:
            found = f"the last block's header is {ahead / 1000:.0f} s ahead of this machine's clock"
            yield fail("clock", found, "set the clock (NTP): the node refuses blocks that are 30 s off")
        else:
            yield ok("clock", f"not behind the last block, of {moment}")
        if deep:
            counts = Counts()
            total = 0
            before = geneses_before((settings.data / GENESIS).read_bytes())
            for total, _ in enumerate(replay(genesis, path, counts, before=before), 1):
                if total % _TELL_EACH == 0:
                    progress(f"transaction {total:,}")
            found = f"{total:,} transactions executed again; every block gives the checkpoint that was signed after it"
            yield ok("ledger", found)
    except (StoreError, InvalidBlock, RecordError) as why:
        do = "keep the files as evidence; move them away, and the node fetches the blocks again"
        if genesis.consensus:  # CometBFT does not start over a ledger that is not as far as it is
            do = "`commonward backup`, then `commonward restore --replace`: keeps these files and what was voted for"
        yield fail("block log", str(why), do)
