"""Rules change at a height that the members voted for; what stands keeps the rules of its time.

The second version is made here alone: it refuses broken glass, reads a Review with one more field, and counts what it
sees of BreakGlass. No such version is planned.
"""

from typing import ClassVar

import pytest

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Height, Tag
from commonward.ledger.members import SetProtocol
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.refusals import Malformed, UnknownKind
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.rulebook import VERSION_1, Rulebook
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import BreakGlass, Payload, Review
from commonward.ledger.transition import Machine, UnknownProtocol
from commonward.ledger.versions import VERSIONS, lacking, scheduled
from commonward.ledger.wire import DIGEST, octets, struct, wire
from tests.ledgerkit import Kit, commitment


@struct
class ReviewWithLesson(Payload):
    """A Review as a second version might have it: one more field, under the same number."""

    KIND: ClassVar[int] = Review.KIND
    tag: Tag = wire(1, octets(32))
    finding: Digest = wire(2, DIGEST)
    reviewer: Digest = wire(3, DIGEST)
    lesson: Digest = wire(4, DIGEST)


VERSION_2 = VERSION_1.but(2, kinds={Review.KIND: ReviewWithLesson}, without=(BreakGlass.KIND,))
BOTH = {1: VERSION_1, 2: VERSION_2}


def with_versions(kit: Kit, versions: dict[int, Rulebook]) -> None:
    """As after a restart with another program over the same stores."""
    kit.machine = Machine(kit.genesis, kit.store, kit.log_store, map_bits=kit.map_bits, versions=versions)


def glass(kit: Kit, n: int) -> BreakGlass:
    words = (commitment(n, "request"), commitment(n, "reason"), commitment(n, "staff"))
    return BreakGlass(Tag(commitment("tag", n)), kit.next_time() + 60_000, *words)  # type: ignore[arg-type]


def batch(kit: Kit) -> AnchorBatch:
    kit.later(2000)
    return AnchorBatch(kit.tick(), commitment("root"))


def schedule(kit: Kit, ahead: int = 12) -> int:
    height = kit.machine.applied.height + ahead
    kit.decide(SetProtocol(2, Height(height)))
    return height


def idle_until(kit: Kit, height: int) -> None:
    while kit.machine.applied.height < height - 1:
        kit.block()


class Recorded(Kit):
    """Keeps every block, and the roots after it."""

    def block(self, raws=(), carrier="north"):
        block = self.block_bytes(raws, carrier)
        staged = self.machine.stage(block)
        self.machine.commit(staged)
        self.told = [*getattr(self, "told", ()), (block, self.machine.tip)]
        return staged


def test_a_ledger_that_changed_its_rules_replays_from_block_1_to_the_same_roots():
    kit = Recorded()
    with_versions(kit, BOTH)
    kit.accept(glass(kit, 1), by="north")
    height = schedule(kit)
    kit.accept(glass(kit, 2), by="north")
    idle_until(kit, height)
    refused, why = kit.submit(kit.sign(glass(kit, 3), by="north"))
    assert isinstance(why, UnknownKind) and refused.code == UnknownKind.code, "the new rules hold from this height on"
    kit.accept(batch(kit), by="north")
    for versions in (BOTH, {**BOTH, 3: VERSION_2.but(3)}):
        replay = Machine(kit.genesis, MemoryStore(), MemoryLogStore(), map_bits=4, versions=versions)
        for block, tip in kit.told:
            replay.commit(replay.stage(block))
            assert replay.tip == tip


def test_old_blocks_are_judged_by_the_rules_of_their_time():
    """A program that only knew the new rules would refuse what stood, and come to other roots."""
    kit = Recorded()
    kit.accept(glass(kit, 1), by="north")
    only_new = Machine(
        kit.genesis, MemoryStore(), MemoryLogStore(), map_bits=4, versions={1: VERSION_2._replace(version=1)}
    )
    block, tip = kit.told[0]
    only_new.commit(only_new.stage(block))
    assert only_new.tip.root != tip.root


def test_a_node_without_the_version_stops_before_it_loses_nothing_and_goes_on_once_upgraded():
    kit, upgraded = Recorded(), Kit()
    height = schedule(kit)
    idle_until(kit, height)
    before = kit.machine.tip, kit.machine.applied
    with_versions(upgraded, BOTH)
    for block, _ in kit.told:
        upgraded.machine.commit(upgraded.machine.stage(block))
    at_height = upgraded.block_bytes([upgraded.sign(batch(upgraded), by="south")])
    for _ in range(2):
        with pytest.raises(UnknownProtocol, match=f"from height {height} .* version 2; this program knows 1"):
            kit.machine.stage(at_height)
        assert (kit.machine.tip, kit.machine.applied) == before
    kit.reopen()  # with the old program: the same again
    with pytest.raises(UnknownProtocol):
        kit.machine.stage(at_height)
    assert kit.machine.check(kit.sign(batch(kit), by="south")), "a node that waits still answers"
    with_versions(kit, BOTH)
    kit.machine.commit(kit.machine.stage(at_height))
    upgraded.machine.commit(upgraded.machine.stage(at_height))
    assert kit.machine.tip == upgraded.machine.tip and kit.machine.applied.height == height


def test_a_kind_that_gained_a_field_is_malformed_before_its_height_and_read_after_it():
    kit = Kit()
    with_versions(kit, BOTH)
    kit.accept(glass(kit, 1), by="north")
    more = ReviewWithLesson(Tag(commitment("tag", 1)), commitment("f"), commitment("r"), commitment("lesson"))
    early = kit.sign(more, by="north")
    outcome, refusal = kit.submit(early)
    assert isinstance(refusal, Malformed) and outcome.kind == 0, "as a program of that time would have it"
    idle_until(kit, schedule(kit))
    outcome, refusal = kit.submit(kit.sign(more, by="north"))
    assert refusal is None and outcome.kind == Review.KIND


def test_what_was_read_by_the_old_rules_is_not_remembered_under_the_new():
    """A check just before the height keeps the transaction parsed; the block at the height must read it anew."""
    kit = Kit()
    with_versions(kit, BOTH)
    height = schedule(kit)
    idle_until(kit, height - 1)
    raw = kit.sign(glass(kit, 1), by="north")
    kit.machine.check(raw)
    kit.block()
    outcome, _ = kit.submit(raw)
    assert outcome.code == UnknownKind.code


def test_what_is_scheduled_and_lacking_is_said_before_its_height():
    kit = Kit()
    height = schedule(kit, 40)
    here = kit.machine.applied.height
    assert scheduled(kit.machine.view(), here) == [(height, 2)] == lacking(kit.machine.view(), here)
    assert lacking(kit.machine.view(), here, BOTH) == []
    assert scheduled(kit.machine.view(), height) == []


def test_every_version_of_this_program_has_its_own_number_and_a_rule_for_each_kind():
    for version, book in VERSIONS.items():
        assert book.version == version and set(book.rules) == set(book.kinds)
