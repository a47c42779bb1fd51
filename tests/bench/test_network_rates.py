"""What the network's benchmark says follows from when each transaction began and stood, and failures are told."""

import asyncio

import pytest

from bench import network
from bench._kvstore import KvWindow
from bench._simulation import Members, virtual_loop


def test_a_rate_is_the_median_of_windows_after_the_warm_up() -> None:
    spans = [(0.0, 3.1)] * 30 + [(3.0, 6.5)] * 60 + [(5.0, 9.5)] * 90
    found = network.rates(spans, 363, 12.0)
    assert found.windows == [10.0, 20.0, 30.0]
    assert (found.rate, found.count) == (20.0, 180)
    assert found.p50 == 4.5, "of those that were begun after the warm-up"
    assert "10, 20, 30/s" in found.said


def test_nothing_that_stood_is_a_failure_and_not_a_rate_of_zero() -> None:
    with pytest.raises(RuntimeError, match="not one transaction"):
        network.rates([], 363, 12.0)


def test_a_phase_that_failed_counts_as_a_goal_missed() -> None:
    assert network._failed("network.mark", "s", "a validator stopped").met is False


def test_kvstore_transactions_stand_in_the_order_in_which_they_came() -> None:
    window = KvWindow([1.0, 2.0, 3.0, 4.0], [(5.0, 1), (6.0, 3)], 350, 0.1)
    assert window.spans() == [(1.0, 5.0), (2.0, 6.0), (3.0, 6.0)], "the fourth stands in no block yet"


def test_simulated_members_agree_and_a_quorum_proves_it_after_all_links_were_crossed() -> None:
    with virtual_loop() as loop:
        members = Members(4)

        async def play() -> list[float]:
            tasks = await members.run()
            done = await members.round(members.bundles(3))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert done.messages >= 4 * 3, "each tells each"
            assert done.bytes > 0
            return done.proven

        try:
            proven = loop.run_until_complete(play())
        finally:
            members.close()
    assert min(proven) > 0.03, "a proposal, two votes and the cosignatures cross links of at least 10 ms"
    assert len({replica.info() for replica in members.replicas}) == 1
