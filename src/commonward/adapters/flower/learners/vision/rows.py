"""A site's photographs as a table's rows: files, classes, and the few that a temperature is fitted on."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np

from commonward.records.images.photograph import PATHOGENS, Pixels
from commonward.records.model import Integers
from commonward.records.table import Table

from .judging import usable
from .pictures import pixels_of

PHOTOGRAPH: Final = "photograph"
LABEL: Final = "label"
_THOUSAND: Final = 1000


class RowsRefused(ValueError):
    """Rows that this learner cannot learn from: which, what was expected, what was got."""


@dataclass(frozen=True, slots=True)
class Photographs:
    """Files and their classes, one of each patient.

    Attributes:
        files: JPEG or PNG.
        labels: (n,) places in PATHOGENS.
        digests: SHA-256 of each file, made once: every round asks what is known of each.
    """

    files: tuple[bytes, ...]
    labels: Integers
    digests: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not self.digests:
            object.__setattr__(self, "digests", tuple(sha256(each).digest() for each in self.files))

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, table: Table) -> "Photographs":
        """Of a cohort's table. Raises RowsRefused for a row without picture or class, or another class."""
        files, labels = [], []
        for at, (file, label) in enumerate(zip(table.cells(PHOTOGRAPH), table.cells(LABEL), strict=True)):
            if not isinstance(file, bytes) or label not in PATHOGENS:
                raise RowsRefused(
                    f"row {at}: expected a photograph and a label of {', '.join(PATHOGENS)}, "
                    f"got {type(file).__name__} and {label!r:.40}"
                )
            files.append(file)
            labels.append(PATHOGENS.index(str(label)))
        return cls(tuple(files), np.array(labels, np.int64))

    def take(self, rows: Integers) -> "Photographs":
        """These, in this order."""
        files, digests = (tuple(of[each] for each in rows) for of in (self.files, self.digests))
        return Photographs(files, self.labels[rows], digests)

    def held_back(self, share: int) -> tuple["Photographs", "Photographs"]:
        """Those to learn from and those to fit the temperature on: `share` of a thousand, chosen by each file's digest
        and by nothing else, so that a picture is always on the same side."""
        limit = share * (1 << 32) // _THOUSAND
        back = np.array([int.from_bytes(each[:4], "big") < limit for each in self.digests], bool)
        if back.all():  # too few rows to spare any
            back[:] = False
        return self.take(np.flatnonzero(~back)), self.take(np.flatnonzero(back))


def check_once(train: Photographs, test: Photographs) -> None:
    """One row is one patient: the same file twice is two rows of one, or one patient on both sides of the test.

    Raises RowsRefused. Near copies are looked for where photographs are taken in (docs/keratitis.md).
    """
    digests = (*train.digests, *test.digests)
    if repeated := [each for each, count in Counter(digests).items() if count > 1]:
        places = [at for at, each in enumerate(digests) if each == repeated[0]]
        named = ", ".join(f"train {at}" if at < len(train) else f"test {at - len(train)}" for at in places)
        raise RowsRefused(f"rows {named}: expected one photograph of a patient, got the same file in each")


_gate: dict[bytes, tuple[str, ...]] = {}


def findings(data: bytes, name: str, pixels: Pixels | None = None) -> tuple[str, ...]:
    """Why a file should be photographed again, looked at once. Raises ImageRefused for one that is no picture."""
    key = sha256(data).digest()
    if key not in _gate:
        _gate[key] = usable(pixels_of(data, name) if pixels is None else pixels, name)
    return _gate[key]


def forget() -> None:
    """Of rows that a `load` replaced."""
    _gate.clear()
