"""A member's node on the embedded engine: it commits, cosigns, comes back, and names an operator who cheats."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from commonward.ledger.checkpoint import Checkpoint, Note, cosign, parse_note, sign_note
from commonward.ledger.encoding import decode
from commonward.ledger.ids import Digest, Height, MemberId, Purpose, Tag
from commonward.ledger.members import Equivocation
from commonward.ledger.merkle.log import MemoryLogStore, leaf_hash, verify_inclusion
from commonward.ledger.merkle.map_proof import MapProof, verify_presence
from commonward.ledger.refusals import BadSignature, Replayed
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.rules import Header
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import Receipt, Release, assemble, build_block, parse_transaction
from commonward.ledger.transition import Machine, block_leaf
from commonward.workflows.blocklog import Record
from commonward.workflows.faults import FaultKind, OperatorFault
from commonward.workflows.memory import MemoryPeers
from commonward.workflows.ports import LedgerAway
from commonward.workflows.replica import CannotFollow, Halted
from tests.ledgerkit import Kit, commitment, member_soft_key
from tests.memory_engine import MAP_BITS, CuedReplica, Disk, MemoryEngine


def release(n: int) -> Release:
    """A mark of no particular release."""
    some = commitment("release", n)
    return Release(Tag(commitment("tag", n)), some, some, some, some, some, some)


def receipt(n: int) -> Receipt:
    return Receipt(commitment("r", n), commitment("s", n), commitment("d", n))


class Operator:
    """Runs the sequencer's key by hand, and cheats as told: makes blocks and signs whatever checkpoint is wanted."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.key = member_soft_key("health", Purpose.SEQUENCE)
        self.kit = Kit(genesis=engine.genesis, map_bits=MAP_BITS)
        self.kit.now = engine.clock.now()
        self.origin = f"commonward/{self.kit.ledger[:8].hex()}"

    def note(self, size: int, root: bytes) -> Note:
        checkpoint = Checkpoint(self.origin, size, Digest(root))
        return Note(checkpoint, (sign_note(checkpoint, self.key.public, self.key.sign),))

    def block(self, *payloads: Release | Receipt, root: bytes | None = None) -> bytes:
        """The next record; with `root`, the checkpoint says that root instead of the true one."""
        raws = [self.kit.sign(payload, by="north") for payload in payloads]
        data = self.kit.block_bytes(raws)
        staged = self.kit.machine.stage(data)
        self.kit.machine.commit(staged)
        return Record(data, self.note(staged.checkpoint.size, root or staged.checkpoint.root).to_bytes()).to_bytes()


@pytest.fixture
async def engine() -> AsyncIterator[MemoryEngine]:
    async with MemoryEngine() as running:
        yield running


# --------------------------------------------------------------------------------------------------- following along


