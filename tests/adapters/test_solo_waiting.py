"""Sharing a block between members."""

import pytest

from commonward.adapters.solo.waiting import Full, Limits, Waiting, WaitingRoom
from commonward.ledger.ids import Digest, MemberId

NORTH, SOUTH = MemberId("north"), MemberId("south")
LIMITS = Limits(block_bytes=1000, block_signatures=100, member_transactions=50, member_bytes=800)


def bundle(carrier: MemberId, n: int, size: int = 95, count: int = 1, signatures: int = 2) -> Waiting:
    digests = tuple(Digest(carrier.encode().ljust(24) + bytes([n, each]) + bytes(6)) for each in range(count))
    return Waiting(carrier, bytes([n]) * size, digests, signatures)


def test_a_member_with_much_waiting_cannot_keep_another_out() -> None:
    room = WaitingRoom()
    for n in range(50):
        room.add(bundle(NORTH, n))
    room.add(bundle(SOUTH, 0))
    cut = room.cut(LIMITS)
    assert sum(each.carrier == SOUTH for each in cut) == 1
    assert sum(each.carrier == NORTH for each in cut) == 8  # its own quota, though two bundles more had room
    assert [each.data[0] for each in cut if each.carrier == NORTH] == list(range(8))


def test_contended_space_is_shared_equally() -> None:
    room = WaitingRoom()
    for n in range(50):
        room.add(bundle(NORTH, n))
        room.add(bundle(SOUTH, n, size=45))
    cut = room.cut(LIMITS)
    share = {member: sum(len(each.data) for each in cut if each.carrier == member) for member in (NORTH, SOUTH)}
    assert abs(share[NORTH] - share[SOUTH]) <= 100


@pytest.mark.parametrize(
    "limits",
    [LIMITS._replace(block_signatures=6), LIMITS._replace(member_transactions=3), LIMITS._replace(member_bytes=399)],
    ids=["signatures", "transactions of a member", "bytes of a member"],
)
def test_each_limit_holds(limits: Limits) -> None:
    room = WaitingRoom()
    for n in range(10):
        room.add(bundle(NORTH, n))
    assert len(room.cut(limits)) == 3
    assert len(room.cut(limits)) == 3


def test_everything_comes_out_once_and_in_order() -> None:
    room = WaitingRoom()
    for n in range(30):
        room.add(bundle(NORTH, n, size=10 + n))
    seen = []
    while room:
        seen += [each.data[0] for each in room.cut(LIMITS)]
    assert seen == list(range(30))
    assert bundle(NORTH, 3).digests[0] not in room


def test_what_one_member_may_have_waiting_is_bounded() -> None:
    room = WaitingRoom(member_waiting_bytes=250)
    room.add(bundle(NORTH, 1))
    room.add(bundle(NORTH, 2))
    with pytest.raises(Full, match="north"):
        room.add(bundle(NORTH, 3))
    room.add(bundle(SOUTH, 1))
