"""Words: bands, quorums and thresholds, and which rule needs how many sites."""

import pytest

from commonward.ledger.rounds import (
    BANDS,
    Mode,
    Rule,
    allows,
    band_floor,
    band_of,
    least_sites,
    quorum,
    survivors,
)


def test_every_count_lies_in_the_band_whose_floor_is_the_last_below_it():
    assert (BANDS[:7], BANDS[-1]) == ((0, 20, 50, 100, 200, 500, 1000), 10**9)
    assert list(BANDS) == sorted(set(BANDS))
    for count in (0, 1, 19, 20, 21, 49, 50, 99, 100, 303, 1000, 10**9, 10**12):
        band = band_of(count)
        assert band_floor(band) <= count and (band + 1 == len(BANDS) or count < BANDS[band + 1])
    with pytest.raises(ValueError, match="expected a count from 0"):
        band_of(-1)


def test_a_quorum_is_more_than_two_thirds():
    for voters in range(1, 65):
        assert 3 * quorum(voters) > 2 * voters >= 3 * (quorum(voters) - 1)
        assert quorum(voters) <= voters


def test_two_quorums_meet_in_more_than_a_third_of_the_voters():
    """So two models of one round cannot both be final unless a third of the sites sign twice."""
    for voters in range(1, 65):
        assert 3 * (2 * quorum(voters) - voters) > voters


def test_survivors_are_three_at_least_and_more_than_two_thirds():
    assert [survivors(n) for n in (3, 4, 5, 6, 10, 64)] == [3, 3, 4, 5, 7, 43]


def test_rules_need_sites_for_the_false_ones_they_withstand():
    assert least_sites(Mode.OPEN, Rule.FEDAVG, 0) == 1
    assert least_sites(Mode.MASKED, Rule.FEDAVG, 0) == 3
    assert [least_sites(Mode.OPEN, rule, 2) for rule in (Rule.MEDIAN, Rule.TRIMMED_MEAN)] == [5, 5]
    assert [least_sites(Mode.OPEN, rule, 2) for rule in (Rule.KRUM, Rule.MULTI_KRUM)] == [7, 7]


def test_masked_studies_know_sums_alone_and_sums_are_masked():
    masked = {rule for rule in Rule if allows(Mode.MASKED, rule)}
    assert masked == {Rule.FEDAVG, Rule.FEDADAM, Rule.FEDADAGRAD, Rule.NEWTON, Rule.SUM}
    assert {rule for rule in Rule if not allows(Mode.OPEN, rule)} == {Rule.SUM}
