"""What someone reads who has the whole ledger: every byte of every block and note, and what can be made of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from commonward.ledger.ids import MemberId
from commonward.ledger.transactions import Transaction, parse_block, parse_transaction
from commonward.workflows.blocklog import Record
from tests.consortium import Consortium


@dataclass(frozen=True)
class Seen:
    """One transaction as a reader sees it. `carrier`: the member whose bundle it came in."""

    transaction: Transaction
    carrier: MemberId
    height: int
    place: int  # over all transactions of the ledger
    time: int  # of the block's header, ms

    @property
    def size(self) -> int:
        return len(self.transaction.raw)

    @property
    def author(self) -> bytes:
        """Body field 7: who signed, by key or passkey."""
        return self.transaction.author


def records(c: Consortium) -> list[bytes]:
    """The ledger as it lies on a disk: genesis, then each block with its note."""
    sequencer = c.engine.sequencer
    return [c.engine.genesis.to_bytes(), *(sequencer.record(height) for height in range(1, sequencer.height + 1))]


def read(c: Consortium) -> Iterator[Seen]:
    """Every transaction, in order."""
    genesis = c.engine.genesis
    carriers = {key.id: member.id for member in genesis.members for key in member.keys}
    place = 0
    for record in records(c)[1:]:
        block = parse_block(Record.parse(record).block, genesis.ledger_id)
        for bundle in block.bundles:
            for raw in bundle.transactions:
                yield Seen(
                    parse_transaction(raw), carriers[bundle.carrier], block.header.height, place, block.header.time
                )
                place += 1
