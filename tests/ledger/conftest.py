import pytest

from tests.ledgerkit import Kit


@pytest.fixture
def kit() -> Kit:
    """A consortium of five on a ledger in memory. Tests that take no other fixture also make the vectors of refusals
    (tests/vectors/refusals.json), so they stay free of clocks and chance."""
    return Kit()
