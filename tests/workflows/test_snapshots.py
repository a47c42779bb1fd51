"""State sync: a machine restored from a snapshot goes on as one that saw it all; whatever is altered is refused."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger import snapshot as form
from commonward.ledger.encoding import Value, decode, encode
from commonward.ledger.ids import BlockTime, Height
from commonward.ledger.merkle.log import NotHeld, leaf_hash, tile_base, verify_inclusion
from commonward.ledger.merkle.ranges import fold_stretch
from commonward.ledger.refusals import Replayed, StaleRoot
from commonward.ledger.snapshot import Manifest, cells_chunk, leaves_chunk, snapshot_hash
from commonward.ledger.transition import FORGET_AFTER
from commonward.workflows.snapshots import Applied, ChunkAnswer, OfferAnswer, Offered
from tests.ledgerkit import Kit, demo_genesis
from tests.snapshotkit import Joiner, Source, a_release


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small ledger makes many."""
    monkeypatch.setattr(form, "STRETCH", 16)
    monkeypatch.setattr("commonward.workflows.snapshotting.CELLS", 1500)


def joined(source: Source, **options: int) -> Joiner:
    async def story() -> Joiner:
        await source.snapshot()
        joiner = Joiner(source.kit.genesis, **options)
        answer, applied = await joiner.fetch(source.store, source.app_hash)
        assert answer == OfferAnswer.ACCEPT and {each.answer for each in applied} == {ChunkAnswer.ACCEPT}
        return joiner

    return asyncio.run(story())


def same(one: Kit, other: Kit, raws: list[bytes], later: int = 1) -> None:
    """The next block has the same outcomes and leads to the same roots on both."""
    one.later(later)
    block = one.block_bytes(raws)
    staged = [kit.machine.stage(block) for kit in (one, other)]
    assert [outcome.code for outcome in staged[0].outcomes] == [outcome.code for outcome in staged[1].outcomes]
    assert staged[0].checkpoint == staged[1].checkpoint and staged[0].state_root == staged[1].state_root
    for kit, each in zip((one, other), staged, strict=True):
        kit.machine.commit(each)


