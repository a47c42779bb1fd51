"""Anchoring: the same root after any kill, no record in two batches or none, a root also over nothing."""

from collections.abc import Iterable

import pytest

from commonward.ledger.ids import BlockTime
from commonward.ledger.transactions import AnchorBatch, parse_transaction
from commonward.records.fingerprint import BatchTree, Fingerprint, build_batch
from commonward.workflows import anchoring
from commonward.workflows.memory import Killed
from commonward.workflows.ports import LedgerAway
from commonward.workflows.submitting import LedgerRefused
from tests.consortium import Consortium, observation

STEPS = ["anchor.before-plan", "anchor.planned", "anchor.signed", "anchor.landed", "anchor.noted"]


def anchors(c: Consortium) -> list[AnchorBatch]:
    entries = c.north.node.entries(0, 1000, [AnchorBatch.KIND])
    payloads = [
        parse_transaction(entry.raw).payload for entry in entries if entry.code == 0 and entry.member == "north"
    ]
    return [payload for payload in payloads if isinstance(payload, AnchorBatch)]


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_any_step_anchors_every_record_once(step: str) -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
        await c.engine.pass_time(1000)
        c.north.dies_at(step)
        with pytest.raises(Killed):
            await c.north.office.member.anchoring.tick()
        planned = c.north.vault.last_batch()
        c.north.wakes()
        await c.north.ticks()
        await c.north.takes(observation("o3", "ada"))
        await c.north.ticks()
        assert not c.north.vault.unanchored_batches()
        roots = [batch.root for batch in anchors(c)]
        assert len(roots) == len(set(roots))
        if planned is not None:
            assert planned.root in roots, "what was planned before the kill is what was anchored"
        holdings = c.north.office.holdings
        for number, row in c.north.vault.current_records([c.north.local("ada")]):
            held = holdings.open(number, row)
            assert held is not None and holdings.anchor(held) is not None and holdings.is_sound(held)


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_submit_that_times_out_may_still_have_landed(after_effect: bool) -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"))
        c.north.node.cue.fail_next("submit", after_effect=after_effect)
        await c.engine.pass_time(1000)
        with pytest.raises(LedgerAway):
            await c.north.office.member.anchoring.tick()
        await c.north.ticks()
        assert not c.north.vault.unanchored_batches()
        assert len(anchors(c)) == 2


async def test_an_empty_tick_is_anchored_too_and_looks_like_any_other() -> None:
    async with Consortium() as c:
        await c.north.ticks()
        await c.north.takes(observation("o1", "ada"))
        await c.north.ticks()
        empty, full = anchors(c)
        assert empty.root != full.root and (empty.announce, full.announce) == (None, None)
        assert await c.north.office.member.anchoring.tick() == [], "once a tick"


async def test_a_backlog_is_announced_and_goes_in_extra_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from commonward.workflows import anchoring

    monkeypatch.setattr(anchoring, "MAX_LEAVES", 4)
    async with Consortium() as c:
        await c.north.takes(*(observation(f"o{n}", "ada") for n in range(10)))
        await c.north.ticks()
        assert [(batch.announce, batch.extra) for batch in anchors(c)] == [(2, None), (None, 1), (None, 2)]
        for number, row in c.north.vault.current_records([c.north.local("ada")]):
            held = c.north.office.holdings.open(number, row)
            assert held is not None and c.north.office.holdings.is_sound(held)
            assert c.north.office.holdings.anchor(held) is not None


def counted(c: Consortium, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the trees that are built from now on."""
    built: list[int] = []

    def build(prints: Iterable[Fingerprint], seed: bytes) -> BatchTree:
        found = list(prints)
        built.append(len(found))
        return build_batch(found, seed)

    monkeypatch.setattr(anchoring, "build_batch", build)
    return built


async def test_the_proof_of_an_old_record_is_read_and_its_tree_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
        await c.north.ticks()
        c.north.wakes()
        built = counted(c, monkeypatch)
        for number, row in c.north.vault.current_records([c.north.local("ada")]):
            assert c.north.office.member.anchoring.prove(number, row.fingerprint) is not None
        assert built == []
        c.north.wakes()
        c.north.trees.lose()
        for number, row in c.north.vault.current_records([c.north.local("ada")]):
            assert c.north.office.member.anchoring.prove(number, row.fingerprint) is not None
        assert built == [2], "built once, and kept again"


async def test_without_room_for_its_tree_a_batch_is_anchored_all_the_same() -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"))
        c.north.trees.cue.fail_next("keep")
        await c.north.ticks()
        assert not c.north.vault.unanchored_batches()


async def test_one_altered_fingerprint_takes_no_proof_from_the_others_of_its_batch() -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
        await c.north.ticks()
        c.north.wakes()
        (number, row), (other, beside) = c.north.vault.current_records([c.north.local("ada")])
        c.north.vault.alter_fingerprint(row.id)
        prove = c.north.office.member.anchoring.prove
        altered = c.north.vault.records([row.id])[row.id][1]
        assert prove(number, altered.fingerprint) is not None, "a proof, which then leads to another root"
        holdings = c.north.office.holdings
        held = holdings.open(other, beside)
        assert held is not None and holdings.is_sound(held)
        wrong = holdings.open(number, altered)
        assert wrong is not None and not holdings.is_sound(wrong)


async def test_an_anchor_refused_as_too_early_lands_once_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member's clock may be ahead of the ledger's, whose blocks may be dated some seconds back."""
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"))
        ledger = c.north.office.member.ports.ledger
        ahead = BlockTime(ledger.next_time() + 5_000)
        with monkeypatch.context() as skewed:
            skewed.setattr(type(ledger), "next_time", lambda _: ahead)
            for _ in range(2):
                with pytest.raises(LedgerRefused, match="TooEarly"):
                    await c.north.office.member.anchoring.tick()
        await c.engine.pass_time(6_000)
        await c.north.ticks()
        assert not c.north.vault.unanchored_batches()
