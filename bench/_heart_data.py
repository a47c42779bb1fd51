"""The heart disease task as FLamby defines it: four clients, their rows, and splits that anyone can make again.

Of UCI's 13 columns slope, ca and thal are left out (mostly missing outside Cleveland), then rows with a missing value:
303, 261, 46 and 130 stay. The label is num above 0. A centre is split by the stratified shuffle of scikit-learn 1.x
(`train_test_split` with `stratify` where both classes have more than two rows), written out here so that a benchmark
does not need scikit-learn; both gave the same indices for the seeds 0 to 149.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

import numpy as np
import numpy.typing as npt

from commonward.apps.samples.heart import COLUMNS, SITES, rows
from commonward.records.table import Column, Table, Type

Indices = npt.NDArray[np.int64]

TRAIN: Final = 0.66
FIRST_SEED: Final = 43
_LEFT_OUT: Final = ("slope", "ca", "thal")


@dataclass(frozen=True, slots=True)
class Client:
    """One site's rows of one split."""

    site: str
    train: Table
    test: Table


def tables() -> dict[str, Table]:
    """The rows of the protocol by site. A cholesterol of 0 was not measured: None."""
    found = {}
    for site in SITES:
        names = [name for name in COLUMNS if name not in _LEFT_OUT]
        chosen = [[row[COLUMNS.index(name)] for name in names] for row in rows(site)]
        complete = [each for each in chosen if None not in each]
        at = names.index("chol")
        cells = tuple((*each[:at], each[at] or None, *each[at + 1 :]) for each in complete)
        found[site] = Table(tuple(Column(name, Type.DECIMAL) for name in names), cells)
    return found


def clients(whole: dict[str, Table], seed: int) -> list[Client]:
    """The four sites, split by a seed."""
    made = []
    for site, table in whole.items():
        train, test = split((table.floats("num") > 0).astype(np.int64), seed)
        made.append(Client(site, table.take(train.tolist()), table.take(test.tolist())))
    return made


def split(labels: Indices, seed: int) -> tuple[Indices, Indices]:
    """Indices to learn from (0.66) and to be judged by, as scikit-learn's `train_test_split` gives them."""
    count = len(labels)
    train, test = floor(TRAIN * count), ceil((1 - TRAIN) * count)
    chance = np.random.RandomState(seed)
    counts = np.bincount(labels, minlength=2)
    if not (counts > 2).all():
        order = chance.permutation(count)
        return order[test : test + train], order[:test]
    of_train = _shares(counts, train, chance)
    of_test = _shares(counts - of_train, test, chance)
    by_class = np.split(np.argsort(labels, kind="mergesort"), np.cumsum(counts)[:-1])
    learn: list[int] = []
    judge: list[int] = []
    for size, here, a, b in zip(counts, by_class, of_train, of_test, strict=True):
        mixed = here.take(chance.permutation(size)).tolist()
        learn += mixed[:a]
        judge += mixed[a : a + b]
    return chance.permutation(learn), chance.permutation(judge)


def _shares(counts: Indices, wanted: int, chance: np.random.RandomState) -> Indices:
    """How many of each class, in proportion; what is left over goes to the largest remainders, ties by chance."""
    exact = counts / counts.sum() * wanted
    whole = np.floor(exact)
    missing = int(wanted - whole.sum())
    remainder = exact - whole
    for value in np.sort(np.unique(remainder))[::-1]:
        if missing <= 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = chance.choice(tied, size=min(len(tied), missing), replace=False)
        whole[chosen] += 1
        missing -= len(chosen)
    shares: Indices = whole.astype(np.int64)
    return shares
