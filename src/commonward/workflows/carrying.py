"""Getting this member's transactions into blocks: wrapped into bundles, carried, offered again until they stand.

A lone transaction leaves at once. While a few bundles are still being checked at the other end, what comes meanwhile
waits and leaves together, so bundles grow with the load. What was carried but stands in no block yet is offered again
after a reconnection; its digest makes sure that it takes effect once.

Where blocks come only now and then and each bundle costs every member (under consensus a signature, a check, gossip and
a look after each block: 3 ms of processor time over four of them), bundles keep a pace too: one that is not full leaves
no sooner than that after the one before.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from commonward.ledger.ids import Digest
from commonward.ledger.refusals import Replayed

__all__ = ["BUNDLE_BYTES", "BUNDLE_TRANSACTIONS", "CONSENSUS_PACE_S", "Carrier"]

BUNDLE_TRANSACTIONS: Final = 256
BUNDLE_BYTES: Final = 256 << 10
CONSENSUS_PACE_S: Final = 0.1  # a block takes 0.6 s at least
_OVERHEAD: Final = 512  # a bundle's own fields and signature
_EACH: Final = 5  # the longest head of a byte string of ours
_OPEN: Final = 3
_OUTSTANDING: Final = 8 << 20


class Carrier:
    """Holds transactions from submission until they stand in a block. Single-threaded."""

    def __init__(
        self,
        wrap: Callable[[Sequence[bytes]], bytes],
        refused: Callable[[Digest, int, str], None],
        pace_s: float = 0.0,
        quota: Callable[[], tuple[int, int]] = lambda: (BUNDLE_TRANSACTIONS, BUNDLE_BYTES),
    ) -> None:
        """
        Args:
            wrap: makes a signed bundle of transactions.
            refused: told of each transaction that whoever orders will not take: digest, code, sentence.
            pace_s: seconds from one bundle to the next, unless that is full; 0 for none.
            quota: transactions and bytes that we may have in a block now; a bundle above it would be refused whole.
        """
        self._wrap = wrap
        self._refused = refused
        self._pace_s = pace_s
        self._quota = quota
        self._next_at = 0.0  # by the loop's clock: when a bundle that is not full may leave
        self._alarm: asyncio.TimerHandle | None = None
        self._send: Callable[[int, bytes], None] | None = None
        self._waiting: dict[Digest, bytes] = {}
        self._open: dict[int, dict[Digest, bytes]] = {}
        self._queued: dict[Digest, bytes] = {}
        self._number = 0
        self._outstanding = 0
        self._scheduled = False

    def add(self, digest: Digest, raw: bytes) -> None:
        """Carry a transaction. One that is on its way already is not carried twice."""
        if digest in self._waiting or digest in self._queued or any(digest in each for each in self._open.values()):
            return
        self._waiting[digest] = raw
        self._soon()

    def connected(self, send: Callable[[int, bytes], None]) -> None:
        """`send` takes a bundle with a number and does not wait. All that stands in no block is offered again."""
        self._send = send
        again: dict[Digest, bytes] = dict(self._queued)
        for each in self._open.values():
            again.update(each)
        again.update(self._waiting)
        self._waiting, self._queued, self._open, self._outstanding = again, {}, {}, 0
        self._soon()

    def disconnected(self) -> None:
        self._send = None

    def checked(self, number: int, refusals: Iterable[tuple[Digest, int, str]], why: str) -> None:
        """What became of a bundle: queued whole, or not queued because of these."""
        bundle = self._open.pop(number, None)
        if bundle is None:
            return
        said = {digest: (code, text) for digest, code, text in refusals if digest in bundle}
        if why:
            said = dict.fromkeys(bundle, (0, why))
        if not said:
            self._queued.update(bundle)
        else:
            self._outstanding -= sum(map(len, bundle.values()))
            back = {digest: raw for digest, raw in bundle.items() if digest not in said}
            self._waiting = back | self._waiting
            for digest, (code, text) in said.items():
                if code != Replayed.code:  # that one stands already, or is about to: the block will tell
                    self._refused(digest, code, text)
        self._soon()

    def landed(self, digests: Iterable[Digest]) -> None:
        """These stand in a block."""
        if not (self._waiting or self._queued or self._open):
            return
        for digest in digests:
            raw = self._queued.pop(digest, None)
            if raw is not None:
                self._outstanding -= len(raw)
            else:
                self._waiting.pop(digest, None)
                for bundle in self._open.values():
                    raw = bundle.pop(digest, None)
                    if raw is not None:
                        self._outstanding -= len(raw)
        self._soon()

    def drop(self, digest: Digest) -> None:
        """Stop offering one that can no longer land."""
        self.landed([digest])

    def _soon(self) -> None:
        if self._send is not None and self._waiting and not self._scheduled:
            if self._alarm is not None and len(self._waiting) < self._most()[0]:
                return
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _most(self) -> tuple[int, int]:
        """Transactions and bytes of a bundle."""
        transactions, size = self._quota()
        return min(BUNDLE_TRANSACTIONS, transactions), min(BUNDLE_BYTES, size)

    def _flush(self) -> None:
        self._scheduled = False
        most, most_bytes = self._most()
        while self._send is not None and self._waiting and len(self._open) < _OPEN and self._outstanding < _OUTSTANDING:
            bundle: dict[Digest, bytes] = {}
            size = _OVERHEAD
            for digest, raw in self._waiting.items():
                size += len(raw) + _EACH
                if len(bundle) == most or (bundle and size > most_bytes):
                    break
                bundle[digest] = raw
            full = len(bundle) == most or len(bundle) < len(self._waiting)
            if self._pace_s and not self._may_leave(full=full):
                return
            for digest in bundle:
                del self._waiting[digest]
            self._number += 1
            self._open[self._number] = bundle
            self._outstanding += sum(map(len, bundle.values()))
            self._send(self._number, self._wrap(list(bundle.values())))

    def _may_leave(self, *, full: bool) -> bool:
        """Whether the next bundle keeps the pace; if not, it is looked at again when it does."""
        loop = asyncio.get_running_loop()
        if not full and loop.time() < self._next_at:
            if self._alarm is None:
                self._alarm = loop.call_at(self._next_at, self._rung)
            return False
        self._next_at = loop.time() + self._pace_s
        return True

    def _rung(self) -> None:
        self._alarm = None
        self._flush()
