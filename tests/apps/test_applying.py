"""An application holds all that the ledger asks of a new member, on both engines."""

from dataclasses import replace
from pathlib import Path

import pytest

from commonward.apps import applying
from commonward.apps.founding import MemberPlan, found, plan
from commonward.apps.planning import NOBODY
from commonward.apps.settings import Address
from commonward.ledger.ids import BlockTime, Height, MemberId, Purpose
from commonward.ledger.members import ThirdOfWeight
from commonward.ledger.members.enacting import check_change
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.rulebook import chamber_of
from commonward.ledger.rules import Header
from commonward.ledger.state import MemoryStore
from commonward.ledger.transition import Machine

NOW = BlockTime(1_790_000_000_000)


def applicant(engine: str) -> MemberPlan:
    (wanted,) = plan(["east:hospital:2=East Hospital"], "127.0.0.1", 9400, engine)
    return wanted


@pytest.mark.parametrize("engine", ["solo", "cometbft"])
def test_what_an_applicant_writes_can_be_voted_for_with_its_weight(tmp_path: Path, engine: str) -> None:
    solo = engine == "solo"
    sequencer = Address(host="127.0.0.1", port=7400) if solo else None
    made = found(
        tmp_path / "c", plan((), "127.0.0.1", 7400, engine), name="C", sequencer=sequencer, now=NOW,
        operator=MemberId("authority") if solo else NOBODY, tables={}, tick_ms=1000,
    )  # fmt: skip
    _, asked = applying.apply(tmp_path / "new", tmp_path / "c", applicant(engine), NOW)
    assert asked.weight == 1
    assert {Purpose.NODE, Purpose.COSIGN} <= {key.purpose for key in asked.keys}
    assert (Purpose.VALIDATE in {key.purpose for key in asked.keys}) is not solo
    machine = Machine(made.genesis.genesis, MemoryStore(), MemoryLogStore(), map_bits=4)
    chamber = chamber_of(machine.view(), machine.fixed)
    header = Header(Height(1), BlockTime(NOW + 1))
    check_change(asked, header, chamber)
    with pytest.raises(ThirdOfWeight):
        check_change(replace(asked, weight=100), header, chamber)
