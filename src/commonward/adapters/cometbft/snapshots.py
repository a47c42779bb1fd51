"""What the snapshot requests of ABCI need of this node. Engine-neutral: no protobuf beyond this door."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["Applied", "NoSnapshots", "Offer", "OfferAnswer", "Snapshots"]

OfferAnswer = Literal["accept", "abort", "reject", "reject_format", "reject_sender"]
ApplyAnswer = Literal["accept", "abort", "retry", "retry_snapshot", "reject_snapshot"]


class Offer(NamedTuple):
    """A snapshot, as it is announced. `hash`: equal only for equal snapshots."""

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes = b""


class Applied(NamedTuple):
    """What became of a chunk: these are wanted again, and nothing more from those senders (node ids)."""

    answer: ApplyAnswer
    refetch: tuple[int, ...] = ()
    reject: tuple[str, ...] = ()


class Snapshots(Protocol):
    """`list` and `chunk` answer others; whatever they raise is logged and answered empty. `offer` and `apply` restore
    this node; what they raise stops it."""

    async def list(self) -> Sequence[Offer]: ...

    async def chunk(self, height: int, format: int, index: int) -> bytes:
        """Empty for one that is not there (any more)."""
        ...

    async def offer(self, offer: Offer, app_hash: bytes) -> OfferAnswer:
        """`app_hash`: what more than two thirds of the power agreed on for that height."""
        ...

    async def apply(self, index: int, chunk: bytes, sender: str) -> Applied: ...


class NoSnapshots:
    """Implements `Snapshots`: offers none, takes none."""

    async def list(self) -> Sequence[Offer]:
        return ()

    async def chunk(self, height: int, format: int, index: int) -> bytes:
        return b""

    async def offer(self, offer: Offer, app_hash: bytes) -> OfferAnswer:
        return "abort"

    async def apply(self, index: int, chunk: bytes, sender: str) -> Applied:
        return Applied("abort")
