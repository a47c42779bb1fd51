"""Consensus: an honest proposal is never refused, and what a false proposer or carrier may try is."""

import asyncio
import itertools
import random
from collections.abc import Sequence

import pytest

from commonward.ledger.ids import BlockTime, Height, MemberId, Purpose, Tag
from commonward.ledger.members.validators import read_validators, validator_address
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import BadSignature, Replayed
from commonward.ledger.rules import Header
from commonward.ledger.transactions import InvalidBlock, Release, build_block, build_bundle, parse_transaction
from commonward.workflows.ports import LedgerAway
from tests.agreeing_world import ROOM, AgreeingWorld
from tests.ledgerkit import Kit, SoftKey, commitment, demo_genesis, member_soft_key

_numbers = itertools.count()
MEMBERS = ("clinic", "health", "north", "shield", "south")


def a_release(number: int) -> Release:
    request, decision, consent, running, previous, sealed = (commitment(number, i) for i in range(6))
    return Release(Tag(commitment("tag", number)), request, decision, consent, running, previous, sealed)


def releases(world: AgreeingWorld, count: int, by: str = "north") -> list[bytes]:
    """Signed now, so that they name a recent root."""
    node = next(iter(world.nodes.values()))
    size, root = node.recent()
    expiry = max(world.clock.now(), node.tip_time()) + 60_000
    return [world.kit.sign(a_release(next(_numbers)), by=by, recent=(size, root), expiry=expiry) for _ in range(count)]


async def test_all_nodes_execute_the_same_blocks_and_cosign_them() -> None:
    async with AgreeingWorld() as world:
        north = world.nodes["north"]
        sent = [north.submit(raw) for raw in releases(world, 3)]
        tasks = [asyncio.create_task(each) for each in sent]
        async with asyncio.timeout(60):
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0.01)
                await world.round()
        landed = [await task for task in tasks]
        assert [each.code for each in landed] == [0, 0, 0]
        assert len(world.roots()) == 1
        proven = await world.nodes["south"].cosigned(landed[-1].index + 2)
        assert len(proven.members) >= 4


async def test_an_idle_block_leaves_the_app_hash_unchanged() -> None:
    async with AgreeingWorld() as world:
        before = world.nodes["north"].info()
        after = await world.round()
        assert after.app_hash == before[1]
        assert world.nodes["north"].info() == (before[0] + 1, before[1])


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_waits_an_honest_proposal_passes_everywhere(seed: int) -> None:
    """Good, doubled, broken, expired, foreign and oversized bundles wait; `round` asserts that all accept."""
    chance = random.Random(seed)
    few = {Parameter.QUOTA_TRANSACTIONS: 6, Parameter.BLOCK_SIGNATURES: 16, Parameter.BLOCK_BYTES: 131_072}
    async with AgreeingWorld(demo_genesis(few, consensus=True)) as world:
        made: list[bytes] = []
        for _ in range(6):
            for _ in range(chance.randrange(6)):
                carrier = chance.choice(MEMBERS)
                raws = releases(world, chance.randrange(1, 5), chance.choice(MEMBERS))
                if made and chance.random() < 0.4:
                    raws.append(chance.choice(made))
                if chance.random() < 0.2:
                    raws.append(b"\x83 not a transaction")
                if chance.random() < 0.2:
                    raws[0] = raws[0][:-1] + bytes((raws[0][-1] ^ 1,))
                made += raws
                bundle = world.bundle(raws, carrier)
                if chance.random() < 0.1:
                    bundle = bundle[:-1] + bytes((bundle[-1] ^ 1,))
                # Past every check, straight into each waiting room: a false engine could do that.
                for waiting in world.waiting.values():
                    waiting[bundle] = None
            if chance.random() < 0.2:
                world.clock.move(70_000)
            await world.round()
        assert len(world.roots()) == 1


async def refused(world: AgreeingWorld, bundles: Sequence[bytes], header: Header | None = None) -> str:
    header = header or world.header()
    answers = {await node.judge(header, bundles) for node in world.nodes.values()}
    assert len(answers) == 1, f"the nodes judge differently: {answers}"
    return answers.pop()


async def test_a_proposer_that_repeats_anothers_old_bundle_is_refused() -> None:
    async with AgreeingWorld() as world:
        bundle = world.bundle(releases(world, 2), "south")
        await world.hand("south", bundle)
        await world.round()
        assert "nothing new" in await refused(world, [bundle])


async def test_a_proposer_that_holds_a_bundle_twice_is_refused() -> None:
    async with AgreeingWorld() as world:
        bundle = world.bundle(releases(world, 2), "south")
        assert "nothing new" in await refused(world, [bundle, bundle])


async def test_a_proposer_that_fills_a_block_over_its_quota_is_refused() -> None:
    async with AgreeingWorld(demo_genesis({Parameter.QUOTA_TRANSACTIONS: 3}, consensus=True)) as world:
        bundles = [world.bundle(releases(world, 2), "north") for _ in range(2)]
        assert "may bring 3" in await refused(world, bundles)


async def test_a_proposer_cannot_carry_in_anothers_name() -> None:
    async with AgreeingWorld() as world:
        key = member_soft_key("south", Purpose.CARRY)
        stranger = SoftKey("stranger")
        forged = build_bundle(world.genesis.ledger_id, key.id, releases(world, 1), stranger.sign)
        assert "not signed by its carry key" in await refused(world, [forged])
        foreign = build_bundle(world.genesis.ledger_id, stranger.id, releases(world, 1), stranger.sign)
        assert "live carry key" in await refused(world, [foreign])


