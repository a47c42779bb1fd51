"""The registry: one batch a tick, even when empty; extra ones announced; originals by those who may."""

from commonward.ledger.members import SetParameter
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import TooLarge
from commonward.ledger.registry import (
    AnchorBatch,
    AnchorPublic,
    ExtraOutOfTurn,
    NotYourPublication,
    PublicType,
    TickRepeated,
    TooEarly,
    TooManyAnnounced,
)
from commonward.ledger.transactions import parse_transaction
from tests.ledgerkit import commitment


def test_a_tick_is_anchored_once(kit):
    tick = kit.tick()
    kit.accept(AnchorBatch(tick, commitment(1)), by="north")
    kit.refuse(TickRepeated, AnchorBatch(tick, commitment(2)), by="north")
    kit.accept(AnchorBatch(tick, commitment(3)), by="south")  # each member has its own


def test_a_tick_is_not_anchored_before_it_begins(kit):
    kit.refuse(TooEarly, AnchorBatch(kit.tick() + 2, commitment(1)), by="north")


def test_ticks_may_be_missed_but_not_gone_back_to(kit):
    tick = kit.tick()
    kit.later(5000)
    kit.accept(AnchorBatch(tick + 5, commitment(1)), by="north")
    kit.refuse(TickRepeated, AnchorBatch(tick + 4, commitment(2)), by="north")


def test_extra_batches_are_announced_and_come_in_turn(kit):
    kit.refuse(ExtraOutOfTurn, AnchorBatch(kit.tick(), commitment(0), None, 1), by="north")
    kit.accept(AnchorBatch(kit.tick(), commitment(1), 2), by="north")
    kit.refuse(ExtraOutOfTurn, AnchorBatch(kit.tick(), commitment(2), None, 2), by="north")
    kit.accept(AnchorBatch(kit.tick(), commitment(2), None, 1), by="north")
    kit.accept(AnchorBatch(kit.tick(), commitment(3), None, 2), by="north")
    kit.refuse(ExtraOutOfTurn, AnchorBatch(kit.tick(), commitment(4), None, 3), by="north")
    kit.refuse(ExtraOutOfTurn, AnchorBatch(kit.tick(), commitment(4), None, 2), by="north")


def test_an_announcement_has_a_bound(kit):
    kit.refuse(TooManyAnnounced, AnchorBatch(kit.tick(), commitment(1), 1 << 19), by="north")


def test_a_longer_tick_neither_repeats_nor_blocks_a_member(kit):
    kit.accept(AnchorBatch(kit.tick(), commitment(1)), by="north")
    kit.decide(SetParameter(Parameter.TICK, 60_000))
    kit.later(60_000)
    kit.accept(AnchorBatch(kit.tick(), commitment(2)), by="north")


def test_originals_are_published_by_the_kinds_of_member_that_genesis_names(kit):
    kit.accept(AnchorPublic(PublicType.BULLETIN, b"outbreak over"), by="health")
    kit.refuse(NotYourPublication, AnchorPublic(PublicType.BULLETIN, b"we are cheap"), by="shield")


def test_an_original_may_have_64_kib_and_no_other_transaction_more_than_16(kit):
    original = AnchorPublic(PublicType.CODE_MAP, bytes(65_000))
    outcome = kit.accept(original, by="north")
    assert outcome.code == 0
    raw = kit.sign(AnchorPublic(PublicType.CODE_MAP, bytes(65_400)), by="north")
    assert len(raw) > 65_536
    kit.refuse_raw(TooLarge, raw)
    assert parse_transaction(kit.sign(original, by="north")).payload == original
