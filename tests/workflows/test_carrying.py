"""Bundles that keep a pace: a lone transaction leaves at once, what follows leaves together, a full one waits not."""

import asyncio
from collections.abc import Sequence

from commonward.ledger.ids import Digest
from commonward.workflows.carrying import BUNDLE_BYTES, BUNDLE_TRANSACTIONS, Carrier

PATIENCE = 60
NEVER_S = 3600.0


class Road:
    """Whoever orders: keeps the sizes of the bundles that came, and answers each as it comes."""

    def __init__(self, pace_s: float, quota: tuple[int, int] = (BUNDLE_TRANSACTIONS, BUNDLE_BYTES)) -> None:
        self.came: list[int] = []
        self._moved = asyncio.Event()
        self.carrier = Carrier(self._wrap, lambda digest, code, text: None, pace_s, lambda: quota)
        self.carrier.connected(self._send)
        self._number = 0
        self._raws: Sequence[bytes] = ()

    def _wrap(self, raws: Sequence[bytes]) -> bytes:
        self._raws = raws
        return b"".join(raws)

    def _send(self, number: int, bundle: bytes) -> None:
        self.came.append(len(self._raws))
        self._moved.set()
        asyncio.get_running_loop().call_soon(self.carrier.checked, number, (), "")

    def add(self, count: int, size: int = 8) -> None:
        for _ in range(count):
            self._number += 1
            self.carrier.add(Digest(self._number.to_bytes(32, "big")), self._number.to_bytes(size, "big"))

    async def rest(self) -> None:
        """Until nothing happens any more but by time."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def until(self, transactions: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while sum(self.came) < transactions:
                self._moved.clear()
                await self._moved.wait()


async def test_a_lone_transaction_leaves_at_once() -> None:
    road = Road(NEVER_S)
    road.add(1)
    await road.rest()
    assert road.came == [1]


async def test_what_follows_waits_for_the_pace() -> None:
    road = Road(NEVER_S)
    road.add(1)
    await road.rest()
    for _ in range(5):
        road.add(2)
        await road.rest()
    assert road.came == [1]


async def test_what_waited_leaves_by_itself_when_its_time_has_come() -> None:
    road = Road(0.05)
    road.add(1)
    await road.rest()
    road.add(10)
    await road.until(11)


async def test_full_bundles_wait_for_no_pace_and_what_is_left_of_them_does() -> None:
    road = Road(NEVER_S)
    road.add(1)
    await road.rest()
    road.add(3)
    await road.rest()
    assert road.came == [1]
    road.add(2 * BUNDLE_TRANSACTIONS)
    await road.rest()
    assert road.came == [1, BUNDLE_TRANSACTIONS, BUNDLE_TRANSACTIONS]


async def test_a_bundle_is_full_by_its_bytes_too() -> None:
    road = Road(NEVER_S)
    road.add(1)
    await road.rest()
    road.add(20, size=BUNDLE_BYTES // 8)
    await road.rest()
    assert road.came[:2] == [1, 7]
    assert sum(road.came) == 15, "the last six are not full, and wait"


async def test_without_a_pace_nothing_waits_for_time() -> None:
    road = Road(0.0)
    for _ in range(3):
        road.add(1)
        await road.rest()
    assert road.came == [1, 1, 1]


async def test_what_waits_for_the_pace_survives_a_broken_line() -> None:
    road = Road(0.05)
    road.add(1)
    await road.rest()
    road.add(1)
    await road.rest()
    road.carrier.disconnected()
    before = list(road.came)
    await asyncio.sleep(0.1)
    assert road.came == before
    road.carrier.connected(road._send)
    await road.until(sum(before) + 2)  # with what left before, for it stands in no block yet


async def test_no_bundle_is_larger_than_what_the_member_may_have_in_a_block() -> None:
    few = Road(0, quota=(10, BUNDLE_BYTES))
    few.add(35)
    await few.until(35)
    assert few.came == [10, 10, 10, 5]
    small = Road(0, quota=(BUNDLE_TRANSACTIONS, 2_000))
    small.add(5, size=700)
    await small.until(5)
    assert small.came == [2, 2, 1]
