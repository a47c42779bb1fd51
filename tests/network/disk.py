"""A node's stores in real files, for `tests.network.net.Net(durable=True)`."""

from pathlib import Path

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles

__all__ = ["FileDisk"]


class FileDisk:
    """What a node keeps, in real files with real syncs: for measurements, and for what happens to files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        self.blocks = BlockFiles(self.folder / "blocks")
        self.tiles = self.log = TileFiles(self.folder / "tiles")
        self.state = self.store = RocksStore(self.folder / "state", first=self.log.sync)

    def reopen(self) -> None:
        self.open()

    def close(self) -> None:
        self.store.close()
        self.log.close()
        self.blocks.close()
