"""Is what this node knows still so? Fresh, within grace, or too old to act on."""

from contextlib import suppress
from enum import IntEnum

from commonward.ledger.ids import BlockTime
from commonward.workflows.member import Member
from commonward.workflows.ports import LedgerAway


class Standing(IntEnum):
    """How live the ledger's view is shown to be."""

    FRESH = 1  # a quorum cosigned it within a minute
    GRACE = 2  # it did within the grace period: treatment goes on and is marked late
    AWAY = 3  # neither: only a broken glass helps


GRACE_PURPOSES = frozenset({"TREAT", "ETREAT"})


def standing(member: Member) -> tuple[Standing, BlockTime]:
    """How live this member's view is now, and the cosigning time that shows it (0 when there is none).

    A cosigning time ahead of the own clock by more than the allowed skew proves nothing: one of the two is wrong.
    """
    proven = member.ports.ledger.proven()
    if proven is None:
        return Standing.AWAY, BlockTime(0)
    age = member.now() - proven.fresh
    if age < -member.practice.clock_skew_ms:
        return Standing.AWAY, proven.fresh
    if age <= member.practice.fresh_ms:
        return Standing.FRESH, proven.fresh
    if age <= member.practice.grace_ms:
        return Standing.GRACE, proven.fresh
    return Standing.AWAY, proven.fresh


async def settled(member: Member) -> tuple[Standing, BlockTime]:
    """As `standing`, but gives the cosigners a moment when the view is not fresh: an idle ledger is cosigned anew."""
    now = standing(member)
    if now[0] is Standing.FRESH:
        return now
    with suppress(LedgerAway):
        await member.ports.ledger.cosigned(member.ports.ledger.recent()[0], min(member.practice.cosign_wait_ms, 2_000))
    return standing(member)
