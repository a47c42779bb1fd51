"""State sync of one node: where its snapshots lie, the change to stores that one was restored into, and the history
that is fetched afterwards."""

from pathlib import Path
from typing import Protocol

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.history import HistoryFiles
from commonward.adapters.store.restoring import RestoreFiles
from commonward.adapters.store.snapshots import SnapshotFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.apps.settings import BadSettings
from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis
from commonward.ledger.snapshot import Manifest
from commonward.records.line import Line, LineBroken, line_of
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.history import History
from commonward.workflows.ports import Clock, Peers
from commonward.workflows.snapshots import EVERY, SnapshotStore

__all__ = ["Stores", "open_history", "open_snapshots", "read_line"]


class Stores(Protocol):
    """The stores of a node that can be closed and opened anew over the same directory."""

    state: RocksStore
    tiles: TileFiles
    blocks: BlockFiles

    def close(self) -> None: ...
    def reopen(self) -> None: ...


def open_snapshots(
    *,
    replica: AgreeingReplica,
    files: Stores,
    directory: Path,
    shelf: Path,
    genesis: Genesis,
    clock: Clock,
    every: int = EVERY,
    map_bits: int = 17,
    first: Genesis | None = None,
) -> SnapshotStore:
    """The snapshots of a node that runs on `files`.

    `directory`: of the stores, which whoever opens them passes to `RestoreFiles` before. `shelf`: of the snapshots.
    `first`: see `SnapshotStore`. Raises StoreError.
    """
    ground = RestoreFiles(directory)

    async def adopt(_manifest: Manifest) -> None:
        replica.let_go()
        files.close()
        ground.settle()
        files.reopen()
        replica.begin_from(files.state, files.tiles, files.blocks)
        snapshots.moved(files.state, files.tiles, replica.flush)

    snapshots = SnapshotStore(
        genesis=genesis,
        state=files.state,
        log_store=files.tiles,
        flush=replica.flush,
        shelf=SnapshotFiles(shelf, clock.now),
        ground=ground,
        adopt=adopt,
        every=every,
        map_bits=map_bits,
        first=first,
    )
    return snapshots


def read_line(file: Path, genesis: Genesis) -> Line:
    """The geneses that led to this ledger; where it goes on from another, its genesis file carries them.

    Raises BadSettings.
    """
    if genesis.imported is None:
        return Line.of(genesis)
    try:
        return line_of(SignedGenesis.parse(file.read_bytes()))
    except OSError as cause:
        raise BadSettings(f"cannot read {file}: {cause.strerror}") from cause
    except (GenesisError, LineBroken) as cause:
        raise BadSettings(f"{file} is damaged ({cause}): copy it from another member") from cause


def open_history(
    *, replica: AgreeingReplica, files: Stores, directory: Path, line: Line, peers: Peers
) -> History[BlockFiles]:
    """What fetches the blocks from before this node's snapshot, if it began from one. `directory`: of the stores."""
    return History(
        replica=replica,
        stores=lambda: (files.blocks, files.tiles),
        staging=HistoryFiles(directory / "history"),
        line=line,
        peers=peers,
    )
