"""The engine forgets blocks a stride at a time, never one that is to be kept, and never many at once."""

from itertools import pairwise

from commonward.workflows.retaining import Retaining


def test_all_blocks_stay_where_all_are_to_be_kept() -> None:
    retaining = Retaining(0)
    assert {retaining.height(last) for last in range(1, 10_000, 7)} == {0}


def test_the_last_blocks_stay_and_what_went_before_goes_a_stride_at_a_time() -> None:
    retaining = Retaining(5000)
    told = [retaining.height(last) for last in range(1, 20_001)]
    assert told == sorted(told) and set(told) == {0, *range(1000, 15_001, 1000)}
    assert all(last - below + 1 >= 5000 for last, below in enumerate(told, 1) if below)


def test_a_node_told_to_keep_fewer_forgets_no_more_than_a_stride_with_each_block() -> None:
    retaining = Retaining(10_000)
    told = [retaining.height(last) for last in range(100_000, 100_200)]
    assert told[0] == 1000 and told[-1] == 90_000
    assert all(after - before in (0, 1000) for before, after in pairwise(told))


def test_a_ledger_that_goes_on_from_another_starts_at_its_first_height() -> None:
    retaining = Retaining(5000, first=1_000_000)
    assert retaining.height(1_000_001) <= 1_000_000
    assert retaining.height(1_010_000) == 1_001_000
