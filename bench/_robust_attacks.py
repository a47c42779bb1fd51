"""What a false site of five sends instead of its update. Each attack knows all that the members of an open study know.

Changes are dictionaries of float64 arrays by name, in the shapes of the model. An attacker keeps within 256 from zero:
beyond it, or not finite, its bytes are refused and it has only silenced itself (`records.updates`).

- garbage: noise as large as the format allows, another in each round.
- scaled: its own honest change, times 10 to 1,000 (Blanchard et al. 2017, section 5, call it an omniscient fault).
- flipped: the honest sites' mean with its sign turned, times 1 or 10.
- stealthy: "A little is enough" (Baruch, Baruch and Goldberg 2019): the honest mean moved by z standard deviations of
  the honest sites, in each weight against the mean, so that it hides in their spread. Their bound on z for five sites
  of which one lies is 0; z of 1 and 1.5, which their experiments use, are more than that.
- backdoored: model replacement (Bagdasaryan et al. 2020): trained on its own rows of which half carry a trigger and the
  attacker's label, then times the number of sites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from commonward.records.model import Floats
from commonward.records.updates import DELTA_LIMIT

Changes: TypeAlias = Mapping[str, Floats]

FURTHEST: Final = DELTA_LIMIT - 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the attacker has when it makes its change.

    Attributes:
        own: what it would have sent.
        others: the honest sites' changes of this round, which it would see only after committing to its own: more than
            the ledger lets anyone know.
        poisoned: its change after training on rows with the trigger; `own` where the attack has none.
        chance: its dice.
    """

    own: Changes
    others: Sequence[Changes]
    poisoned: Changes
    chance: np.random.Generator


@dataclass(frozen=True, slots=True)
class Attack:
    """A name for tables, which of the five it is, and how strong."""

    family: str
    strength: float = 1.0

    @property
    def name(self) -> str:
        unit = {"scaled": " x {:g}", "flipped": " x {:g}", "stealthy": ", z = {:g}", "backdoored": " x {:g}"}
        return self.family + unit.get(self.family, "").format(self.strength)

    @property
    def poisons(self) -> bool:
        return self.family == "backdoored"

    def forge(self, seen: Seen) -> dict[str, Floats]:
        """The change that it sends. Raises KeyError for a family that is none."""
        made = _FORGERS[self.family](seen, self.strength)
        return {name: np.clip(array, -FURTHEST, FURTHEST) for name, array in made.items()}


def _garbage(seen: Seen, _: float) -> dict[str, Floats]:
    return {name: seen.chance.uniform(-FURTHEST, FURTHEST, array.shape) for name, array in seen.own.items()}


def _scaled(seen: Seen, times: float) -> dict[str, Floats]:
    return {name: array * times for name, array in seen.own.items()}


def _flipped(seen: Seen, times: float) -> dict[str, Floats]:
    return {name: -times * np.mean([each[name] for each in seen.others], axis=0) for name in seen.own}


def _stealthy(seen: Seen, z: float) -> dict[str, Floats]:
    made = {}
    for name in seen.own:
        stacked = np.stack([each[name] for each in seen.others])
        middle = stacked.mean(axis=0)
        made[name] = middle - z * np.sign(middle) * stacked.std(axis=0)
    return made


def _backdoored(seen: Seen, times: float) -> dict[str, Floats]:
    return {name: array * times for name, array in seen.poisoned.items()}


_FORGERS: Final = {
    "garbage": _garbage,
    "scaled": _scaled,
    "flipped": _flipped,
    "stealthy": _stealthy,
    "backdoored": _backdoored,
}

ATTACKS: Final = (
    Attack("garbage"),
    Attack("scaled", 10),
    Attack("scaled", 100),
    Attack("scaled", 1000),
    Attack("flipped", 1),
    Attack("flipped", 10),
    Attack("stealthy", 1.0),
    Attack("stealthy", 1.5),
    Attack("backdoored", 1),
    Attack("backdoored", 5),
)
