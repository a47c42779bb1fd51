"""Fresh stores beside those in use, and the change from one to the other, whole or not at all.

    files = RestoreFiles(directory)      before the stores in `directory` are opened: finishes or forgets what was begun
    fresh = files.fresh()                empty stores in directory/restoring
    files.complete()                     durable, closed, and from now on the node's: directory/restored
    files.settle()                       moved into place; the node's own stores must be closed

Until `complete` a crash leaves the old stores and no trace of the new; from then on, the next start has the new ones.
"""

import os
import shutil
from pathlib import Path

from .blocks import BlockFiles
from .errors import from_os
from .state import RocksStore
from .tiles import TileFiles

__all__ = ["STORES", "FreshFiles", "RestoreFiles"]

STORES = ("blocks", "tiles", "state")


class FreshFiles:
    """State, tiles and blocks of a node, empty, the state filled without a sync."""

    def __init__(self, path: Path) -> None:
        self.blocks = BlockFiles(path / "blocks")
        self.tiles = TileFiles(path / "tiles")
        self.state = RocksStore(path / "state", bulk=True)

    def flush(self) -> None:
        # In this order: the state never names a log longer than the files.
        self.tiles.sync()
        self.state.flush()

    def close(self) -> None:
        self.state.close()
        self.tiles.close()
        self.blocks.close()


class RestoreFiles:
    """Of one node, in the directory that holds its stores (`STORES`)."""

    def __init__(self, directory: Path) -> None:
        """Finish a change that was under way; forget stores that were never completed."""
        self.directory = directory
        self._fresh: FreshFiles | None = None
        self.settle()
        self.drop()

    def fresh(self) -> FreshFiles:
        """Empty stores; what an earlier try left is gone."""
        self.drop()
        self._fresh = FreshFiles(self.directory / "restoring")
        return self._fresh

    def complete(self) -> None:
        """Raises ValueError when there is nothing to complete; StoreError."""
        if self._fresh is None:
            raise ValueError("expected stores that `fresh` made")
        self._fresh.flush()
        self._fresh.close()
        self._fresh = None
        try:
            for name in STORES:
                _sync(self.directory / "restoring" / name)
            _sync(self.directory / "restoring")
            (self.directory / "restoring").rename(self.directory / "restored")
            _sync(self.directory)
        except OSError as cause:
            raise from_os(cause, self.directory / "restoring") from cause

    def settle(self) -> bool:
        """Put completed stores in the place of the old ones, if there are any. May be cut short and called again."""
        restored = self.directory / "restored"
        if not restored.exists():
            return False
        try:
            for name in STORES:
                if (restored / name).exists():
                    shutil.rmtree(self.directory / name, ignore_errors=True)
                    (restored / name).rename(self.directory / name)
                    _sync(restored)
                    _sync(self.directory)
            shutil.rmtree(restored)
            _sync(self.directory)
        except OSError as cause:
            raise from_os(cause, restored) from cause
        return True

    def drop(self) -> None:
        """Let go of stores that were not completed."""
        if self._fresh is not None:
            self._fresh.close()
            self._fresh = None
        shutil.rmtree(self.directory / "restoring", ignore_errors=True)


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
