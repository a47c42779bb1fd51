"""A patient's client against members that lie, hide, lag, refuse or are away."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from commonward.apps.signing import messages
from commonward.apps.signing.client import Memory, NobodyAnswers
from commonward.apps.signing.messages import Carried, EntryProof, Fact, MarksShown, StateShown
from commonward.apps.signing.proven import Forked, NotProven, Seen, check_later
from commonward.apps.signing.wallet import KeptPatient
from commonward.ledger.checkpoint import Checkpoint, Note, parse_note
from commonward.ledger.ids import Digest, MemberId, Purpose, Tag
from commonward.ledger.members import Key
from commonward.ledger.transactions import Release
from commonward.records.trust import TrustFile, TrustRefused
from commonward.workflows.messages import Extent, OpeningAck, OpeningDeposit, Papers, Relayed
from commonward.workflows.patient import NotAccepted
from commonward.workflows.patient_log import read_log
from tests.apps.signing.signing_world import SigningWorld
from tests.consortium import observation, permit
from tests.ledgerkit import commitment, demo_genesis, sign_genesis

NORTH = MemberId("north")


class As:
    def __init__(self, name: str, handle: bytes) -> None:
        self.name = name
        self.handle = handle


def bent_state(change: Callable[[StateShown], StateShown]) -> Callable[[httpx.Request, bytes], bytes]:
    return lambda _, content: change(StateShown.parse(content)).to_bytes()


def bent_entry(change: Callable[[EntryProof], EntryProof]) -> Callable[[httpx.Request, bytes], bytes]:
    def bend(_: httpx.Request, content: bytes) -> bytes:
        shown = MarksShown.parse(content)
        return replace(shown, entries=tuple(map(change, shown.entries))).to_bytes()

    return bend


def recorded(into: list[bytes]) -> Callable[[httpx.Request, bytes], bytes]:
    def bend(_: httpx.Request, content: bytes) -> bytes:
        into.append(content)
        return content

    return bend


# --- carrying ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["away", "fails", "refuses", "pretends", "says it was never sent"])
async def test_no_custodian_can_block_a_withdrawal(tmp_path: Path, how: str) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        ada = world.client(wallet)
        await world.patiently(ada.learn_links())
        given = await world.patiently(ada.grant((permit("south"),)))

        def refusal(_: httpx.Request, content: bytes) -> "bytes | httpx.Response | Exception":
            digest = Carried.parse(content).relayed.digest
            if how == "fails":
                return httpx.Response(503, json={"detail": "not today"})
            if how == "refuses":
                return Carried(Relayed(113, digest, why="suspended, it says")).to_bytes()
            if how == "pretends":  # it names some accepted entry as if it were this one
                return Carried(Relayed(0, digest, 1), None).to_bytes()
            return Carried(Relayed(-1, digest, why="the ledger is away, it says")).to_bytes()

        north = world.bridges["north"]
        north.cut = how == "away"
        north.bend[messages.TRANSACTIONS] = refusal
        told = await world.patiently(ada.withdraw(given.consent, "no longer"))
        assert world.consortium.clinic.office.member.reading.consent(given.consent) is None
        assert how == "away" or told.acknowledged >= {"north"}


async def test_what_every_member_refuses_is_taken_out_of_the_wallet(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        ada = world.client(world.wallet("never enrolled"))
        with pytest.raises(NotAccepted) as refused:
            await world.patiently(ada.grant((permit("south"),)))
        assert refused.value.code > 0
        assert ada.wallet.given == () and ada.kept.pending == ()


async def test_when_nobody_carries_it_the_consent_stays_written_down_and_lands_later(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        ada = world.client(wallet)
        await world.patiently(ada.learn_links())
        for bridge in world.bridges.values():
            bridge.bend[messages.TRANSACTIONS] = lambda *_: httpx.ReadError("gone")
        with pytest.raises(NotAccepted) as away:
            await world.patiently(ada.grant((permit("south"),)))
        assert away.value.code == -1

        # It had landed all the same: only the answers were lost. The next session finds the wallet as it was.
        for bridge in world.bridges.values():
            bridge.bend.clear()
        again = world.client(wallet)
        assert again.is_pending(again.wallet.given[0])
        (told,) = await world.patiently(again.finish())
        assert told.acknowledged == {"north", "south"}
        assert world.client(wallet).kept.pending == ()


# --- entries ----------------------------------------------------------------------------------------


async def marked(world: SigningWorld) -> tuple[KeptPatient, Tag]:
    """A patient of two hospitals, and the tag of a release from one to the other."""
    wallet = await world.enrolled("ada", at=("north", "south"))
    ada = world.client(wallet)
    await world.patiently(ada.learn_links())
    await world.consortium.north.takes(observation("o1", "ada"))
    await world.consortium.north.ticks()
    await world.patiently(ada.grant((permit("south"),)))
    copy = await world.consortium.south.fetches(As("ada", ada.handle), "north")  # type: ignore[arg-type]
    await world.consortium.engine.pass_time(1000)
    return ada, copy.tag


async def test_an_altered_entry_is_caught_and_the_next_member_is_asked(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        _, tag = await marked(world)
        gate = world.gate()
        truth = await world.blocking(lambda: gate.mark(tag, NORTH))
        assert truth is not None and truth.member == "north"

        def other_time(entry: EntryProof) -> EntryProof:
            return replace(entry, time=entry.time - 60_000)

        def other_place(entry: EntryProof) -> EntryProof:
            return replace(entry, index=entry.index + 1)

        def other_bytes(entry: EntryProof) -> EntryProof:
            other = next(e for e in world.consortium.north.node.entries(0, 100) if e.index != entry.index)
            return replace(entry, raw=other.raw)

        def no_quorum(entry: EntryProof) -> EntryProof:
            note = parse_note(entry.note)
            return replace(entry, note=Note(note.checkpoint, note.lines[:2]).to_bytes())

        def other_note(entry: EntryProof) -> EntryProof:
            note = parse_note(entry.note)
            other = Checkpoint(note.checkpoint.origin, note.checkpoint.size, Digest(bytes(32)))
            return replace(entry, note=Note(other, note.lines).to_bytes())

        for lie in (other_time, other_place, other_bytes, no_quorum, other_note):
            world.bridges["north"].bend[messages.MARKS] = bent_entry(lie)
            gate = world.gate()
            found = await world.blocking(lambda gate=gate: gate.mark(tag, NORTH))  # type: ignore[misc]
            assert found == truth
            assert [member for member, _ in gate.doubts] == ["north"], lie


async def test_the_custodian_alone_cannot_hide_its_mark(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        _, tag = await marked(world)

        def hidden(_: httpx.Request, content: bytes) -> bytes:
            return replace(MarksShown.parse(content), entries=()).to_bytes()

        world.bridges["north"].bend[messages.MARKS] = hidden
        gate = world.gate()
        assert await world.blocking(lambda: gate.mark(tag, NORTH)) is not None


async def test_another_tags_mark_is_not_taken_for_this_one(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        _, tag = await marked(world)
        entry = world.consortium.north.node.mark(tag, NORTH)
        assert entry is not None
        gate = world.gate("north")
        proof = await world.blocking(lambda: gate._lines[MemberId("north")].ask(
            messages.MARKS, messages.TagsWanted((messages.TagWanted(tag, NORTH),)), MarksShown))  # fmt: skip
        world.bridges["north"].bend[messages.MARKS] = lambda *_: proof.to_bytes()
        with pytest.raises(NobodyAnswers, match="not what was asked for"):
            await world.blocking(lambda: gate.mark(Tag(b"x" * 32), NORTH))


async def test_anothers_mark_under_the_same_tag_is_neither_shown_nor_believed(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        _, tag = await marked(world)
        engine = world.consortium.engine
        a, b, d, e, f, g = (commitment("squat", n) for n in range(6))
        squat = Release(tag, a, b, d, e, f, g)
        await world.consortium.health.node.submit(engine.sign(squat, by="health"))
        await engine.pass_time(1000)
        gate = world.gate("north")
        truth = await world.blocking(lambda: gate.mark(tag, NORTH))
        assert truth is not None and truth.member == "north"
        wanted = messages.TagsWanted((messages.TagWanted(tag, MemberId("health")),))
        theirs = await world.blocking(lambda: gate._lines[NORTH].ask(messages.MARKS, wanted, MarksShown))
        assert len(theirs.entries) == 1
        world.bridges["north"].bend[messages.MARKS] = lambda *_: theirs.to_bytes()
        lied_to = world.gate("north")
        with pytest.raises(NobodyAnswers, match="health's mark"):
            await world.blocking(lambda: lied_to.mark(tag, NORTH))


async def test_an_old_checkpoint_cannot_hide_what_came_since(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        gate = world.gate("north")
        old: list[bytes] = []
        world.bridges["north"].bend[messages.CONTEXT] = recorded(old)
        await world.blocking(gate.members)
        kept: list[Memory] = []
        await marked(world)
        world.bridges["north"].bend.clear()
        newer = world.gate("north", memory=Memory(gate.seen, b""), remember=kept.append)
        await world.blocking(newer.members)
        assert kept[-1].seen.size > gate.seen.size

        world.bridges["north"].bend[messages.CONTEXT] = lambda *_: old[0]
        later = world.gate("north", memory=kept[-1])
        with pytest.raises(NobodyAnswers, match="expected a checkpoint of at least size"):
            await world.blocking(later.members)
        # One member that lags does no harm: the next is asked.
        again = world.gate("north", "south", memory=kept[-1])
        assert len(await world.blocking(again.members)) == 5
        assert again.doubts == []


async def test_an_absence_as_of_an_old_checkpoint_does_not_count(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        gate = world.gate("north")
        await world.blocking(gate.members)
        old = await world.blocking(lambda: gate._lines[MemberId("north")].ask(
            messages.MARKS, messages.TagsWanted((messages.TagWanted(Tag(b"x" * 32), NORTH),)), MarksShown))  # fmt: skip
        await marked(world)
        world.bridges["north"].bend[messages.MARKS] = lambda *_: old.to_bytes()
        late = world.gate("north")
        with pytest.raises(NobodyAnswers, match="was seen before"):
            await world.blocking(lambda: late.mark(Tag(b"y" * 32), NORTH))


def test_two_roots_of_one_size_stop_everything() -> None:
    with pytest.raises(Forked):
        check_later(Checkpoint("o", 7, Digest(b"a" * 32)), Seen(7, Digest(b"b" * 32)), ())


def test_a_log_that_does_not_continue_the_one_seen_is_not_believed() -> None:
    with pytest.raises(NotProven, match="continue"):
        check_later(Checkpoint("o", 9, Digest(b"a" * 32)), Seen(7, Digest(b"b" * 32)), (bytes(32),))


# --- state ------------------------------------------------------------------------------------------


async def test_a_member_cannot_put_its_own_sealing_key_in_anothers_place(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:

        def swapped(shown: StateShown) -> StateShown:
            facts = []
            for fact in shown.facts:
                if fact.key.startswith(b"key/") and fact.value is not None:
                    key = Key.parse(fact.value)
                    if key.member == "south" and len(key.public) == 32:
                        mine = Key(key.member, key.purpose, key.algorithm, b"\x09" * 32, key.starts, key.ends)
                        fact = Fact(fact.key, fact.proof, mine.to_bytes())
                facts.append(fact)
            return replace(shown, facts=tuple(facts))

        world.bridges["north"].bend[messages.CONTEXT] = bent_state(swapped)
        gate = world.gate()
        members = await world.blocking(gate.members)
        assert {member: key for member, _, key in members}[MemberId("south")] != b"\x09" * 32
        assert [member for member, _ in gate.doubts] == ["north"]


async def test_a_member_cannot_leave_another_out(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:

        def without(shown: StateShown) -> StateShown:
            return replace(shown, facts=tuple(fact for fact in shown.facts if fact.key != b"member/south"))

        world.bridges["north"].bend[messages.CONTEXT] = bent_state(without)
        gate = world.gate()
        assert "south" in {member for member, _, _ in await world.blocking(gate.members)}
        assert "expected a proof" in gate.doubts[0][1]


async def test_a_withdrawn_consent_is_not_shown_as_open_from_an_older_state(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        ada = world.client(wallet)
        given = await world.patiently(ada.grant((permit("south"),)))
        old: list[bytes] = []
        world.bridges["north"].bend[messages.CONSENTS] = recorded(old)
        gate = world.gate("north")
        assert (await world.blocking(lambda: gate.consents([given.consent])))[given.consent] is not None
        await world.patiently(ada.withdraw(given.consent))
        await world.blocking(gate.refresh)
        world.bridges["north"].bend[messages.CONSENTS] = lambda *_: old[0]
        with pytest.raises(NobodyAnswers, match="expected the state at size"):
            await world.blocking(lambda: gate.consents([given.consent]))


async def test_a_trust_file_of_another_ledger_is_refused(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        other = TrustFile(sign_genesis(demo_genesis(created=1_780_000_000_000)).to_bytes()).to_bytes()  # type: ignore[arg-type]
        with pytest.raises(TrustRefused, match="of ledger"):
            world.gate(memory=Memory(Seen(), other))


async def test_a_ledger_that_nobody_cosigned_lately_is_said_to_be_old(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        await world.consortium.ledger_away(10 * 60_000)
        gate = world.gate()
        assert len(await world.blocking(gate.members)) == 5
        assert not gate.is_fresh


# --- openings and papers ----------------------------------------------------------------------------


async def test_an_acknowledgement_counts_by_the_addressees_signature_alone(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        ada = world.client(wallet)
        await world.patiently(ada.learn_links())
        world.bridges["south"].cut = True

        def forged(_: httpx.Request, content: bytes) -> bytes:
            ack = OpeningAck.parse(content)
            key = world.consortium.south.office.member.ports.keys.public(Purpose.OPERATE)[2]
            return replace(ack, key=key, signature=b"\x01" * 64, extent=Extent.ALL).to_bytes()

        for name in ("north", "clinic", "shield", "health"):
            world.bridges[name].bend[messages.OPENINGS] = forged
        told = await world.patiently(ada.grant((permit("south"),)))
        assert told.waiting >= {"south"} and not told.acknowledged
        for bridge in world.bridges.values():
            bridge.bend.clear()
        told = await world.patiently(ada.deliver(told.consent))
        assert told.acknowledged == {"north", "south"}


async def test_an_opening_deposited_for_the_wrong_entry_is_not_acknowledged(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        ada = world.client(wallet)
        await world.patiently(ada.learn_links())
        deposits: list[OpeningDeposit] = []
        inner = ada.gate.deposit

        async def spied(deposit: OpeningDeposit) -> OpeningAck:
            deposits.append(deposit)
            return await inner(deposit)

        ada.gate.deposit = spied  # type: ignore[method-assign]
        await world.patiently(ada.grant((permit("south"),)))
        await world.patiently(ada.grant((permit("clinic"),)))
        first, last = deposits[0], deposits[-1]
        crossed = replace(first, entry=last.entry)
        gate = world.gate()
        ack = await world.patiently(gate.deposit(crossed))
        assert ack.signature == b""


async def test_a_mailbox_that_repeats_itself_does_not_hold_the_patient_for_ever(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada", at=("north", "south"))
        page: list[bytes] = []

        def again(_: httpx.Request, content: bytes) -> bytes:
            if Papers.parse(content).papers:
                page.append(content)
            return page[0] if page else content

        world.bridges["north"].bend[messages.PAPERS] = again
        ada = world.client(wallet)
        assert "north" in await world.patiently(ada.learn_links())


async def test_the_log_names_a_custodian_that_is_away(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        ada, _ = await marked(world)
        world.bridges["north"].cut = True
        world.consortium.peers.cut(MemberId("north"))
        log = await world.patiently(read_log(ada))
        assert "north" in log.unreachable and not log.whole
