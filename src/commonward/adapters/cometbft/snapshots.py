"""What the snapshot requests of ABCI need of this node: `workflows.snapshots.SnapshotStore` fits."""

from collections.abc import Sequence
from typing import Protocol

from commonward.workflows.snapshots import Applied, ChunkAnswer, OfferAnswer, Offered

__all__ = ["NoSnapshots", "Snapshots"]


class Snapshots(Protocol):
    """`offers` and `chunk` answer others; whatever they raise is logged and answered empty. `offer` and `apply` restore
    this node; what they raise stops it. `committed` is told of each block that was kept."""

    @property
    def oldest(self) -> int:
        """Height of the oldest snapshot here, 0 for none: blocks from it on are kept for who starts from it."""
        ...

    async def committed(self, height: int) -> None: ...

    def offers(self) -> Sequence[Offered]: ...

    def chunk(self, height: int, form: int, index: int) -> bytes:
        """Empty for one that is not there (any more)."""
        ...

    def offer(self, offered: Offered, app_hash: bytes) -> OfferAnswer:
        """`app_hash`: what more than two thirds of the power agreed on for that height."""
        ...

    async def apply(self, index: int, data: bytes, sender: str) -> Applied: ...


class NoSnapshots:
    """Implements `Snapshots`: offers none, takes none; every block is kept then."""

    oldest = 0

    async def committed(self, height: int) -> None:
        return None

    def offers(self) -> Sequence[Offered]:
        return ()

    def chunk(self, height: int, form: int, index: int) -> bytes:
        return b""

    def offer(self, offered: Offered, app_hash: bytes) -> OfferAnswer:
        return OfferAnswer.ABORT

    async def apply(self, index: int, data: bytes, sender: str) -> Applied:
        return Applied(ChunkAnswer.ABORT)
