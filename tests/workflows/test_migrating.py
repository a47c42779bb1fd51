"""A ledger moves from a sequencer to consensus: its history goes on, and nobody can take it elsewhere."""

from dataclasses import replace

import pytest

from commonward.apps.verify import CONVINCES, DOES_NOT, verify_file
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import BlockTime, MemberId, ProposalId
from commonward.ledger.members import Propose, SetWeight
from commonward.ledger.refusals import ForeignLedger
from commonward.records.succession import Before
from commonward.records.trust import TrustFile, TrustRefused, load_trust
from commonward.workflows.requests import RequestRefused
from tests.consortium import Consortium, Person, observation, permit
from tests.forged_successor import with_new_cosigning_keys
from tests.ledgerkit import commitment, sign_genesis
from tests.migration_world import MovedWorld, move, take_along


async def practised(c: Consortium) -> Person:
    """Records, a consent, a release, a broken glass that nobody has reviewed."""
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    await c.south.fetches(ada, "north")
    await c.engine.pass_time(31_000)
    return ada


def proposed(c: Consortium) -> Propose:
    close = BlockTime(c.engine.clock.now() + 9_000_000)
    return Propose(ProposalId(bytes(16)), SetWeight(MemberId("shield"), 9), close, commitment("grounds"))


def old_trust(c: Consortium) -> bytes:
    return TrustFile(sign_genesis(c.engine.genesis).to_bytes()).to_bytes()


async def test_every_member_computes_the_same_first_root_and_the_log_goes_on() -> None:
    async with Consortium() as c:
        await practised(c)
        old = c.engine.nodes["north"].machine
        async with await move(c.engine) as moved:
            assert len(moved.roots()) == 1
            node = moved.nodes["north"]
            assert node.machine.tip.size == old.tip.size + 1
            assert node.machine.log.root(old.tip.size) == old.tip.root
            assert node.info()[0] == 0, "CometBFT has made no block yet"
            assert node.height == old.applied.height + 1
            before = node.machine.tip
            await moved.pass_time(31_000)
            assert len(moved.roots()) == 1
            assert node.info()[0] == node.height == before.height + 1
            proven = await node.cosigned(before.size)
            assert len(proven.members) >= 4


async def test_a_node_that_restarts_after_the_move_is_where_it_was() -> None:
    async with Consortium() as c:
        await practised(c)
        async with await move(c.engine) as moved:
            for _ in range(2):
                before = moved.nodes["south"].machine.tip
                moved.stop("south")
                assert moved.start("south").machine.tip == before
                await moved.pass_time(1000)
                assert len(moved.roots()) == 1


async def test_a_consent_from_before_is_used_and_withdrawn_after_the_move() -> None:
    async with Consortium() as c:
        ada = await practised(c)
        given = ada.client.wallet.given[0].opening.consent
        async with await move(c.engine) as moved:
            await take_along(c, moved)
            ada.through("clinic")
            copy = await c.south.fetches(ada, "north")
            shown = await c.south.shows(ada, copy.tag)
            assert shown
            await ada.client.withdraw(given, "no longer")
            await moved.settle()
            assert not any(each.opening.consent == given and each.withdrawn is None for each in ada.client.wallet.given)
            with pytest.raises(RequestRefused):
                await c.south.fetches(ada, "north")
            log = await ada.log()
            assert log.whole, log.troubles
            assert len(log.marks) == 2
            assert len(moved.roots()) == 1


async def test_what_was_signed_for_the_old_ledger_is_refused_on_the_new_one() -> None:
    async with Consortium() as c:
        await practised(c)
        raw = c.engine.sign(proposed(c), by="north")
        landed = c.engine.nodes["north"].entries(1, 1)[0]
        async with await move(c.engine) as moved:
            with pytest.raises(ForeignLedger):
                await moved.nodes["north"].submit(raw)
            again = await moved.nodes["north"].submit(landed.raw)
            assert again.index == landed.index, "what landed before still says so"


async def test_open_proposals_end_with_the_order_they_were_made_under() -> None:
    async with Consortium() as c:
        await practised(c)
        await c.engine.nodes["north"].submit(c.engine.sign(proposed(c), by="north"))
        await c.engine.settle()
        assert c.engine.nodes["north"].machine.view().governance.open()
        async with await move(c.engine) as moved:
            assert not moved.nodes["north"].machine.view().governance.open()
            await moved.pass_time(10_000_000)  # its time to close falls due, and finds nothing
            assert len(moved.roots()) == 1