# ------------------------------------------------------------------------------------------------ going on from there


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6), st.sampled_from([4, 8]))
def test_a_restored_machine_and_one_that_saw_it_all_go_on_alike(blocks: int, seed: int, bits: int) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(form, "STRETCH", 16)
        small.setattr("commonward.workflows.snapshotting.CELLS", 1500)
        source, chance = Source(), random.Random(seed)
        source.live(blocks, chance)
        joiner = joined(source, map_bits=bits)
        ours, theirs = source.kit, joiner.kit
        assert theirs.machine.tip == ours.machine.tip and theirs.machine.applied.height == ours.machine.applied.height
        for _ in range(12):
            raws = [chance.choice(source.sent)] if source.sent else []  # replays of every age
            raws += [source._something(chance) for _ in range(chance.randrange(4))]
            same(ours, theirs, raws, chance.randrange(1, FORGET_AFTER // 4))
        theirs.reopen()
        same(ours, theirs, [ours.sign(a_release("last"), by="north")])


def test_a_transaction_from_before_the_snapshot_is_refused_as_replayed_after_it() -> None:
    source = Source()
    raw = source.kit.sign(a_release(1), by="north")
    source.block([raw])
    joined(source).kit.refuse_raw(Replayed, raw)


def test_recent_roots_from_before_the_snapshot_count_as_long_as_they_would_have() -> None:
    source = Source()
    source.live(30)
    old = source.kit.recent()
    source.live(3, pace_ms=1000)
    kit = joined(source).kit
    kit.accept(a_release("fresh"), by="north", recent=old)
    kit.later(FORGET_AFTER)
    kit.accept(a_release("tip"), by="north")
    kit.refuse(StaleRoot, a_release("stale"), by="north", recent=old)


def test_a_snapshot_after_idle_blocks_stands_at_their_height() -> None:
    source = Source()
    source.live(5)
    for _ in range(3):
        source.kit.later(5000)
        source.block([])
    joiner = joined(source)
    assert joiner.kit.machine.applied.height == source.height
    assert joiner.ground.completed is not None and joiner.ground.completed.blocks.height == source.height
    same(source.kit, joiner.kit, [source.kit.sign(a_release("after"), by="north")])


def test_a_ledger_of_genesis_alone_can_be_joined() -> None:
    source = Source()
    source.kit.later(1)
    source.block([])
    same(source.kit, joined(source).kit, [])


def test_what_comes_after_the_snapshot_can_be_proven_and_what_came_before_says_that_it_is_not_there() -> None:
    source = Source()
    source.live(700, pace_ms=4000)
    kit = joined(source).kit
    staged = kit.block([kit.sign(a_release("new"), by="north")])
    log, tip, index = kit.machine.log, kit.machine.tip, staged.outcomes[0].index
    assert verify_inclusion(leaf_hash(staged.leaves[0]), index, tip.size, log.prove_inclusion(index), tip.root)
    assert source.log_store.begins == 0
    with pytest.raises(NotHeld, match="joined by a snapshot"):
        log.prove_inclusion(3)


def test_a_member_who_joined_makes_the_same_snapshot_as_the_others() -> None:
    """So a joiner can fetch from all of them at once; and its window still lies before its own beginning."""
    source = Source()
    source.live(60)
    joiner = joined(source)
    stores = joiner.ground.completed
    assert stores is not None
    other = Source()
    other.kit, other.state, other.log_store = joiner.kit, stores.state, stores.tiles
    other.store.moved(stores.state, stores.tiles, lambda: None)
    for _ in range(3):
        source.kit.later(1000)
        other.kit.now = source.kit.now
        raws = [source.kit.sign(a_release(object()), by="north")]
        source.block(raws)
        other.block(raws)
    asyncio.run(source.snapshot())
    asyncio.run(other.snapshot())
    assert source.store.offers()[-1] == other.store.offers()[-1]
    assert source.shelf.kept[source.height] == other.shelf.kept[other.height]


# ------------------------------------------------------------------------------------------------------------ attacks


@pytest.fixture(scope="module")
def lived() -> Source:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(form, "STRETCH", 16)
        small.setattr("commonward.workflows.snapshotting.CELLS", 1500)
        source = Source()
        source.live(80)
        asyncio.run(source.snapshot())
    return source


def fetch(source: Source, altered: dict[int, bytes]) -> Applied:
    """The last answer when these chunks are other than they were."""

    async def story() -> Applied:
        joiner = Joiner(source.kit.genesis)
        _, applied = await joiner.fetch(source.store, source.app_hash, lambda at, data: altered.get(at, data))
        assert not joiner.adopted and joiner.ground.completed is None
        # The true one, from somebody else, still counts.
        offered, index = source.store.offers()[-1], len(applied) - 1
        true = source.store.chunk(offered.height, offered.format, index)
        assert (await joiner.store.apply(index, true, "another")).answer == ChunkAnswer.ACCEPT
        return applied[-1]

    return asyncio.run(story())


def chunks(source: Source) -> list[bytes]:
    return source.shelf.kept[source.height][1]


def logs(source: Source) -> int:
    return len(Manifest.parse(source.shelf.manifest(source.height)).log)


def test_a_chunk_with_any_bit_turned_is_refused_and_its_sender_named(lived: Source) -> None:
    all_chunks, chance = chunks(lived), random.Random(7)
    assert logs(lived) >= 2 and len(all_chunks) - logs(lived) >= 4
    places = [(index, at) for index in (0, 1, logs(lived), logs(lived) + 2) for at in (0, 1, 2, 7, -1)]
    places += [(index, chance.randrange(len(all_chunks[index]))) for index in range(len(all_chunks))]
    for index, at in places:
        data = bytearray(all_chunks[index])
        data[at] ^= 1 << chance.randrange(8)
        assert fetch(lived, {index: bytes(data)}) == Applied(ChunkAnswer.RETRY, (index,), ("a sender",))


def test_a_chunk_that_is_missing_cut_doubled_or_swapped_with_another_is_refused(lived: Source) -> None:
    true, first = chunks(lived), logs(lived)
    for index, other in ((0, 1), (first, first + 1)):
        for bad in (b"", true[index][:-1], true[index] * 2, true[other], true[first - index - 1], bytes(10)):
            assert fetch(lived, {index: bad}).reject == ("a sender",)


def test_a_cell_or_a_leaf_left_out_or_added_is_refused(lived: Source) -> None:
    true, first = chunks(lived), logs(lived)
    subtree = Manifest.parse(lived.shelf.manifest(lived.height)).cells[0]
    pairs = form.read_cells(true[first], first, subtree).pairs
    for cells in (pairs[1:], pairs[:-1], [], [(key, b"another") for key, _ in pairs]):
        assert fetch(lived, {first: cells_chunk(cells)}).answer == ChunkAnswer.RETRY
    leaves = form.read_leaves(true[1], 1, 16)
    for some in (leaves[1:], leaves[::-1], [*leaves, leaves[-1]], []):
        assert fetch(lived, {1: leaves_chunk(some)}).answer == ChunkAnswer.RETRY


def test_a_chunk_out_of_turn_is_asked_for_again_and_one_that_came_before_is_passed_over(lived: Source) -> None:
    async def story() -> None:
        joiner, offered = Joiner(lived.kit.genesis), lived.store.offers()[-1]
        joiner.store.offer(offered, lived.app_hash)
        true = chunks(lived)
        assert await joiner.store.apply(2, true[2], "s") == Applied(ChunkAnswer.RETRY, (0, 1, 2))
        for index in (0, 0, 1, 0, 1):
            assert await joiner.store.apply(index, true[index], "s") == Applied(ChunkAnswer.ACCEPT)
        for wrong in (-1, len(true)):
            assert (await joiner.store.apply(wrong, true[0], "s")).answer == ChunkAnswer.RETRY

    asyncio.run(story())


def told(source: Source, data: bytes, app_hash: bytes | None = None, **said: int) -> OfferAnswer:
    """The answer to a manifest, offered with the hash that belongs to it."""
    offered = source.store.offers()[-1]
    told = Offered(offered.height, offered.format, offered.chunks, snapshot_hash(data), data)._replace(**said)  # type: ignore[arg-type]
    joiner = Joiner(source.kit.genesis)
    answer = joiner.store.offer(told, source.app_hash if app_hash is None else app_hash)
    assert answer == OfferAnswer.ACCEPT or joiner.ground.made is None
    return answer


def test_the_true_manifest_is_accepted(lived: Source) -> None:
    assert told(lived, lived.shelf.manifest(lived.height)) == OfferAnswer.ACCEPT


@pytest.mark.parametrize("field", range(11))
def test_a_manifest_with_any_field_altered_does_not_follow_from_the_app_hash(lived: Source, field: int) -> None:
    value = decode(lived.shelf.manifest(lived.height))
    assert isinstance(value, list) and len(value) == 11
    for bad in _altered(value[field]):
        assert told(lived, encode([*value[:field], bad, *value[field + 1 :]])) == OfferAnswer.REJECT, (field, bad)


def _altered(value: Value) -> list[Value]:
    match value:
        case int(n):
            return [n + 1, max(n - 1, 0) if n else 7, -1, "n", (1 << 63)]
        case bytes(data):
            return [data[:-1] + bytes((data[-1] ^ 1,)), data[:-1], data + b"\0", b"", 5]
        case list(items):
            one: list[Value] = [
                [*items[:at], bad, *items[at + 1 :]] for at in range(len(items)) for bad in _altered(items[at])[:2]
            ]
            return (
                [*one, items[:-1], items[1:], [*items, items[-1]], items[::-1], [], b""]
                if len(items) > 1
                else [*one, []]
            )
        case _:
            raise AssertionError(value)


def test_a_manifest_with_a_wrong_hash_height_number_of_chunks_format_or_ledger_is_refused(lived: Source) -> None:
    data, offered = lived.shelf.manifest(lived.height), lived.store.offers()[-1]
    assert told(lived, data, format=2) == OfferAnswer.REJECT_FORMAT
    assert told(lived, data, height=offered.height + 1) == OfferAnswer.REJECT
    assert told(lived, data, chunks=offered.chunks + 1) == OfferAnswer.REJECT
    assert told(lived, data, lived.app_hash[:-1]) == OfferAnswer.REJECT
    assert told(lived, data, lived.app_hash[:-1] + b"\0") == OfferAnswer.REJECT
    assert told(lived, data, b"") == OfferAnswer.REJECT
    for bad in (b"", b"\xff", data[:-1], data + b"\0", bytes(form.MAX_MANIFEST + 1), encode([1])):
        assert told(lived, bad) == OfferAnswer.REJECT
    joiner = Joiner(lived.kit.genesis)
    assert joiner.store.offer(offered._replace(hash=bytes(32)), lived.app_hash) == OfferAnswer.REJECT
    foreign = Joiner(demo_genesis(created=BlockTime(lived.kit.genesis.created + 1)))
    assert foreign.store.offer(offered, lived.app_hash) == OfferAnswer.REJECT


def test_a_snapshot_that_begins_late_to_hide_burnt_digests_is_refused(lived: Source) -> None:
    """Its stretches fold to the root as well: only the age of its first block tells."""

    async def story() -> None:
        true = Manifest.parse(lived.shelf.manifest(lived.height))
        log, size = lived.log_store, true.size
        late = next(n for n in range(size - 2, 0, -1) if _is_end(lived, n))
        stretches = form.stretches(late, size)
        rows = [
            log.read(t, tile_base(late, t), (late >> 8 * t) - tile_base(late, t))
            for t in range((late.bit_length() + 7) // 8)
        ]
        covers = [
            b"".join(node.hash for node in fold_stretch(low, log.read(0, low, high - low))) for low, high in stretches
        ]
        shorter = true._replace(start=late, rows=tuple(rows), log=tuple(covers))
        data = shorter.to_bytes()
        offered = Offered(true.height, 1, shorter.chunks, snapshot_hash(data), data)
        joiner = Joiner(lived.kit.genesis)
        assert joiner.store.offer(offered, lived.app_hash) == OfferAnswer.ACCEPT
        leaves = [leaf_at(lived, n) for n in range(*stretches[0])]
        answer = await joiner.store.apply(0, leaves_chunk(leaves), "liar")
        assert answer == Applied(ChunkAnswer.RETRY, (0,), ("liar",))

    asyncio.run(story())


def leaf_at(source: Source, index: int) -> bytes:
    value = source.state.get(b"ie" + index.to_bytes(8, "big"))
    assert value is not None
    return value


def _is_end(source: Source, index: int) -> bool:
    return isinstance(form.parse_leaf(leaf_at(source, index)), form.BlockEnd)


# -------------------------------------------------------------------------------------------------------- around them


def test_nothing_that_others_ask_can_raise(lived: Source) -> None:
    for height, kind, index in ((lived.height, 1, 10**6), (3, 1, 0), (lived.height, 2, 0), (-1, -1, -1000)):
        assert lived.store.chunk(height, kind, index) == b""

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise OSError("the disk is gone")

    source = Source()
    source.store._shelf = Broken()  # type: ignore[assignment]
    assert source.store.offers() == [] and source.store.chunk(1, 1, 0) == b"" and source.store.oldest == 0
    asyncio.run(source.store.committed(1))
    asyncio.run(source.store.made())


def test_a_chunk_that_nobody_offered_is_not_taken() -> None:
    assert asyncio.run(Joiner(Source().kit.genesis).store.apply(0, b"x", "s")).answer == ChunkAnswer.ABORT


def test_an_offer_accepted_anew_starts_over(lived: Source) -> None:
    async def story() -> None:
        joiner, offered = Joiner(lived.kit.genesis), lived.store.offers()[-1]
        for _ in range(2):
            assert joiner.store.offer(offered, lived.app_hash) == OfferAnswer.ACCEPT
            assert (await joiner.store.apply(0, chunks(lived)[0], "s")).answer == ChunkAnswer.ACCEPT
        _, applied = await joiner.fetch(lived.store, lived.app_hash)
        assert {each.answer for each in applied} == {ChunkAnswer.ACCEPT} and len(joiner.adopted) == 1

    asyncio.run(story())


def test_where_nothing_happened_a_snapshot_is_the_last_one_with_another_height() -> None:
    async def story() -> None:
        source = Source()
        source.live(5)
        first = await source.snapshot()
        source.kit.later(5000)
        source.block([])
        second = await source.snapshot()
        assert second == first._replace(height=Height(first.height + 1))
        joiner = Joiner(source.kit.genesis)
        await joiner.fetch(source.store, source.app_hash)
        assert joiner.kit.machine.applied.height == source.height

    asyncio.run(story())


def test_snapshots_are_made_each_so_many_blocks_and_old_ones_go() -> None:
    async def story() -> None:
        source = Source(every=5)
        for _ in range(23):
            source.live(1)
            await source.store.committed(source.height)
            await source.store.made()
        assert source.shelf.heights() == [15, 20] and source.store.oldest == 15

    asyncio.run(story())


def test_a_state_that_was_altered_on_disk_is_never_offered() -> None:
    async def story() -> None:
        source = Source()
        source.live(10)
        key = next(key for key in source.state._values if key.startswith(b"s"))
        source.state.write({key: b"altered"})
        await source.store.committed(source.height)
        await source.store.made()
        assert source.store.offers() == []

    asyncio.run(story())
