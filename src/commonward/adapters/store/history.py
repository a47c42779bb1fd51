"""Where the history of a member who joined by a snapshot waits until it is proven (`workflows.history.Staging`)."""

import shutil
from pathlib import Path

from .blocks import BlockFiles
from .state import RocksStore
from .tiles import TileFiles

__all__ = ["HistoryFiles"]


class HistoryFiles:
    """A folder that is there only while history is fetched. On the disk of the node's own stores: blocks move over."""

    def __init__(self, path: Path) -> None:
        """Opens what an earlier start has fetched, at the first use. Nothing is made before."""
        self.path = path
        self._opened: tuple[BlockFiles, BlockFiles, TileFiles, RocksStore] | None = None

    def _open(self) -> tuple[BlockFiles, BlockFiles, TileFiles, RocksStore]:
        if self._opened is None:
            self._opened = (
                BlockFiles(self.path / "blocks"),
                BlockFiles(self.path / "leaves"),
                TileFiles(self.path / "tiles"),
                RocksStore(self.path / "keys", sync=False),
            )
        return self._opened

    @property
    def blocks(self) -> BlockFiles:
        return self._open()[0]

    @property
    def leaves(self) -> BlockFiles:
        return self._open()[1]

    @property
    def tiles(self) -> TileFiles:
        return self._open()[2]

    @property
    def keys(self) -> RocksStore:
        return self._open()[3]

    def wipe(self) -> None:
        """Empty it."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def done(self) -> None:
        self.wipe()

    def close(self) -> None:
        """Let go of the folder; what was fetched stays for the next start."""
        if self._opened is not None:
            for each in self._opened:
                each.close()
            self._opened = None