async def test_evidence_from_before_verifies_with_either_trust_file() -> None:
    async with Consortium() as c:
        ada = await practised(c)
        (_, row), _ = c.north.vault.current_records([c.north.local("ada")])
        of_record = c.north.office.evidence.of_record(row.id)
        of_release = c.north.office.evidence.of_release(ada.handle, 1)
        trusted = old_trust(c)
        async with await move(c.engine) as moved:
            for file in (of_record, of_release):
                assert verify_file(file, trusted).exit_code == CONVINCES
                both = verify_file(file, moved.trust())
                assert both.exit_code == CONVINCES
                assert (both.genesis, both.earlier) == (
                    moved.genesis.ledger_id.hex(), (load_trust(trusted).ledger_id.hex(),),
                ), "the reader is shown both"  # fmt: skip


async def test_evidence_made_after_the_move_for_what_was_before_verifies_with_the_new_trust_file() -> None:
    async with Consortium() as c:
        ada = await practised(c)
        (_, row), _ = c.north.vault.current_records([c.north.local("ada")])
        consent = ada.client.wallet.given[0].opening.consent
        trusted = old_trust(c)
        async with await move(c.engine) as moved:
            await take_along(c, moved)
            files = [
                c.north.office.evidence.of_record(row.id),
                c.north.office.evidence.of_release(ada.handle, 1),
                await c.north.office.evidence.of_consent(ada.handle, consent),
            ]
            for file in files:
                report = verify_file(file, moved.trust())
                assert report.exit_code == CONVINCES, report
                assert verify_file(file, trusted).exit_code == DOES_NOT, "the old members did not cosign under its name"


async def test_evidence_of_a_release_after_the_move_verifies() -> None:
    async with Consortium() as c:
        ada = await practised(c)
        async with await move(c.engine) as moved:
            await take_along(c, moved)
            ada.through("clinic")
            await c.south.fetches(ada, "north")
            await moved.pass_time(31_000)
            file = c.north.office.evidence.of_release(ada.handle, 2)
            report = verify_file(file, moved.trust())
            assert report.exit_code == CONVINCES, report


async def test_every_member_gives_the_same_trust_file_and_it_says_both_ledgers() -> None:
    async with Consortium() as c:
        await practised(c)
        before = load_trust(old_trust(c))
        async with await move(c.engine) as moved:
            given = [load_trust(moved.trust(name)) for name in moved.nodes]
            assert len({each.fingerprint for each in given}) == 1
            assert given[0].follows(before.ledger_id)
            assert [each.ledger_id for each in given[0].ledgers()] == [moved.genesis.ledger_id, before.ledger_id]
            assert not before.follows(moved.genesis.ledger_id)


def tampered(moved: MovedWorld, **changes: object) -> bytes:
    return TrustFile(replace(moved.file, **changes).to_bytes()).to_bytes()  # type: ignore[arg-type]


async def test_a_successor_that_a_third_of_the_old_weight_did_not_sign_is_not_followed() -> None:
    """Founders who name the old ledger, but have its cosigning keys for too little of its weight."""
    async with Consortium() as c:
        await practised(c)
        async with await move(c.engine) as moved:
            for count, followed in ((1, True), (2, False), (5, False)):
                file: SignedGenesis = with_new_cosigning_keys(moved.file, count)
                data = TrustFile(file.to_bytes()).to_bytes()
                if followed:
                    assert load_trust(data).before is not None
                else:
                    with pytest.raises(TrustRefused, match="more than two thirds"):
                        load_trust(data)


async def test_a_successor_must_bring_the_last_checkpoint_that_the_old_members_cosigned() -> None:
    async with Consortium() as c:
        await practised(c)
        async with await move(c.engine) as moved:
            shown = Before.parse(moved.file.before)
            weak = replace(shown, note=b"\n".join(shown.note.split(b"\n")[:6]) + b"\n")
            with pytest.raises(TrustRefused, match="the ledger before"):
                load_trust(tampered(moved, before=weak.to_bytes()))
            with pytest.raises(TrustRefused, match="the ledger before"):
                load_trust(tampered(moved, before=replace(shown, trust=moved.trust()).to_bytes()))
