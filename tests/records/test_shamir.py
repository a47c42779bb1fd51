"""Enough shares give the secret, and fewer tell nothing of it."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.shamir import PRIME, SHARE_BYTES, SharingError, join, split

SECRET = bytes(range(32))
SEED = bytes(range(32, 64))


def test_any_enough_shares_give_the_secret() -> None:
    shares = dict(enumerate(split(SECRET, 4, 6, SEED), start=1))
    for count in (4, 5, 6):
        for holders in combinations(shares, count):
            assert join({holder: shares[holder] for holder in holders}, 4) == SECRET


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(1, 20), st.integers(0, 5))
def test_any_secret_comes_back(secret: bytes, seed: bytes, threshold: int, more: int) -> None:
    shares = split(secret, threshold, threshold + more, seed)
    assert join({at + 1: shares[at] for at in range(more, threshold + more)}, threshold) == secret


def test_fewer_shares_fit_every_other_secret_as_well() -> None:
    """For any secret there is one polynomial through it and three given shares of four: so the three tell nothing."""
    known = dict(enumerate(split(SECRET, 4, 6, SEED)[:3], start=1))
    for other in (bytes(32), b"\xff" * 32, SECRET[::-1]):
        fourth = _through(
            {0: int.from_bytes(other, "big"), **{at: int.from_bytes(s, "big") for at, s in known.items()}}, 4
        )
        assert join({**known, 4: fourth.to_bytes(SHARE_BYTES, "big")}, 4) == other


def _through(points: dict[int, int], at: int) -> int:
    """The value at `at` of the polynomial through the points."""
    total = 0
    for one, value in points.items():
        above = below = 1
        for other in points:
            if other != one:
                above, below = above * (at - other) % PRIME, below * (one - other) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME


def test_fewer_than_the_threshold_are_refused() -> None:
    shares = dict(enumerate(split(SECRET, 4, 6, SEED)[:3], start=1))
    with pytest.raises(SharingError, match="at least 4 shares, got 3"):
        join(shares, 4)


def test_a_false_share_does_not_give_the_secret() -> None:
    shares = dict(enumerate(split(SECRET, 3, 5, SEED), start=1))
    shares[2] = (int.from_bytes(shares[2], "big") ^ 1).to_bytes(SHARE_BYTES, "big")
    try:
        assert join(shares, 3) != SECRET
    except SharingError as refused:
        assert "make none" in str(refused)


@pytest.mark.parametrize("share", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_a_share_out_of_the_field_is_refused(share: bytes) -> None:
    shares = dict(enumerate(split(SECRET, 2, 3, SEED), start=1))
    with pytest.raises(SharingError):
        join({**shares, 1: share}, 2)


def test_a_share_of_holder_nought_would_be_the_secret_and_is_refused() -> None:
    with pytest.raises(SharingError):
        join({0: bytes(33), 1: bytes(33)}, 2)


@pytest.mark.parametrize(("threshold", "holders"), [(0, 3), (4, 3), (2, 256)])
def test_a_threshold_that_cannot_be_is_refused(threshold: int, holders: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        split(SECRET, threshold, holders, SEED)
