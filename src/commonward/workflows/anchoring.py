"""Anchoring: at each tick one root over what came in since the last, also over nothing.

A batch is planned (rows first..last, its seed, its root) and durable before anything is submitted, so a member that
was killed repeats the same root. Batches are contiguous: a record belongs to the one whose range holds its number.
Its proof comes from the tree as it was kept when it was planned, or from one built again from the batch's seed.
"""

from collections import OrderedDict
from contextlib import suppress
from typing import Final

from commonward.ledger.encoding import Digest, encode
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.registry import AnchorBatch, TooEarly
from commonward.records.fingerprint import MAX_LEAVES, BatchProof, BatchTree, Fingerprint, build_batch
from commonward.workflows.messages import Anchor
from commonward.workflows.ports import BatchRow, Entropy, Ledger, Steps, Trees, Vault, VaultFull
from commonward.workflows.reading import LedgerCells
from commonward.workflows.submitting import Submitter

EXTRA_BITS: Final = 17
"""A batch's number in the vault is tick << 17 | extra, so extra batches sort behind their tick."""

_TREES_KEPT: Final = 8
_ANCHORS_KEPT: Final = 4096
"""Proofs remembered: a release looks at each of its records more than once."""


class Anchoring:
    """One member's batches."""

    def __init__(
        self,
        vault: Vault,
        ledger: Ledger,
        submitter: Submitter,
        entropy: Entropy,
        steps: Steps,
        trees: Trees | None = None,
    ) -> None:
        self._vault = vault
        self._ledger = ledger
        self._submitter = submitter
        self._entropy = entropy
        self._steps = steps
        self._kept = trees
        self._trees: OrderedDict[int, BatchTree] = OrderedDict()
        self._anchors: OrderedDict[tuple[int, bytes], Anchor] = OrderedDict()
        self._last_met: BatchRow | None = None  # records of one history mostly lie in one batch

    async def tick(self) -> list[BatchRow]:
        """Finishes what was planned and not anchored, then anchors this tick, and extra batches for a backlog.

        Returns the batches anchored now; none when this tick is anchored already. Raises LedgerAway (call again).
        """
        anchored = [await self._land(batch) for batch in self._vault.unanchored_batches()]
        last = self._vault.last_batch()
        tick = self._now()
        if last is not None and last.tick >> EXTRA_BITS >= tick:
            return anchored
        first = last.last + 1 if last is not None else 1
        planned = self._plan(tick, first)
        return anchored + [await self._land(batch) for batch in planned]

    def _now(self) -> int:
        """The tick of the time that the next block will have: an early tick would be refused."""
        length = Parameters(LedgerCells(self._ledger))[Parameter.TICK]
        return self._ledger.next_time() // length

    def _plan(self, tick: int, first: int) -> list[BatchRow]:
        """This tick's batch, and as many extra ones as the backlog needs and the ledger allows."""
        most = 1 + Parameters(LedgerCells(self._ledger))[Parameter.BACKFILL]
        end = self._vault.last_number()
        batches: list[BatchRow] = []
        while not batches or (first <= end and len(batches) < most):
            last = min(end, first + MAX_LEAVES - 1)
            seed = self._entropy.bytes(32)
            tree = self._build(first, last, seed)
            batches.append(BatchRow(tick << EXTRA_BITS | len(batches), first, last, seed, tree.root, -1))
            self._keep(batches[-1], tree)
            first = last + 1
        with self._vault.transaction():
            for batch in batches:
                self._vault.plan_batch(batch)
            self._steps.reach("anchor.before-plan")
        self._steps.reach("anchor.planned")
        return batches

    async def _land(self, batch: BatchRow) -> BatchRow:
        tick, extra = batch.tick >> EXTRA_BITS, batch.tick & (1 << EXTRA_BITS) - 1
        beside = 0
        if not extra:  # how many extra batches were planned with this one
            beside = sum(1 for other in self._vault.unanchored_batches() if other.tick >> EXTRA_BITS == tick) - 1
        key = b"anchor" + encode(batch.tick)
        payload = AnchorBatch(tick, root_of(batch), announce=beside or None, extra=extra or None)
        committed = await self._submitter.land(key, payload, step="anchor", early=TooEarly.code)
        with self._vault.transaction():
            self._vault.anchored_batch(batch.tick, committed.index)
            self._submitter.done(key)
        self._steps.reach("anchor.noted")
        return BatchRow(batch.tick, batch.first, batch.last, batch.seed, batch.root, committed.index)

    def prove(self, number: int, fingerprint: bytes) -> Anchor | None:
        """Where a record stands on the ledger; None while its batch has not landed."""
        known = self._anchors.get((number, fingerprint))
        if known is None:
            batch = self._landed(number)
            if batch is None:
                return None
            proof = self._prove(batch, Fingerprint(fingerprint))
            known = self._anchors[number, fingerprint] = Anchor(batch.index, proof.index, b"".join(proof.path))
            if len(self._anchors) > _ANCHORS_KEPT:
                self._anchors.popitem(last=False)
        self._anchors.move_to_end((number, fingerprint))
        return known

    def _landed(self, number: int) -> BatchRow | None:
        """The batch of a record, if it stands on the ledger; such a batch never changes again."""
        batch = self._last_met
        if batch is None or not batch.first <= number <= batch.last:
            batch = self._vault.batch_of(number)
            if batch is None or batch.index < 0:
                return None
            self._last_met = batch
        return batch

    def _prove(self, batch: BatchRow, print_: Fingerprint) -> BatchProof:
        """From the tree in memory, else from the one kept, else built again. Raises KeyError when it is not there."""
        tree = self._trees.get(batch.tick)
        if tree is None and self._kept is not None:
            proof = self._kept.prove(batch.tick, batch.seed, batch.root, print_)
            if proof is not None:
                return proof
        if tree is None:
            tree = self._build(batch.first, batch.last, batch.seed)
            if tree.root == batch.root:
                self._trees[batch.tick] = tree
                if len(self._trees) > _TREES_KEPT:
                    self._trees.popitem(last=False)
                self._keep(batch, tree)
            # else a fingerprint in the vault was altered: it finds no proof that holds, and the others' stand as kept
        else:
            self._trees.move_to_end(batch.tick)
        return tree.prove(print_)

    def _keep(self, batch: BatchRow, tree: BatchTree) -> None:
        """Without room for it a later proof costs more, and no anchor fails."""
        if self._kept is not None and batch.first <= batch.last:
            with suppress(VaultFull):
                self._kept.keep(batch.tick, tree)

    def _build(self, first: int, last: int, seed: bytes) -> BatchTree:
        prints = self._vault.fingerprints(first, last) if last >= first else ()
        return build_batch((Fingerprint(each) for each in prints), seed)


def root_of(batch: BatchRow) -> Digest:
    return Digest(batch.root)
