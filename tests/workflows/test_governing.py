"""A member's own part in deciding: what it is told of each proposal, and whether a change stands."""

import pytest

from commonward.ledger.ids import Height, MemberId, MemberKind
from commonward.ledger.members import (
    AdoptTable,
    Change,
    ChangeKind,
    RenewCertificate,
    Resume,
    RevokeCertificate,
    SetMajority,
    SetParameter,
    SetProposers,
    SetProtocol,
    SetWeight,
    Suspend,
    certificate_digest,
)
from commonward.ledger.parameters import Parameter
from commonward.workflows.governing import Governing, Standing
from commonward.workflows.submitting import LedgerRefused
from tests.consortium import Consortium
from tests.ledgerkit import commitment

WEEK = 7 * 86_400_000
SOUTH = MemberId("south")


def governing(c: Consortium, member: str = "north") -> Governing:
    return Governing(c.houses[member].office.member)


async def put(c: Consortium, change: Change) -> Standing:
    """Proposed by north, and heard of by all."""
    proposal, _ = await governing(c).propose(change, "agreed", WEEK)
    await c.engine.settle()
    found = governing(c).proposal(proposal, c.engine.genesis.constitution)
    assert found is not None
    return found


async def carry(c: Consortium, change: Change) -> None:
    standing = await put(c, change)
    for member in ("clinic", "health", "north", "shield", "south"):
        if not governing(c, member).is_open(standing.id):
            break
        if c.houses[member].office.member.reading.kind_of(MemberId(member)) is not None:
            await governing(c, member).vote(standing.id, True)
            await c.engine.settle()
    assert not governing(c).is_open(standing.id)


async def test_a_proposal_says_who_has_yet_to_vote_and_what_carries_it() -> None:
    async with Consortium() as c:
        standing = await put(c, SetParameter(Parameter.TICK, 2000))
        assert (standing.majority, standing.needed, standing.voted) == ((2, 3), 4, None)
        assert standing.missing == ("clinic", "health", "north", "shield", "south")
        for member, choice in (("north", True), ("south", False), ("clinic", False)):
            await governing(c, member).vote(standing.id, choice)
        await c.engine.settle()
        constitution = c.engine.genesis.constitution
        at_north = governing(c).proposal(standing.id, constitution)
        at_south = governing(c, "south").proposal(standing.id, constitution)
        assert at_north is not None and at_south is not None
        assert (at_north.voted, at_south.voted) == (True, False)
        assert (at_north.ayes, at_north.noes, at_north.missing) == (
            ("north",),
            ("south", "clinic"),
            ("health", "shield"),
        )
        assert at_north.lost, "three of five at most: four carry it"
        with pytest.raises(LedgerRefused):
            await governing(c).vote(standing.id, False)


async def test_each_kind_of_change_stands_once_it_has_carried_and_not_before() -> None:
    async with Consortium() as c:
        old = c.engine.genesis.member("south").certificate
        for change in (
            SetParameter(Parameter.TICK, 2000),
            SetWeight(SOUTH, 9),
            AdoptTable("jurisdictions", commitment("table")),
            SetMajority(ChangeKind.TABLE, 2, 3),
            SetProposers(ChangeKind.TABLE, (MemberKind.HOSPITAL,)),
            RevokeCertificate(certificate_digest(old)),
            RenewCertificate(SOUTH, b"the next one"),
            SetProtocol(2, Height(1_000_000)),
            Suspend(SOUTH),
            Resume(SOUTH),
        ):
            constitution = c.engine.genesis.constitution
            assert not governing(c).stands(change, constitution), change
            await carry(c, change)
            assert governing(c).stands(change, constitution), change


async def test_the_bars_are_those_of_now() -> None:
    async with Consortium() as c:
        constitution = c.engine.genesis.constitution
        before = {bar.kind: bar for bar in governing(c).bars(constitution)}
        assert set(before) == set(ChangeKind) and before[ChangeKind.TABLE].needed == 3
        await carry(c, SetMajority(ChangeKind.TABLE, 2, 3))
        after = {bar.kind: bar for bar in governing(c).bars(constitution)}
        assert after[ChangeKind.TABLE].needed == 4 == before[ChangeKind.ADMIT].needed
