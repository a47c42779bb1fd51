"""The words of a study: how sites' updates meet, by which rule they become a model, where a study stands.

Which rule may be used in which mode, and how many sites it needs, is said here once: the ledger refuses a proposal by
these tables, and whoever proposes can ask them beforehand.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from commonward.ledger.parameters import HOUR, SECOND, YEAR

__all__ = [
    "ATTEMPTS",
    "BANDS",
    "MASKED_RULES",
    "MAX_OPEN",
    "MAX_OPEN_OF_MEMBER",
    "MAX_ROUNDS",
    "MAX_ROW_CAP",
    "MAX_SITES",
    "Mode",
    "Rule",
    "Status",
    "allows",
    "band_floor",
    "band_of",
    "least_sites",
    "quorum",
    "survivors",
    "tolerates",
]

MAX_SITES: Final = 64
"""Sites that a study may ever have."""

MAX_ROUNDS: Final = 1000
MAX_OPEN: Final = 64
"""Studies open at one time."""

MAX_OPEN_OF_MEMBER: Final = 8
"""Studies open at one time that one member proposed."""

MAX_ROW_CAP: Final = 1 << 20
ATTEMPTS: Final = 3
"""Attempts at a round before its study stalls."""

SHORTEST_WAIT: Final = SECOND
LONGEST_VOTE: Final = YEAR
LONGEST_ROUND: Final = 30 * 24 * HOUR
LONGEST_DISPUTE: Final = 5 * YEAR
LONGEST_STUDY: Final = 5 * YEAR


class Mode(IntEnum):
    """Who sees a site's update."""

    OPEN = 1  # the enrolled sites, to whom it is sealed
    MASKED = 2  # nobody: only the sum comes out


class Rule(IntEnum):
    """How updates become the next model. FedProx is FEDAVG here: its proximal term is the learner's."""

    FEDAVG = 1
    FEDADAM = 2
    FEDADAGRAD = 3
    NEWTON = 4
    NORM_CLIP = 5
    TRIMMED_MEAN = 6
    MEDIAN = 7
    KRUM = 8
    MULTI_KRUM = 9
    SUM = 10


class Status(IntEnum):
    """Where a study stands."""

    PROPOSED = 1  # ethics roles vote
    APPROVED = 2  # sites enrol; round 1 is not open yet
    RUNNING = 3  # an attempt at a round is open: updates come, or its set is fixed and countersigned
    WAITING = 4  # between two attempts, until enough sites are ready
    STALLED = 5  # three attempts at a round failed: no other opens
    COMPLETE = 6  # its last round is final
    CLOSED = 7  # closed; updates are kept for disputes
    SETTLED = 8  # the time for disputes is over; of the study its end is left
    REJECTED = 9  # not approved in time, or taken back

    @property
    def over(self) -> bool:
        """No round will open any more, and nobody enrols."""
        return self in (Status.CLOSED, Status.SETTLED, Status.REJECTED)


MASKED_RULES: Final = frozenset({Rule.FEDAVG, Rule.FEDADAM, Rule.FEDADAGRAD, Rule.NEWTON, Rule.SUM})
"""Rules that need only the sum of the updates."""

_ALWAYS_MASKED: Final = frozenset({Rule.SUM})
_SITES_FOR_F: Final[Mapping[Rule, tuple[int, int]]] = {
    # sites needed for f false ones: a * f + b
    Rule.TRIMMED_MEAN: (2, 1),
    Rule.MEDIAN: (2, 1),
    Rule.KRUM: (2, 3),
    Rule.MULTI_KRUM: (2, 3),
}
_MASKED_LEAST: Final = 3


def allows(mode: Mode, rule: Rule) -> bool:
    """Whether a study may use this rule in this mode."""
    return rule in MASKED_RULES if mode == Mode.MASKED else rule not in _ALWAYS_MASKED


def tolerates(rule: Rule) -> bool:
    """Whether the rule has a number f of false sites that it withstands."""
    return rule in _SITES_FOR_F


def least_sites(mode: Mode, rule: Rule, f: int) -> int:
    """The fewest sites whose updates may make a model."""
    a, b = _SITES_FOR_F.get(rule, (0, 1))
    return max(a * f + b, _MASKED_LEAST if mode == Mode.MASKED else 1)


def survivors(sites: int) -> int:
    """Of `sites` that masked their updates for each other, how many it takes to open the sum: the threshold t."""
    return max(_MASKED_LEAST, 2 * sites // 3 + 1)


def quorum(voters: int) -> int:
    """The fewest that are more than two thirds of these."""
    return 2 * voters // 3 + 1


BANDS: Final[tuple[int, ...]] = (0, 20, 50, *(step * 10**power for power in range(2, 9) for step in (1, 2, 5)), 10**9)
"""What each band of patients, or of rows, begins with: counts show on the ledger by their band alone, 0 to 19, 20 to 49
and so on."""


def band_of(count: int) -> int:
    """The number of the band that a count lies in. Raises ValueError for a negative one."""
    if count < 0:
        raise ValueError(f"expected a count from 0, got {count}")
    return sum(floor <= count for floor in BANDS) - 1


def band_floor(band: int) -> int:
    """The least count that lies in a band."""
    return BANDS[band]
