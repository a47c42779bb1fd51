"""Is a bundle good to be ordered? Asked by whoever orders, before it is: the sequencer, and each node under consensus.

Signatures are the cost, so they are believed first, noted, and verified together. Only when one of them is bad is each
looked at again, to say whose it was.

Where: the signature library lets go of the interpreter's lock for each signature, so threads verify side by side, and
do so for whoever has nothing else to do meanwhile (a block's signatures, a sequencer's bundles). A node under consensus
checks bundles while it does much else. There a thread gets the lock back only at the interpreter's next switch, after
each signature: a bundle takes three times as long, and CometBFT ends no block while a check is open. So its bundles are
verified where we are, a few signatures at a time, one bundle after another.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple

from commonward.ledger.authentic import SignatureJob
from commonward.ledger.ids import Algorithm, BlockTime, Digest, MemberId, Purpose
from commonward.ledger.proofs import verify
from commonward.ledger.refusals import Refusal, Replayed
from commonward.ledger.transactions import Bundle, Transaction
from commonward.ledger.transition import Machine

__all__ = ["Checked", "Checker", "Verdict"]

_THREADS_FROM: Final = 8
"""Signatures worth handing to threads; fewer are verified sooner where we are."""

_AT_ONCE: Final = 16
"""Signatures verified where we are before others on the loop have their turn: a millisecond."""


class Verdict(NamedTuple):
    """What became of a bundle: good when `refusals` and `why` are empty, else these transactions, or the whole, stopped
    it. `later`: nothing is wrong with it, but there is no room now."""

    refusals: tuple[tuple[Digest, int, str], ...] = ()
    why: str = ""
    later: bool = False

    @property
    def good(self) -> bool:
        return not self.refusals and not self.why


class Checked(NamedTuple):
    """A bundle that was looked at. `signatures`: how many a block counts for it."""

    verdict: Verdict
    carrier: MemberId
    digests: tuple[Digest, ...] = ()
    signatures: int = 0


class Checker:
    """Judges by the committed state. One thread, and `threads` for signatures."""

    def __init__(
        self,
        machine: Machine,
        threads: Executor,
        known: Callable[[Digest], bool] = lambda digest: False,
        *,
        look_in_threads: bool = False,
    ) -> None:
        """
        Args:
            known: whether a transaction waits for its block already, which is as good as there.
            look_in_threads: whether `look`, too, verifies in threads: for a loop that does little else.
        """
        self._machine = machine
        self._threads = threads
        self._known = known
        self._look_in_threads = look_in_threads
        self._turn = asyncio.Lock()

    async def look(self, data: bytes, now: BlockTime, brought_by: MemberId | None = None) -> Checked:
        """Never raises for what the bytes hold.

        Args:
            now: our clock, in ms.
            brought_by: who must have signed the bundle; None where anyone may hand on another's.
        """
        try:
            bundle = self._machine.read_bundle(data)
        except ValueError as why:
            return Checked(Verdict(why=f"not a bundle: {why}"), MemberId(""))
        carrier, problem, bundle_job = self._carrier(bundle, len(data), now, brought_by)
        if bundle_job is None:
            return Checked(Verdict(why=problem), carrier)
        parsed, refusals, jobs = self._transactions(bundle, now)
        if refusals:
            return Checked(Verdict(tuple(refusals)), carrier)
        if not self._machine.knows(bundle_job):
            jobs.append(bundle_job)
        bad = await self.bad(jobs) if self._look_in_threads else await self._bad_here(jobs)
        if bundle_job in bad:
            return Checked(Verdict(why="not signed by its carry key"), carrier)
        if bad:
            # Whose signatures these are is found out once more, one at a time: this is rare, and costs its sender.
            return Checked(Verdict(tuple(self._transactions(bundle, now, honest=True)[1])), carrier)
        self._machine.accept_verified(jobs)
        signatures = 1 + sum(1 + each.payload.SECOND_SIGNATURES for each in parsed)
        return Checked(Verdict(), carrier, tuple(each.digest for each in parsed), signatures)

    def _transactions(
        self, bundle: Bundle, now: BlockTime, *, honest: bool = False
    ) -> tuple[list[Transaction], list[tuple[Digest, int, str]], list[SignatureJob]]:
        """The transactions, those refused, and the signatures that were believed for now (none when `honest`)."""
        parsed: list[Transaction] = []
        refusals: list[tuple[Digest, int, str]] = []
        jobs: list[SignatureJob] = []
        seen: set[Digest] = set()

        def believe(algorithm: int, public: bytes, message: bytes, signature: bytes) -> bool:
            job = SignatureJob(Algorithm(algorithm), public, message, signature)
            if not self._machine.knows(job):
                jobs.append(job)
            return True

        for raw in bundle.transactions:
            try:
                transaction = self._machine.check(raw, now, verify=None if honest else believe)
                digest = transaction.digest
                if digest in seen or self._known(digest):
                    raise Replayed(digest)
                seen.add(digest)
                parsed.append(transaction)
            except Refusal as refusal:
                refusals.append((self._machine.digest_of(raw), refusal.code, str(refusal)))
        return parsed, refusals, jobs

    def _carrier(
        self, bundle: Bundle, size: int, now: BlockTime, brought_by: MemberId | None
    ) -> tuple[MemberId, str, SignatureJob | None]:
        view = self._machine.view()
        key = view.roll.key(bundle.carrier)
        if key is None or key.purpose != Purpose.CARRY or not key.covers(max(now, self._machine.applied.time + 1)):
            return MemberId(""), f"{bundle.carrier.hex()} is no carry key that is valid now", None
        if brought_by is not None and key.member != brought_by:
            return key.member, f"signed with the carry key of {key.member}, brought by {brought_by}", None
        if not view.roll.must(key.member).active:
            return key.member, f"{key.member} is suspended", None
        transactions, most = self._machine.quota()
        if size > most or len(bundle.transactions) > transactions:
            return key.member, f"a bundle may have {most} bytes and {transactions} transactions", None
        return key.member, "", SignatureJob(key.algorithm, key.public, bundle.digest, bundle.signature)

    async def bad(self, jobs: Sequence[SignatureJob]) -> list[SignatureJob]:
        """Those of the signatures that do not hold."""
        if len(jobs) < _THREADS_FROM:
            return _bad_of(jobs)
        loop = asyncio.get_running_loop()
        half = len(jobs) // 2
        first = loop.run_in_executor(self._threads, _bad_of, jobs[:half])
        second = loop.run_in_executor(self._threads, _bad_of, jobs[half:])
        return [*await first, *await second]

    async def _bad_here(self, jobs: Sequence[SignatureJob]) -> list[SignatureJob]:
        """As `bad`, where we are."""
        found: list[SignatureJob] = []
        async with self._turn:  # else all that came together would be done together, at the very end
            for at in range(0, len(jobs), _AT_ONCE):
                if at:
                    await asyncio.sleep(0)
                found += _bad_of(jobs[at : at + _AT_ONCE])
        return found

    async def prefetch(self, block: bytes) -> None:
        """Verify in threads what a block's transactions were signed with, so that staging it finds them good."""
        jobs = self._machine.signature_jobs(block)
        if len(jobs) < _THREADS_FROM:
            return
        bad = {id(each) for each in await self.bad(jobs)}
        self._machine.accept_verified([each for each in jobs if id(each) not in bad])


def _bad_of(jobs: Sequence[SignatureJob]) -> list[SignatureJob]:
    return [job for job in jobs if not verify(*job)]
