"""What an honest member proposes as the next block under consensus, and what it may refuse of another's proposal.

    choose(machine, ...)     the bundles to propose, of those that wait
    judge(machine, ...)      the block; raises InvalidBlock for a proposal that no honest member makes

Both depend on the block's bytes and the last committed state alone, so all honest members judge alike, and what
`choose` makes always passes `judge` (DESIGN.md, Engines). A block is refused whole for

    1. a header that is not the next                              4. a bundle that brings nothing new
    2. more bytes than the block may have                         5. more than a carrier's quota
    3. a bundle that its live, active carrier did not sign        6. more signatures than a block may have

Everything else, such as a transaction whose proof or rule fails, is an outcome in the log that its carrier pays for.
4 is what keeps a proposer from repeating another member's old bundles at that member's cost.
"""

from collections.abc import Sequence
from typing import Final

from commonward.ledger.ids import Digest, MemberId
from commonward.ledger.parameters import Parameter
from commonward.ledger.rules import Header
from commonward.ledger.transactions import Bundle, InvalidBlock, build_block
from commonward.ledger.transition import Machine

__all__ = ["choose", "judge"]

_HEAD: Final = 64
_EACH: Final = 5
_ADDRESS: Final = 22


class _Filling:
    """A block as it fills: what it holds so far, against what it may hold."""

    def __init__(self, machine: Machine, header: Header, misbehaved: int) -> None:
        parameters = machine.view().parameters
        self._machine = machine
        self._header = header
        self._bytes = parameters[Parameter.BLOCK_BYTES] - _HEAD - _ADDRESS * misbehaved
        self._signatures = parameters[Parameter.BLOCK_SIGNATURES]
        self._quota = machine.quota()
        self._carried: dict[MemberId, tuple[int, int]] = {}
        self._seen: dict[Digest, None] = {}

    def add(self, data: bytes, bundle: Bundle, carrier: MemberId) -> None:
        """Raises InvalidBlock, and has not taken it, where it would be too much or brings nothing."""
        new = [each for each in self._new(bundle) if each not in self._seen]
        if not new:
            raise InvalidBlock(f"a bundle of {carrier} brings nothing new: each of its transactions was there before")
        size = self._bytes - len(data) - _EACH
        if size < 0:
            raise InvalidBlock("the bundles are more than a block may hold")
        signatures = self._signatures - self._machine.signatures(bundle)
        if signatures < 0:
            raise InvalidBlock("the bundles have more signatures than a block may have")
        count, carried = self._carried.get(carrier, (0, 0))
        count, carried = count + len(bundle.transactions), carried + sum(map(len, bundle.transactions))
        if count > self._quota[0] or carried > self._quota[1]:
            raise InvalidBlock(
                f"{carrier} carries {count} transactions of {carried} bytes; a member may bring {self._quota[0]} of "
                f"{self._quota[1]} bytes into a block"
            )
        self._bytes, self._signatures = size, signatures
        self._carried[carrier] = count, carried
        self._seen.update(dict.fromkeys(new))

    def _new(self, bundle: Bundle) -> list[Digest]:
        found = (self._machine.is_new(raw, self._header.time) for raw in bundle.transactions)
        return [each for each in found if each is not None]


def _read(machine: Machine, data: bytes, header: Header) -> tuple[Bundle, MemberId]:
    try:
        bundle = machine.read_bundle(data)
    except ValueError as cause:
        raise InvalidBlock(str(cause)) from cause
    return bundle, machine.carrier_of(bundle, header)


def judge(machine: Machine, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> bytes:
    """The bytes of the block. Raises InvalidBlock."""
    machine.check_next(header)
    block = build_block(header, bundles, misbehaved)
    most = machine.view().parameters[Parameter.BLOCK_BYTES]
    if len(block) > most:
        raise InvalidBlock(f"expected a block of at most {most} bytes, got {len(block)}")
    filling = _Filling(machine, header, len(misbehaved))
    for data in bundles:
        filling.add(data, *_read(machine, data, header))
    return block


def choose(
    machine: Machine,
    header: Header,
    waiting: Sequence[bytes],
    room: int,
    misbehaved: Sequence[bytes] = (),
    overhead: int = 0,
) -> list[bytes]:
    """Of the bundles that wait, in their order, those for the next block: space goes, bundle by bundle, to the
    carrier that has had least of it, so that nobody who floods keeps another out.

    `room`: bytes that consensus leaves for the bundles; `overhead`: what each costs of it beside its own.
    """
    queues: dict[MemberId, list[tuple[bytes, Bundle]]] = {}
    for data in waiting:
        try:
            bundle, carrier = _read(machine, data, header)
        except InvalidBlock:
            continue
        queues.setdefault(carrier, []).append((data, bundle))
    filling = _Filling(machine, header, len(misbehaved))
    had = dict.fromkeys(queues, 0)
    taken: list[bytes] = []
    while had:
        carrier = min(had, key=had.__getitem__)
        if not queues[carrier]:
            del had[carrier]
            continue
        data, bundle = queues[carrier].pop(0)
        if len(data) + overhead > room:
            del had[carrier]
            continue
        try:
            filling.add(data, bundle, carrier)
        except InvalidBlock:
            continue
        room -= len(data) + overhead
        had[carrier] += len(data)
        taken.append(data)
    return taken
