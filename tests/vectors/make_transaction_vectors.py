"""Makes transactions.json and refusals.json out of the ledger's own tests.

    python -m tests.vectors.make_transaction_vectors

Each story is one test of tests/ledger, told to a ledger of the same genesis: its blocks, and for each what another
implementation must find. Stories are chosen until every kind of transaction has been accepted once and every refusal
met that a block under this genesis can meet.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from commonward.ledger.transactions import KINDS
from commonward.ledger.transition import Staged
from tests.ledger import test_attacks, test_audit, test_consent, test_governance, test_members, test_registry
from tests.ledger.rounds import test_countersigning, test_ends, test_proposing, test_sites, test_story, test_updates
from tests.ledgerkit import Kit

HERE = Path(__file__).parent
MODULES = (
    test_attacks, test_members, test_registry, test_consent, test_audit, test_governance, test_proposing, test_sites,
    test_updates, test_countersigning, test_ends, test_story,
)  # fmt: skip


class RecordingKit(Kit):
    """Keeps each block that was committed, with what came of it."""

    def __post_init__(self) -> None:
        self.told: list[tuple[bytes, Staged]] = []
        super().__post_init__()

    def block(self, raws: Any = (), carrier: str = "north") -> Staged:
        block = self.block_bytes(raws, carrier)
        staged = self.machine.stage(block)
        self.machine.commit(staged)
        self.told.append((block, staged))
        return staged


def stories() -> Iterator[tuple[str, Callable[[Kit], None]]]:
    for module in MODULES:
        for name, test in vars(module).items():
            if name.startswith("test_") and list(inspect.signature(test).parameters) == ["kit"]:
                yield name.removeprefix("test_").replace("_", " "), test


def tell(test: Callable[[Kit], None]) -> RecordingKit:
    kit = RecordingKit()
    test(kit)
    return kit


def _block(block: bytes, staged: Staged) -> dict[str, Any]:
    return {
        "block": block.hex(),
        "codes": [outcome.code for outcome in staged.outcomes],
        "size": staged.checkpoint.size,
        "root": staged.checkpoint.root.hex(),
        "state_root": staged.state_root.hex(),
    }


def make() -> tuple[dict[str, Any], dict[str, Any]]:
    chosen: list[dict[str, Any]] = []
    kinds: dict[int, dict[str, Any]] = {}
    codes: set[int] = set()
    for name, test in stories():
        kit = tell(test)
        found = {outcome.code for _, staged in kit.told for outcome in staged.outcomes} - {0}
        for _, staged in kit.told:
            for tx, outcome in staged.transactions:
                if tx is not None and outcome.code == 0 and tx.kind not in kinds:
                    kinds[tx.kind] = {
                        "kind": tx.kind,
                        "name": KINDS[tx.kind].__name__,
                        "transaction": tx.raw.hex(),
                        "body": tx.body_bytes.hex(),
                        "digest": tx.digest.hex(),
                        "author": tx.author.hex(),
                    }
        size = sum(len(block) for block, _ in kit.told)
        if found - codes and size < 40_000:
            codes |= found
            chosen.append({"story": name, "blocks": [_block(*each) for each in kit.told]})
    genesis = Kit().genesis
    transactions = {
        "note": "One accepted transaction of each kind. digest = SHA-256('commonward transaction v1' 00 body).",
        "ledger": genesis.ledger_id.hex(),
        "transactions": [kinds[kind] for kind in sorted(kinds)],
    }
    refusals = {
        "note": "Each story starts from `genesis` at height 0 and applies its blocks in order. For each block: the "
        "code of each transaction's outcome, the log's size and root, and the root of the state after it.",
        "genesis": genesis.to_bytes().hex(),
        "ledger": genesis.ledger_id.hex(),
        "codes": sorted(codes),
        "stories": chosen,
    }
    return transactions, refusals


def main() -> None:
    for name, value in zip(("transactions", "refusals"), make(), strict=True):
        (HERE / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
