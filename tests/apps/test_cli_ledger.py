"""`commonward ledger`: an outsider's view, executed again from genesis, and no more than that."""

from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.errors import StoreCorrupt
from commonward.adapters.store.readonly import peek, read_blocks
from commonward.adapters.store.state import RocksStore
from commonward.ledger.audit import Release
from commonward.ledger.ids import Digest, Tag
from commonward.ledger.registry import AnchorBatch
from tests.cli_world import Chain, commonward, copied, found_pilot


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c")


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def anchor(chain: Chain, later: int = 0) -> AnchorBatch:
    return AnchorBatch(chain.machine.applied.time // 1000 + later, Digest(bytes(32)))


def release() -> Release:
    request, decision, consent, running, previous, sealed = (Digest(bytes([n]) * 32) for n in range(6))
    return Release(Tag(b"t" * 32), request, decision, consent, running, previous, sealed)


def test_the_whole_ledger_is_member_kind_time_and_outcome(data: Path) -> None:
    chain = Chain(data)
    chain.block(anchor(chain), release())
    chain.block(anchor(chain, -1))  # refused: the tick is past
    ran = commonward("ledger", "read", "--data", data, "--json")
    assert ran.code == 0
    *rows, total = ran.lines
    assert [(row["height"], row["member"], row["kind"], row["outcome"]) for row in rows] == [
        (1, "north", "AnchorBatch", "accepted"),
        (1, "north", "Release", "accepted"),
        (2, "north", "AnchorBatch", rows[2]["outcome"]),
    ]
    assert rows[2]["code"] > 300 and total["refused"] == 1
    assert set(rows[0]) == {
        "index", "height", "time", "member", "signer", "kind", "code", "outcome", "digest",
    }  # fmt: skip
    assert total["size"] == chain.machine.tip.size and total["root"] == chain.machine.tip.root.hex()
    assert {"signer": "north", "kind": "AnchorBatch", "count": 2} in total["counts"]
    text = commonward("ledger", "read", "--data", data)
    assert "What is not there: no name" in text.out and text.out.count("AnchorBatch") == 3
    assert commonward("ledger", "read", "--data", data, "--last", "1").out.count("AnchorBatch") == 2
    assert commonward("ledger", "read", "--data", data, "--last", "0").out.count("AnchorBatch") == 1


def test_one_transaction_is_shown_field_by_field(data: Path) -> None:
    chain = Chain(data)
    chain.block(anchor(chain))
    digest = chain.block(release())
    shown = commonward("ledger", "show", digest.hex()[:10], "--data", data, "--json").json
    assert shown["kind"] == "Release" and shown["height"] == 2
    assert shown["fields"]["tag"] == (b"t" * 32).hex() and shown["fields"]["sealed"] == (bytes([5]) * 32).hex()
    text = commonward("ledger", "show", digest.hex(), "--data", data).out
    assert "A custodian's mark" in text and "salted commitment" in text and "late" not in text.split("\n", 3)[3]
    for bad, said in (("abc", "6 hexadecimal"), ("zzzzzzzz", "hexadecimal"), ("0" * 12, "no transaction")):
        ran = commonward("ledger", "show", bad, "--data", data)
        assert ran.code == 2 and said in ran.err


def test_a_ledger_that_was_never_fetched_says_what_to_start(data: Path) -> None:
    ran = commonward("ledger", "read", "--data", data)
    assert ran.code == 2 and "commonward node" in ran.err.replace("\n", " ")


def test_an_operator_who_signed_what_executing_does_not_give_shows(data: Path) -> None:
    chain = Chain(data)
    chain.block(anchor(chain), root=b"\1" * 32)
    ran = commonward("ledger", "read", "--data", data)
    assert ran.code == 2 and "the operator signed" in ran.err and "Traceback" not in ran.err


def test_an_altered_block_is_named(data: Path) -> None:
    chain = Chain(data)
    for _ in range(3):
        chain.block(anchor(chain))
    (file,) = chain.path.glob("blocks-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
    ran = commonward("ledger", "read", "--data", data)
    assert ran.code == 2 and "block 1" in ran.err and "altered" in ran.err


def test_blocks_are_read_beside_a_writer_up_to_the_last_whole_one(tmp_path: Path) -> None:
    with BlockFiles(tmp_path / "b", segment_bytes=300) as files:
        for height in range(1, 8):
            files.append(height, bytes([height]) * 100)
        assert [(height, body[0]) for height, body in read_blocks(tmp_path / "b")] == [(n, n) for n in range(1, 8)]
    last = sorted((tmp_path / "b").glob("blocks-*"))[-1]
    last.write_bytes(last.read_bytes()[:-10])
    assert [height for height, _ in read_blocks(tmp_path / "b")] == list(range(1, 7))
    sorted((tmp_path / "b").glob("blocks-*"))[1].unlink()
    with pytest.raises(StoreCorrupt, match="one is missing"):
        list(read_blocks(tmp_path / "b"))
    assert list(read_blocks(tmp_path / "nothing")) == []


def test_a_value_of_the_state_is_seen_while_its_node_holds_it(tmp_path: Path) -> None:
    assert peek(tmp_path / "none", b"k") is None
    store = RocksStore(tmp_path / "state")
    try:
        store.write({b"k": b"v"})
        assert peek(tmp_path / "state", b"k") == b"v" and peek(tmp_path / "state", b"other") is None
    finally:
        store.close()