async def test_a_proposer_with_a_false_height_or_time_is_refused() -> None:
    async with AgreeingWorld() as world:
        good = world.header()
        assert await refused(world, [], Header(Height(good.height + 1), good.time))
        assert await refused(world, [], Header(good.height, BlockTime(world.nodes["north"].tip_time())))
        assert not await refused(world, [], good)


async def test_a_bad_proof_swapped_into_a_known_transaction_neither_lands_nor_burns_it() -> None:
    """A proposer puts north's body under a broken proof into its own bundle, in front of the true one."""
    async with AgreeingWorld() as world:
        (raw,) = releases(world, 1)
        broken = raw[:-1] + bytes((raw[-1] ^ 1,))
        bundles = [world.bundle([broken], "shield"), world.bundle([raw], "north")]
        header = world.header()
        # The digest is the same, so the second brings nothing that the first did not announce: it waits a block.
        assert "nothing new" in await refused(world, bundles, header)
        agreed = await world.decide(header, bundles[:1])
        assert agreed.outcomes == ((BadSignature.code,),)
        assert (await world.hand("north", bundles[1])).good
        assert (await world.round()).outcomes == ((0,),)


async def test_a_transaction_that_two_carry_lands_once() -> None:
    async with AgreeingWorld() as world:
        (raw, other) = releases(world, 2)
        agreed = await world.decide(world.header(), [world.bundle([raw], "north"), world.bundle([raw, other], "south")])
        assert agreed.outcomes == ((0,), (Replayed.code, 0))


async def test_one_who_floods_does_not_keep_the_others_out() -> None:
    few = {Parameter.BLOCK_SIGNATURES: 30, Parameter.QUOTA_TRANSACTIONS: 40}
    async with AgreeingWorld(demo_genesis(few, consensus=True)) as world:
        for _ in range(12):
            await world.hand("south", world.bundle(releases(world, 5, "south"), "south"))
        mine = world.bundle(releases(world, 1), "north")
        await world.hand("north", mine)
        header = world.header()
        chosen = world.nodes["south"].propose(header, list(world.waiting["south"]), ROOM)
        assert mine in chosen


async def test_a_carrier_may_have_only_so_much_waiting() -> None:
    few = {Parameter.QUOTA_BYTES: 65_536}
    async with AgreeingWorld(demo_genesis(few, consensus=True)) as world:
        why = ""
        for _ in range(12):
            verdict = await world.hand("south", world.bundle(releases(world, 100, "south"), "south"))
            why = why or verdict.why
        assert "south has" in why and "wait for the next" in why
        assert (await world.hand("north", world.bundle(releases(world, 1), "north"))).good


async def test_signing_twice_zeroes_the_weight_and_takes_the_place() -> None:
    async with AgreeingWorld() as world:
        public = member_soft_key("south", Purpose.VALIDATE).public
        agreed = await world.round(misbehaved=[validator_address(public)])
        assert agreed.validators == ((public, 0),)
        for node in world.nodes.values():
            assert node.machine.view().roll.must("south").weight == 0
            assert MemberId("south") not in {each.member for each in node.validators()}
        assert (await world.round(misbehaved=[validator_address(public)])).validators == ()


async def test_a_validator_unknown_to_the_roll_is_let_be() -> None:
    async with AgreeingWorld() as world:
        before = world.nodes["north"].validators()
        await world.round(misbehaved=[bytes(20)])
        assert world.nodes["north"].validators() == before


async def test_on_solo_nobody_can_be_accused_of_misbehaving_as_a_validator() -> None:
    kit = Kit()
    header = Header(Height(1), kit.next_time())
    with pytest.raises(InvalidBlock, match="misbehaving"):
        kit.machine.stage(build_block(header, [], [bytes(20)]))
    assert read_validators(kit.machine.view()) == ()


async def test_a_node_restarted_goes_on_from_its_block_log() -> None:
    async with AgreeingWorld() as world:
        for _ in range(3):
            await world.hand("north", world.bundle(releases(world, 2), "north"))
            await world.round()
        at = world.nodes["south"].info()
        world.stop("south")
        world.disks["south"].store = type(world.disks["south"].store)()  # the state is lost; the block log is not
        assert world.start("south").info() == at
        await world.round()
        assert len(world.roots()) == 1


async def test_executing_again_before_the_commit_gives_the_same() -> None:
    """The engine was killed between FinalizeBlock and Commit, and asks again."""
    async with AgreeingWorld() as world:
        bundle = world.bundle(releases(world, 2), "north")
        header = world.header()
        first = await world.nodes["north"].execute(header, [bundle])
        assert await world.nodes["north"].execute(header, [bundle]) == first
        assert world.nodes["north"].info()[0] == 0
        await world.decide(header, [bundle])
        assert len(world.roots()) == 1


async def test_only_registered_nodes_are_let_in() -> None:
    async with AgreeingWorld() as world:
        ours = validator_address(member_soft_key("south", Purpose.NODE).public).hex()
        stranger = validator_address(SoftKey("stranger").public).hex()
        assert world.nodes["north"].admits(ours)
        assert not world.nodes["north"].admits(stranger)
        assert not world.nodes["north"].admits("")


async def test_a_submission_of_a_halted_network_is_away_and_may_land_later() -> None:
    async with AgreeingWorld() as world:
        (raw,) = releases(world, 1)
        north = world.nodes["north"]
        north._submit_ms = 50
        with pytest.raises(LedgerAway, match="may land later"):
            await north.submit(raw)
        await world.round()
        found = [world.nodes[name].found for name in MEMBERS]
        digest = parse_transaction(raw).digest
        assert all((stands := each(digest)) is not None and stands.code == 0 for each in found)
