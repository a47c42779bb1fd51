"""Numbers that the consortium may change by vote, each between bounds that it may not.

Times are milliseconds. What is not here is fixed by the protocol version, or by genesis.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Final

from commonward.ledger.encoding import decode, encode
from commonward.ledger.rules import DAY, Cells

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
YEAR: Final = 366 * DAY


class Parameter(IntEnum):
    """By number, for ever."""

    QUOTA_TRANSACTIONS = 1  # a member's, in a block
    QUOTA_BYTES = 2  # a member's, in a block
    BLOCK_BYTES = 3
    BLOCK_SIGNATURES = 4
    EXPIRY = 5  # the latest a transaction may expire after the header's time
    FRESHNESS = 6  # the oldest a recent root may be before the tip's time
    TICK = 7  # between two anchors of a member
    BACKFILL = 8  # the most extra batches that one anchor may announce
    RECOVERY_WAIT = 9
    BREAK_GLASS_A_DAY = 10  # a member's
    REVIEW_WITHIN = 11  # the latest review deadline of a break-glass
    LATE_BY = 12  # the oldest a late mark may be
    CONSENT_LASTS = 13  # at most
    MANDATE_LASTS = 14  # at most
    MINIMAL_ASSURANCE = 15  # of a consent: 1 witnessed, 2 representative, 3 passkey
    PROPOSAL_OPEN = 16  # at most
    KEY_LASTS = 17  # at most, for a member's key
    DUES_A_BLOCK = 18
    STAFF_LASTS = 19  # at most, for a staff certificate, and so for its revocation


BOUNDS: Final[Mapping[Parameter, tuple[int, int, int]]] = {
    # least, default, most
    Parameter.QUOTA_TRANSACTIONS: (1, 2048, 4000),
    Parameter.QUOTA_BYTES: (65_536, 1 << 20, 1 << 21),
    Parameter.BLOCK_BYTES: (131_072, 1 << 21, 1 << 21),
    Parameter.BLOCK_SIGNATURES: (16, 4000, 4000),
    Parameter.EXPIRY: (10 * SECOND, 10 * MINUTE, 10 * MINUTE),
    Parameter.FRESHNESS: (MINUTE, 15 * MINUTE, 15 * MINUTE),
    Parameter.TICK: (100, MINUTE, HOUR),
    Parameter.BACKFILL: (0, 4096, 65_536),
    Parameter.RECOVERY_WAIT: (SECOND, 3 * DAY, 60 * DAY),
    Parameter.BREAK_GLASS_A_DAY: (1, 50, 100_000),
    Parameter.REVIEW_WITHIN: (SECOND, 7 * DAY, 30 * DAY),
    Parameter.LATE_BY: (MINUTE, 2 * DAY, 30 * DAY),
    Parameter.CONSENT_LASTS: (DAY, 5 * YEAR, 20 * YEAR),
    Parameter.MANDATE_LASTS: (DAY, 5 * YEAR, 20 * YEAR),
    Parameter.MINIMAL_ASSURANCE: (1, 1, 3),
    Parameter.PROPOSAL_OPEN: (SECOND, 30 * DAY, 365 * DAY),
    Parameter.KEY_LASTS: (DAY, 3 * YEAR, 20 * YEAR),
    Parameter.DUES_A_BLOCK: (16, 256, 256),
    Parameter.STAFF_LASTS: (HOUR, DAY, 2 * DAY),
}

PARAMETERS_KEY: Final = b"parameters"


def check_parameter(parameter: Parameter, value: int) -> int:
    """Raises ValueError when the value is out of bounds."""
    least, _, most = BOUNDS[parameter]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"expected {parameter.name} from {least} to {most}, got {value!r:.40}")
    return value


def defaults() -> dict[Parameter, int]:
    return {parameter: default for parameter, (_, default, _) in BOUNDS.items()}


@lru_cache(maxsize=16)
def _parse(data: bytes) -> Mapping[int, int]:
    value = decode(data)
    assert isinstance(value, dict)
    return {key: each for key, each in value.items() if isinstance(each, int)}


class Parameters:
    """The slice: one cell, a map from number to value."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def __getitem__(self, parameter: Parameter) -> int:
        data = self._cells.get(PARAMETERS_KEY)
        if data is None:
            raise LookupError("no parameters in the state: it was not made from genesis")
        return _parse(data)[parameter]

    def write(self, values: Mapping[Parameter, int]) -> None:
        self._cells.put(PARAMETERS_KEY, encode({int(key): value for key, value in values.items()}))

    def change(self, parameter: Parameter, value: int) -> None:
        data = self._cells.get(PARAMETERS_KEY)
        assert data is not None
        self._cells.put(PARAMETERS_KEY, encode({**_parse(data), int(parameter): check_parameter(parameter, value)}))
