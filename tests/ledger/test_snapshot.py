"""The parts of a snapshot: what follows from the leaves of the log, and chunks that are read or refused."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonward.ledger.encoding import Digest
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Height, LedgerId
from commonward.ledger.merkle.bulk import Subtree
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.parameters import BOUNDS, Parameter
from commonward.ledger.refusals import REFUSALS, QuotaExceeded, TooManySignatures
from commonward.ledger.snapshot import (
    MAX_CHUNK,
    BlockEnd,
    SnapshotRefused,
    cells_chunk,
    leaves_chunk,
    parse_leaf,
    read_cells,
    read_leaves,
    stretches,
)
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import Release
from commonward.ledger.transition import FORGET_AFTER, Machine, Staged, block_leaf, outcome_leaf
from commonward.ledger.window import Window, burns
from tests.ledgerkit import START, Kit, commitment, demo_genesis

STORIES = json.loads((Path(__file__).parents[1] / "vectors" / "refusals.json").read_text())


def burnt_by(staged: Staged) -> set[bytes]:
    return {key[1:] for key, value in staged.changes.items() if key[:1] == b"x" and value is not None}


def told_by(staged: Staged) -> set[bytes]:
    return {outcome.digest for outcome in staged.outcomes if burns(outcome.code)}


def staged_stories() -> Iterator[Staged]:
    genesis = Genesis.parse(bytes.fromhex(STORIES["genesis"]))
    for story in STORIES["stories"]:
        machine = Machine(genesis, MemoryStore(), MemoryLogStore(), map_bits=4)
        for each in story["blocks"]:
            staged = machine.stage(bytes.fromhex(each["block"]))
            yield staged
            machine.commit(staged)


def over_limits() -> Iterator[Staged]:
    for parameter in (Parameter.QUOTA_TRANSACTIONS, Parameter.BLOCK_SIGNATURES):
        kit = Kit(demo_genesis({parameter: 16}))
        yield kit.block([kit.sign(a_release(n), by="north") for n in range(20)])


def a_release(n: object) -> Release:
    return Release(commitment("tag", n), *(commitment(n, i) for i in range(6)))  # type: ignore[arg-type]


def test_which_digests_a_block_burnt_follows_from_its_outcome_codes_for_every_refusal() -> None:
    """A member that joins by a snapshot has the codes alone (decision 0002)."""
    seen = set()
    for staged in (*staged_stories(), *over_limits()):
        assert told_by(staged) == burnt_by(staged)
        seen |= {outcome.code for outcome in staged.outcomes}
    assert {QuotaExceeded.code, TooManySignatures.code, 0} <= seen
    # 211: who may propose is for a rule to say, as all from 200 on.
    assert {code for code in REFUSALS if code < 200} <= seen


def test_no_parameter_lets_a_digest_or_a_checkpoint_matter_for_longer_than_is_remembered() -> None:
    assert BOUNDS[Parameter.EXPIRY][2] <= FORGET_AFTER
    assert BOUNDS[Parameter.FRESHNESS][2] <= FORGET_AFTER


# ------------------------------------------------------------------------------------------------------------- leaves


ROOT = Digest(bytes(32))
TIP = BlockEnd(Height(9), BlockTime(START + 9), ROOT)


def a_window(start: int = 0) -> Window:
    return Window(LedgerId(bytes(32)), start, TIP)


def leaf(n: int, height: int, code: int = 0) -> bytes:
    return outcome_leaf(commitment(n), height, START + height, code)


def end(height: int) -> bytes:
    return block_leaf(height, START + height, ROOT)


def test_leaves_become_blocks_wherever_they_are_cut() -> None:
    leaves = [end(0), leaf(1, 3), leaf(2, 3, 108), leaf(3, 3, 301), end(3), leaf(4, 9), end(9)]
    for cut in range(len(leaves)):
        window = a_window()
        blocks = [*window.blocks(leaves[:cut]), *window.blocks(leaves[cut:])]
        assert [block.height for block in blocks] == [0, 3, 9]
        assert blocks[1].leaves == tuple(leaves[1:5])
        assert blocks[1].burnt == (commitment(1), commitment(3))
        window.standing(Height(9), 7, ROOT)


@pytest.mark.parametrize(
    ("leaves", "why"),
    [
        ([end(0), leaf(1, 3), end(4)], "ends before block"),
        ([end(3), end(2)], "does not come after"),
        ([end(3), end(3)], "does not come after"),
        ([b"\x00"], "expected the leaf"),
        ([b"\xff"], "leaf after block"),
    ],
)
def test_leaves_in_no_order_of_a_ledger_are_refused(leaves: list[bytes], why: str) -> None:
    with pytest.raises(SnapshotRefused, match=why):
        list(a_window().blocks(leaves, 5))


def test_a_window_that_begins_late_is_refused_since_burnt_digests_would_be_missing() -> None:
    for first in (leaf(1, 3), end(3)):
        with pytest.raises(SnapshotRefused, match="begin with that of a block before"):
            list(a_window(100).blocks([first, end(3)]))


def test_a_window_that_ends_early_does_not_make_a_standing() -> None:
    window = a_window()
    list(window.blocks([end(0), leaf(1, 9)]))
    with pytest.raises(SnapshotRefused, match="end with block 9"):
        window.standing(Height(9), 2, ROOT)


def test_every_leaf_of_a_log_is_read_as_what_it_is() -> None:
    assert parse_leaf(end(4)) == BlockEnd(Height(4), BlockTime(START + 4), ROOT)
    assert parse_leaf(leaf(1, 4, 105)) == (commitment(1), 4, START + 4, 105)


# ------------------------------------------------------------------------------------------------------------- chunks


def test_stretches_begin_at_multiples_so_that_all_members_cut_alike() -> None:
    assert stretches(5, 6) == [(5, 6)]
    assert stretches(65_535, 65_537) == [(65_535, 65_536), (65_536, 65_537)]
    assert stretches(65_536, 200_000) == [(65_536, 131_072), (131_072, 196_608), (196_608, 200_000)]


@pytest.mark.parametrize("cut", [0, 1, 2, 5, -1])
def test_a_chunk_of_leaves_that_is_cut_short_or_too_long_is_refused_by_its_number(cut: int) -> None:
    data = leaves_chunk([b"one", b"two"])
    for bad in (data[:cut], data + b"\0", data + b"\0\1x"):
        with pytest.raises(SnapshotRefused, match=r"^chunk 7: ") as refused:
            read_leaves(bad, 7, 2)
        assert refused.value.chunk == 7
    assert read_leaves(data, 7, 2) == [b"one", b"two"]


WHOLE = Subtree(0, 0, 2, ROOT)


def by_hash(pairs: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return sorted(pairs.items(), key=lambda pair: hashlib.sha256(pair[0]).digest())


def test_cells_are_read_back_and_refused_out_of_order_twice_cut_or_of_another_kind() -> None:
    pairs = by_hash({b"a": b"1", b"b": b"", b"c": bytes(300)})
    data = cells_chunk(pairs)
    assert read_cells(data, 3, WHOLE).pairs == pairs
    bad = {
        "order": cells_chunk(pairs[::-1]),
        "each once": cells_chunk([*pairs, pairs[-1]]),
        "cut short": data[:-1],
        "kind 2": b"\1" + data[1:],
        "empty": b"",
        "at most": data + bytes(MAX_CHUNK),
    }
    for why, each in bad.items():
        with pytest.raises(SnapshotRefused, match=f"^chunk 3: .*{why}"):
            read_cells(each, 3, WHOLE)


def test_cells_from_beyond_the_subtree_are_refused() -> None:
    pairs = by_hash({b"%d" % n: b"" for n in range(20)})
    with pytest.raises(SnapshotRefused, match="from beyond prefix"):
        read_cells(cells_chunk(pairs), 0, Subtree(1, 1, 2, ROOT))
