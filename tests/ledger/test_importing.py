"""A genesis that goes on from another ledger: what of the old state stays, what ends, and what it refuses."""

from dataclasses import replace

import pytest

from commonward.ledger.genesis import Genesis, GenesisError, Imported
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.importing import ImportRefused
from commonward.ledger.members import Resume, RevokeKey, SetParameter, Suspend
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import Suspended
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.staging import StateDamaged
from tests.ledgerkit import START, YEAR, Kit, SoftKey, commitment, demo_genesis, demo_members

FOUR = ("clinic", "health", "north", "south")


def going_on(kit: Kit, *, size: int = 0, without: tuple[str, ...] = (), **more: object) -> Genesis:
    """A genesis of the same members by consensus, from where this ledger stands."""
    machine = kit.machine
    tip, created = machine.tip, BlockTime(machine.applied.time + 1000)
    imported = Imported(machine.ledger_id, size or tip.size, tip.root, int(machine.applied.height), machine.ledger_id)
    made = demo_genesis(created=created, consensus=True, imported=imported, **more)  # type: ignore[arg-type]
    if not without:
        return made
    members = tuple(each for each in demo_members(created=created, consensus=True) if each.id not in without)
    return replace(made, members=members)


def moved(kit: Kit, genesis: Genesis) -> Kit:
    """The machine that goes on over the same stores."""
    return Kit(genesis, kit.store, kit.log_store)


def test_the_log_and_its_heights_go_on_and_every_node_makes_the_same_of_it() -> None:
    first, second = Kit(), Kit()
    for kit in (first, second):
        kit.enrol("ada")
    genesis = going_on(first)
    tips = {moved(kit, genesis).machine.tip for kit in (first, second)}
    assert len(tips) == 1
    tip = tips.pop()
    assert tip.size == genesis.imported.size + 1 and tip.height == genesis.height  # type: ignore[union-attr]
    again = moved(first, genesis)
    assert again.machine.tip == tip and again.machine.whole
    again.accept(AnchorBatch(again.tick(), commitment("root")), by="north")
    assert again.machine.applied.height == genesis.height + 1
    assert again.machine.log.root(genesis.imported.size) == genesis.imported.root  # type: ignore[union-attr]


def test_it_goes_on_only_from_the_checkpoint_that_genesis_names() -> None:
    kit = Kit()
    kit.enrol("ada")
    genesis = going_on(kit)
    kit.enrol("bea")
    with pytest.raises(StateDamaged, match="goes on from block"):
        moved(kit, genesis)
    kit.reopen()
    kit.enrol("eve")  # and has done nothing to the ledger that it does not go on from


def test_parameters_and_suspensions_that_were_voted_stay_what_genesis_says_of_them() -> None:
    kit = Kit()
    kit.decide(SetParameter(Parameter.TICK, 5000))
    kit.decide(Suspend(MemberId("shield")))
    new = moved(kit, going_on(kit, without=("shield",)))
    view = new.machine.view()
    assert view.parameters[Parameter.TICK] == 1000, "as genesis says"
    shield = view.roll.must("shield")
    assert not shield.active and shield.weight == 0, "it did not sign, and stays listed for its CA"
    new.refuse(Suspended, AnchorBatch(new.tick(), commitment("root")), by="shield")
    new.decide(Resume(MemberId("shield")), voters=FOUR[:3])
    assert new.machine.view().roll.must("shield").active


def test_keys_of_the_order_end_and_other_keys_stay() -> None:
    kit = Kit()
    spare, cosigns = SoftKey("north spare"), SoftKey("north cosigns too")
    kit.accept(spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(cosigns.add(kit.ledger, "north", Purpose.COSIGN), by="north")
    new = moved(kit, going_on(kit))
    roll, now = new.machine.view().roll, new.machine.applied.time
    assert roll.key(spare.id) is not None and roll.key(spare.id).covers(now)  # type: ignore[union-attr]
    assert not roll.key(cosigns.id).covers(now)  # type: ignore[union-attr]
    assert not roll.live(MemberId("health"), Purpose.SEQUENCE, now)
    new.accept(AnchorBatch(new.tick(), commitment("root")), by=spare)


def test_a_key_that_was_revoked_is_not_brought_back() -> None:
    kit = Kit()
    spare = SoftKey("north spare")
    kit.accept(spare.add(kit.ledger, "north", Purpose.OPERATE), by="north")
    kit.accept(RevokeKey(kit.key("north").id, commitment("why")), by=spare)
    with pytest.raises(ImportRefused, match="revoked"):
        moved(kit, going_on(kit))


def test_what_falls_due_for_patients_falls_due_after_it_too() -> None:
    kit = Kit()
    kit.enrol("ada")
    due = kit.machine.next_due
    new = moved(kit, going_on(kit))
    assert due is not None and new.machine.next_due == due
    new.later(2 * YEAR)
    new.settle()
    assert new.machine.next_due is None or new.machine.next_due > new.machine.applied.time


def test_only_a_ledger_without_an_operator_goes_on_from_another() -> None:
    imported = Imported(demo_genesis().ledger_id, 5, commitment("root"), 3, demo_genesis().ledger_id)
    with pytest.raises(GenesisError, match="without an operator"):
        demo_genesis(imported=imported)


def test_genesis_alone_is_not_the_ledger_that_it_goes_on_from() -> None:
    imported = Imported(demo_genesis().ledger_id, 5, commitment("root"), 3, demo_genesis().ledger_id)
    kit = Kit(demo_genesis(created=BlockTime(START + 1000), consensus=True, imported=imported))
    assert not kit.machine.whole