async def test_a_submission_stands_in_a_block_of_ones_own_node_and_is_cosigned(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    raw = engine.sign(release(1), by="north")
    committed = await north.submit(raw)
    assert committed.code == 0
    proven = await north.cosigned(committed.index + 2)
    assert len(proven.members) >= 4
    assert proven.size == north.machine.tip.size
    await engine.settle()
    assert len(engine.roots()) == 1
    assert north.proven_live()


async def test_a_submission_repeated_returns_the_first_outcome(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    raw = engine.sign(release(1), by="north")
    first, second = await asyncio.gather(north.submit(raw), north.submit(raw))
    assert first == second == await north.submit(raw)
    await engine.settle()
    assert await engine.nodes["south"].submit(raw) == first
    assert len(north.entries(0, 100)) == 1


async def test_many_submissions_travel_in_few_blocks(engine: MemoryEngine) -> None:
    nodes = list(engine.nodes.values())
    raws = [engine.sign(release(n), by="north") for n in range(100)]
    done = await asyncio.gather(*(nodes[n % 5].submit(raw) for n, raw in enumerate(raws)))
    assert {each.code for each in done} == {0}
    assert len({each.index for each in done}) == 100
    await engine.settle()
    assert engine.sequencer.height < 50
    assert len(engine.roots()) == 1


async def test_what_our_own_node_refuses_is_not_sent(engine: MemoryEngine) -> None:
    good = parse_transaction(engine.sign(release(1), by="north"))
    forged = assemble(good.body_bytes, good.proof_kind, good.proof[:-1] + bytes([good.proof[-1] ^ 1]))
    with pytest.raises(BadSignature):
        await engine.nodes["north"].submit(forged)
    assert engine.sequencer.height == 0


async def test_a_body_carried_under_a_bad_proof_does_not_answer_for_the_true_one(engine: MemoryEngine) -> None:
    """A member that sees our transaction carries it with a broken proof first: ours still lands and is found."""
    good = engine.sign(release(1), by="north")
    parsed = parse_transaction(good)
    forged = assemble(parsed.body_bytes, parsed.proof_kind, parsed.proof[:-1] + bytes([parsed.proof[-1] ^ 1]))
    operator = Operator(engine)
    node = engine.open("north")
    bad = operator.kit.block_bytes([forged])
    staged = operator.kit.machine.stage(bad)
    operator.kit.machine.commit(staged)
    await node.offer(Record(bad, operator.note(*staged.checkpoint).to_bytes()).to_bytes(), live=True)
    found = node.found(parsed.digest)
    assert found is not None and found.code == BadSignature.code
    true = operator.kit.block_bytes([good])
    staged = operator.kit.machine.stage(true)
    operator.kit.machine.commit(staged)
    await node.offer(Record(true, operator.note(*staged.checkpoint).to_bytes()).to_bytes(), live=True)
    found = node.found(parsed.digest)
    assert found is not None and found.code == 0
    node.close()


async def test_a_submit_that_times_out_may_still_have_landed(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    raw = engine.sign(release(1), by="north")
    north.cue.fail_next("submit", after_effect=True)
    with pytest.raises(LedgerAway):
        await north.submit(raw)
    found = north.found(parse_transaction(raw).digest)
    assert found is not None and await north.submit(raw) == found


async def test_a_broken_line_loses_and_doubles_nothing(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    raws = [engine.sign(release(n), by="north") for n in range(20)]
    waiting = [asyncio.create_task(north.submit(raw)) for raw in raws]
    await asyncio.sleep(0)
    engine.cut("north")
    await asyncio.sleep(0.05)
    engine.mend("north")
    done = await asyncio.gather(*waiting)
    assert {each.code for each in done} == {0}
    assert len(north.entries(0, 100)) == 20


async def test_what_expires_without_landing_is_said_and_no_longer_carried(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    engine.cut("north")
    waiting = asyncio.create_task(north.submit(engine.sign(release(1), by="north")))
    await asyncio.sleep(0)
    engine.clock.move(200_000)
    north.tick()
    with pytest.raises(LedgerAway, match="expired"):
        await waiting
    engine.mend("north")
    await engine.settle()
    assert engine.sequencer.height == 0


@pytest.mark.parametrize("stop_after", [0, 1, 3])
async def test_a_node_restarted_at_any_point_has_the_root_of_the_others(engine: MemoryEngine, stop_after: int) -> None:
    north = engine.nodes["north"]
    for n in range(5):
        if n == stop_after:
            await engine.stop("south")
        await north.submit(engine.sign(release(n), by="north"))
    engine.start("south")
    await north.submit(engine.sign(release(9), by="north"))
    await engine.settle()
    assert len(engine.roots()) == 1
    entry = engine.nodes["south"].mark(Tag(commitment("tag", 2)), MemberId("north"))
    assert entry is not None and entry == north.mark(Tag(commitment("tag", 2)), MemberId("north"))


async def test_a_node_that_lost_its_state_replays_its_block_log(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    for n in range(4):
        await north.submit(engine.sign(release(n), by="north"))
    await engine.settle()
    await engine.stop("south")
    disk = engine.disks[MemberId("south")]
    disk.store, disk.log = MemoryStore(), MemoryLogStore()
    reopened = engine.open("south")
    assert reopened.machine.tip == north.machine.tip
    assert reopened.mark(Tag(commitment("tag", 3)), MemberId("north")) == north.mark(
        Tag(commitment("tag", 3)), MemberId("north")
    )
    reopened.close()


async def test_a_full_disk_stops_a_node_and_room_lets_it_go_on(engine: MemoryEngine) -> None:
    south = engine.nodes["south"]
    engine.disks[MemberId("south")].blocks.fail_next_append()
    await engine.nodes["north"].submit(engine.sign(release(1), by="north"))
    await asyncio.sleep(0.05)
    assert south.height == 0
    engine.cut("south")
    engine.mend("south")
    await engine.settle()
    assert len(engine.roots()) == 1


async def test_a_write_that_failed_after_its_effect_is_not_done_twice(engine: MemoryEngine) -> None:
    engine.disks[MemberId("south")].blocks.fail_next_append(but_keep=True)
    engine.sequencer_disk.blocks.fail_next_append(but_keep=True)
    committed = await engine.nodes["north"].submit(engine.sign(release(1), by="north"))
    assert committed.code == 0
    engine.cut("south")
    engine.mend("south")
    await engine.settle()
    assert len(engine.roots()) == 1 and engine.sequencer.height == 1


async def test_the_sequencer_restarted_goes_on_where_it_was(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    for n in range(3):
        await north.submit(engine.sign(release(n), by="north"))
    await engine.stop_sequencer()
    waiting = asyncio.create_task(north.submit(engine.sign(release(7), by="north")))
    await asyncio.sleep(0.01)
    engine.start_sequencer()
    for name in engine.nodes:
        engine.mend(name)
    assert (await waiting).height == 4
    await engine.settle()
    assert len(engine.roots()) == 1


# ------------------------------------------------------------------------------------------------- cosigning and time


async def test_an_idle_ledger_makes_no_blocks_and_stays_freshly_cosigned(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    assert north.proven_live()
    before = north.proven()
    for _ in range(20):
        await engine.pass_time(30_000)
    assert engine.sequencer.height == 0
    after = north.proven()
    assert before is not None and after is not None
    assert after.size == before.size == 1 and after.fresh == before.fresh + 600_000
    assert north.proven_live()


async def test_without_two_thirds_nothing_is_proven_and_liveness_ends(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    await engine.stop("south")
    committed = await north.submit(engine.sign(release(1), by="north"))
    assert (await north.cosigned(committed.index + 2)).size >= committed.index
    await engine.stop("shield")
    committed = await north.submit(engine.sign(release(2), by="north"))
    with pytest.raises(LedgerAway):
        await north.cosigned(committed.index + 2, timeout_ms=50)
    for _ in range(3):
        await engine.pass_time(30_000)
    assert not north.proven_live()


async def test_liveness_ends_when_a_third_is_silent_though_it_once_cosigned_this_very_head(
    engine: MemoryEngine,
) -> None:
    # Two of five go on an idle ledger: three still cosign its head, and no quorum stands by it any more.
    north = engine.nodes["north"]
    await engine.pass_time(30_000)
    before = north.proven()
    assert before is not None and len(before.members) == 5
    await engine.stop("south")
    await engine.stop("shield")
    for _ in range(3):
        await engine.pass_time(30_000)
    after = north.proven()
    assert after is not None and after.size == before.size
    assert after.fresh == before.fresh
    assert not north.proven_live()


@pytest.mark.parametrize(
    ("off_ms", "cosigned"), [(0, True), (29_000, True), (31_000, False), (-29_000, True), (-31_000, False)]
)
async def test_a_live_block_whose_time_is_off_by_more_than_thirty_seconds_is_not_cosigned(
    off_ms: int, cosigned: bool
) -> None:
    async with MemoryEngine() as engine:
        engine.clock.move(600_000)
        operator, node, said = Operator(engine), engine.open("north"), Heard()
        node.attach(said)
        operator.kit.now = engine.clock.now() + off_ms
        await node.offer(operator.block(release(1)), live=True)
        assert (node.machine.tip.size in said.sizes) is cosigned
        assert node.clock_doubt is not cosigned
        node.close()


async def test_catching_up_takes_old_blocks_but_none_of_the_future(engine: MemoryEngine) -> None:
    engine.clock.move(600_000)
    operator, node, said = Operator(engine), engine.open("north"), Heard()
    operator.kit.now = engine.clock.now() - 500_000
    await node.offer(operator.block(release(1)), live=False)
    assert not node.clock_doubt
    operator.kit.now = engine.clock.now() + 60_000
    await node.offer(operator.block(release(2)), live=False)
    assert node.clock_doubt
    node.attach(said)
    assert said.sizes == []
    node.close()


class Heard:
    """An uplink that keeps what the node says."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.roots: dict[int, set[bytes]] = {}

    def carry(self, number: int, bundle: bytes) -> None: ...

    def cosigned(self, checkpoint: Checkpoint, line: object) -> None:
        self.sizes.append(checkpoint.size)
        self.roots.setdefault(checkpoint.size, set()).add(checkpoint.root)


async def test_a_forged_cosignature_does_not_count_and_spoils_no_other(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    for name in ("clinic", "health", "shield", "south"):
        engine.cut(name)
    await north.submit(engine.sign(release(1), by="north"))
    tip = north.machine.tip
    checkpoint = Checkpoint(f"commonward/{engine.genesis.ledger_id[:8].hex()}", tip.size, tip.root)
    wrong = member_soft_key("nobody", Purpose.COSIGN)

    def line(name: str, sign: object = None) -> str:
        key = member_soft_key(name, Purpose.COSIGN)
        return cosign(checkpoint, name, key.public, engine.clock.now(), sign or key.sign).to_text()  # type: ignore[arg-type]

    for name in ("clinic", "health"):
        north.hear(MemberId(name), tip.size, tip.root, line(name))
    north.hear(MemberId("shield"), tip.size, tip.root, line("shield", wrong.sign))
    with pytest.raises(LedgerAway):
        await north.cosigned(tip.size, timeout_ms=20)
    north.hear(MemberId("south"), tip.size, tip.root, line("health"))  # health's line under another name
    with pytest.raises(LedgerAway):
        await north.cosigned(tip.size, timeout_ms=20)
    north.hear(MemberId("south"), tip.size, tip.root, line("south"))
    proven = await north.cosigned(tip.size, timeout_ms=20)
    assert set(proven.members) == {"clinic", "health", "north", "south"}


# --------------------------------------------------------------------------------------------- an operator who cheats


async def test_an_operator_who_misexecutes_is_named_and_followed_no_further(engine: MemoryEngine) -> None:
    operator, node, said = Operator(engine), engine.open("north"), Heard()
    node.attach(said)
    await node.offer(operator.block(release(1)), live=True)
    with pytest.raises(Halted) as halted:
        await node.offer(operator.block(release(2), root=b"\7" * 32), live=True)
    fault = halted.value.fault
    assert isinstance(fault, OperatorFault)
    assert fault.kind is FaultKind.MISEXECUTION and fault.operator == "health"
    assert OperatorFault.parse(fault.to_bytes()) == fault
    assert len(said.sizes) == 2  # the genesis checkpoint and the first block; never the false one
    with pytest.raises(Halted):
        await node.submit(engine.sign(release(3), by="north"))
    node.close()
    again = engine.open("north")  # its block log shows the same again after a restart
    assert isinstance(again.fault, OperatorFault) and again.fault.kind is FaultKind.MISEXECUTION
    again.close()


async def test_an_operator_who_signs_after_a_block_that_the_rules_forbid_is_named(engine: MemoryEngine) -> None:
    operator, node = Operator(engine), engine.open("north")
    forbidden = build_block(Header(Height(1), engine.clock.now()), [operator.kit.bundle([b"x"])[:-1] + b"\0"])
    with pytest.raises(Halted, match="rules forbid") as halted:
        await node.offer(Record(forbidden, operator.note(2, b"\1" * 32).to_bytes()).to_bytes(), live=True)
    assert isinstance(halted.value.fault, OperatorFault) and halted.value.fault.kind is FaultKind.INVALID_BLOCK
    node.close()


async def test_an_operator_who_gives_two_groups_two_chains_is_caught_when_they_compare(engine: MemoryEngine) -> None:
    """north and south are told different histories; each is consistent. Their nodes compare heads past the operator,
    and the proof takes the operator's weight away on a ledger of its members."""
    one, other = Operator(engine), Operator(engine)
    north, south = engine.open("north"), engine.open("south")
    for n in range(3):
        await north.offer(one.block(release(n)), live=True)
        await south.offer(other.block(release(n) if n < 1 else release(100 + n)), live=True)
    peers = MemoryPeers()
    peers.open_door(MemberId("south"), lambda member, path, body: south.answer_head(member, body))
    await north.compare(peers.of(MemberId("north")), [MemberId("south")])
    assert isinstance(north.fault, OperatorFault) and isinstance(south.fault, OperatorFault)
    assert north.fault.kind is south.fault.kind is FaultKind.FORK
    proof = north.fault.equivocation
    assert isinstance(proof, Equivocation)
    court = Kit(genesis=engine.genesis, map_bits=MAP_BITS)
    court.accept(proof, by="north")
    assert court.machine.view().roll.must(MemberId("health")).weight == 0
    north.close()
    reopened = engine.open("north")  # the proof is remembered
    assert reopened.fault == north.fault
    reopened.close()
    south.close()


async def test_a_fork_heard_of_before_its_size_is_reached_is_caught_then(engine: MemoryEngine) -> None:
    one, other, north = Operator(engine), Operator(engine), engine.open("north")
    await north.offer(one.block(release(1)), live=True)
    other.block(release(1))
    ahead = Record.parse(other.block(release(99))).note
    north.witness(ahead)
    assert north.fault is None
    await north.offer(one.block(release(2)), live=True)
    assert isinstance(north.fault, OperatorFault) and north.fault.kind is FaultKind.FORK
    north.close()


async def test_an_operator_who_rewrites_history_is_caught_on_reconnection(engine: MemoryEngine) -> None:
    one, other, north = Operator(engine), Operator(engine), engine.open("north")
    for n in range(3):
        await north.offer(one.block(release(n)), live=True)
    rewritten = other.block(release(50))
    with pytest.raises(Halted):
        await north.offer(rewritten, live=False)
    assert isinstance(north.fault, OperatorFault) and north.fault.kind is FaultKind.FORK
    north.close()


async def test_a_rewrite_that_ends_at_no_block_of_ours_is_named_too(engine: MemoryEngine) -> None:
    one, other, north = Operator(engine), Operator(engine), engine.open("north")
    await north.offer(one.block(release(1), release(2), release(3)), live=True)
    north.witness(Record.parse(other.block(release(8))).note)
    assert isinstance(north.fault, OperatorFault) and north.fault.kind is FaultKind.REWRITE
    north.close()


async def test_what_the_operator_did_not_sign_blames_nobody(engine: MemoryEngine) -> None:
    operator, node = Operator(engine), engine.open("north")
    record = Record.parse(operator.block(release(1)))
    stranger = member_soft_key("stranger", Purpose.SEQUENCE)
    checkpoint = parse_note(record.note).checkpoint
    forged = Note(checkpoint, (sign_note(checkpoint, stranger.public, stranger.sign),))
    with pytest.raises(CannotFollow, match="not signed by health"):
        await node.offer(Record(record.block, forged.to_bytes()).to_bytes(), live=True)
    for junk in (b"", b"\x00" * 50, record.to_bytes()[:-1]):
        with pytest.raises(CannotFollow):
            await node.offer(junk, live=True)
    assert node.fault is None and node.height == 0
    await node.offer(record.to_bytes(), live=True)
    node.close()


async def test_two_roots_for_one_size_are_never_cosigned_even_after_a_restore(engine: MemoryEngine) -> None:
    """south's disk is restored from an old copy, and the operator offers it another history from there. Its own
    earlier cosignature, which the others still hold, stops it."""
    one, other, said = Operator(engine), Operator(engine), Heard()
    south = engine.open("south")
    south.attach(said)
    first = one.block(release(1))
    await south.offer(first, live=True)
    heard: list[tuple[Checkpoint, str]] = []
    said.cosigned = lambda checkpoint, line: heard.append((checkpoint, line.to_text()))  # type: ignore[method-assign, attr-defined]
    await south.offer(one.block(release(2)), live=True)
    south.close()
    restored, after = Disk(), Heard()
    engine.disks[MemberId("south")] = restored
    south = engine.open("south")
    for checkpoint, text in heard:
        south.hear(MemberId("south"), checkpoint.size, checkpoint.root, text)
    other.block(release(1))
    await south.offer(first, live=False)
    south.attach(after)
    assert after.sizes == []  # below what it has once cosigned it says nothing
    with pytest.raises(Halted, match="our key cosigned"):
        await south.offer(other.block(release(77)), live=True)
    assert after.sizes == []
    south.close()


async def test_a_node_whose_block_log_lost_its_end_says_so(engine: MemoryEngine) -> None:
    await engine.nodes["north"].submit(engine.sign(release(1), by="north"))
    await engine.settle()
    await engine.stop("south")
    engine.disks[MemberId("south")].blocks = type(engine.disks[MemberId("south")].blocks)()
    with pytest.raises(CannotFollow, match="lost its end"):
        engine.open("south")


# ------------------------------------------------------------------------------------------------------- what is found


async def test_a_mark_under_anothers_tag_takes_nothing_from_it(engine: MemoryEngine) -> None:
    """Health's stands first under the tag, and once more later; North's is found all the same, in any order."""
    north, tag = engine.nodes["north"], Tag(commitment("tag", 5))
    squat = replace(release(6), tag=tag)
    first = await north.submit(engine.sign(squat, by="health"))
    true = await north.submit(engine.sign(release(5), by="north"))
    await north.submit(engine.sign(replace(release(7), tag=tag), by="health"))
    await engine.settle()
    for node in engine.nodes.values():
        mine, theirs = node.mark(tag, MemberId("north")), node.mark(tag, MemberId("health"))
        assert mine is not None and mine.index == true.index
        assert theirs is not None and theirs.index == first.index, "the first of each member counts"
        assert node.mark(tag, MemberId("south")) is None


async def test_the_log_the_index_and_the_proofs_agree(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    tick = engine.clock.now() // 1000
    root = Digest(hashlib.sha256(b"batch").digest())
    anchored = await north.submit(engine.sign(AnchorBatch(tick, root, None, None), by="north"))
    marked = await north.submit(engine.sign(release(5), by="south"))
    entry = north.anchor(MemberId("north"), tick)
    assert entry is not None and entry.index == anchored.index and entry.member == "north"
    assert parse_transaction(entry.raw).payload == AnchorBatch(tick, root, None, None)
    mark = north.mark(Tag(commitment("tag", 5)), MemberId("south"))
    assert mark is not None and mark.index == marked.index and mark.member == "south"
    assert [each.index for each in north.entries(0, 10)] == [anchored.index, marked.index]
    assert [each.index for each in north.entries(0, 10, [Release.KIND])] == [marked.index]
    machine, size = north.machine, north.machine.tip.size
    for index in range(1, size):
        leaf = north.leaf(index)
        assert leaf is not None
        assert verify_inclusion(leaf_hash(leaf), index, size, north.prove_inclusion(index, size), machine.tip.root)
    facts = north.block(marked.height)
    assert facts is not None
    assert north.leaf(facts.size - 1) == block_leaf(facts.height, facts.time, machine.tip.state_root)
    proof = north.prove_state(b"authority")
    value = north.get(b"authority")
    assert proof is not None and value is not None
    assert verify_presence(machine.tip.state_root, b"authority", value, MapProof.from_value(decode(proof)))


async def test_a_change_of_authority_is_captured_with_its_proof(engine: MemoryEngine) -> None:
    north = engine.nodes["north"]
    new = member_soft_key("clinic's new", Purpose.COSIGN)
    await north.submit(engine.sign(new.add(engine.genesis.ledger_id, "clinic", Purpose.COSIGN), by="clinic"))
    await north.submit(engine.sign(release(2), by="north"))
    await engine.settle()
    (change,) = north.authority_changes()
    proof = MapProof.from_value(decode(change.proof))
    assert verify_presence(change.state_root, b"authority", change.authority, proof)
    assert north.leaf(change.size - 1) == block_leaf(change.height, change.time, change.state_root)
    note = parse_note(change.note)
    assert note.checkpoint.size == change.size and len(note.lines) >= 5


async def test_a_restart_is_no_change_of_authority(engine: MemoryEngine) -> None:
    await engine.nodes["north"].submit(engine.sign(release(1), by="north"))
    await engine.settle()
    await engine.stop("south")
    assert engine.start("south").authority_changes() == []


async def test_listeners_hear_every_block(engine: MemoryEngine) -> None:
    heard: list[tuple[int, list[int]]] = []
    engine.nodes["south"].listen(
        lambda executed: heard.append((executed.header.height, [outcome.code for _, outcome in executed.transactions]))
    )
    raw = engine.sign(release(1), by="north")
    await engine.nodes["north"].submit(raw)
    await engine.nodes["north"].submit(engine.sign(receipt(1), by="south"))
    await engine.settle()
    assert heard == [(1, [0]), (2, [0])]


async def test_a_replayed_transaction_in_a_block_hides_nothing(engine: MemoryEngine) -> None:
    operator, node = Operator(engine), engine.open("north")
    raw = operator.kit.sign(release(1), by="north")
    records = []
    for _ in range(2):
        block = operator.kit.block_bytes([raw])
        staged = operator.kit.machine.stage(block)
        operator.kit.machine.commit(staged)
        records.append(Record(block, operator.note(*staged.checkpoint).to_bytes()).to_bytes())
    for record in records:
        await node.offer(record, live=True)
    found = node.found(parse_transaction(raw).digest)
    assert found is not None and found.code == 0 and found.height == 1
    second = node.entries(0, 10)[1]
    assert second.code == Replayed.code
    node.close()


def test_a_fresh_machine_over_the_block_log_reaches_the_same_root() -> None:
    """The tie between a node and anyone who replays its block log with the ledger alone."""

    async def story() -> tuple[CuedReplica, Disk, MemoryEngine]:
        async with MemoryEngine() as engine:
            for n in range(3):
                await engine.nodes["north"].submit(engine.sign(release(n), by="north"))
            await engine.settle()
            return engine.nodes["north"], engine.disks[MemberId("north")], engine

    node, disk, engine = asyncio.run(story())
    machine = Machine(engine.genesis, MemoryStore(), MemoryLogStore(), map_bits=MAP_BITS)
    for height in range(1, disk.blocks.height + 1):
        machine.commit(machine.stage(Record.parse(disk.blocks.read(height)).block))
    assert machine.tip == node.machine.tip
