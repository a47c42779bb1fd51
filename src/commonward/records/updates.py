"""What one site sends in one round: its change to the model, or its sums, as integers bound to their place.

The bytes name study, round, attempt, site and base model, so that an update can be neither replayed nor swapped. A
`delta` is the change of each weight in Q24 and counts as many times as it has rows; a `sum` is what the study declared
to be added up (confusion counts, histograms, moments), and counts once.

Parsing is the door: bytes that are not one update in our encoding, within its bounds, are refused with the rule they
break. Nothing here opens a pickle or an archive. Who may send what, and when, is the ledger's (`ledger.rounds`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy.typing as npt

from commonward.ledger.encoding import Digest, decode, digest, encode
from commonward.records.model import (
    FRACTION_BITS,
    DType,
    Integers,
    ModelError,
    Tensor,
    check_sorted,
    exceeds,
    to_q24,
)

DELTA_LIMIT: Final = 256
"""No weight changes by more than this in a round. 2^30 rows of it still add up in an int64."""

ROWS_LIMIT: Final = 1 << 30
"""The rows of all sites of a round together are fewer than this."""

SUM_LIMIT: Final = 1 << 62
"""The sums of all sites of a round together are less than this from zero."""

UPDATE_LABEL: Final = "commonward update v1"
STUDY_BYTES: Final = 16
_BASE_BYTES: Final = 32


class UpdateError(ValueError):
    """Bytes that are no update, or an update that breaks a rule: which one, and what was got instead."""


class Kind(StrEnum):
    """What an update's numbers are."""

    DELTA = "delta"
    SUM = "sum"


_DTYPE: Final[dict[Kind, DType]] = {Kind.DELTA: DType.Q24, Kind.SUM: DType.I64}


@dataclass(frozen=True, slots=True)
class Update:
    """One site's part of one attempt at one round.

    Attributes:
        study: 16 bytes.
        round: from 1.
        attempt: from 1.
        site: the member's name.
        base: digest of the model that it was trained from (32 bytes).
        kind: delta or sum.
        rows: 1 to 2^30 - 1 for a delta; 1 for a sum, which has no weight.
        tensors: q24 for a delta, at most 256 from zero; i64 for a sum. In the order of their names.
    """

    study: bytes
    round: int
    attempt: int
    site: str
    base: bytes
    kind: Kind
    rows: int
    tensors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        if len(self.study) != STUDY_BYTES or len(self.base) != _BASE_BYTES:
            raise UpdateError(f"expected a study of 16 and a base of 32 bytes, got {len(self.study)}, {len(self.base)}")
        if self.round < 1 or self.attempt < 1 or not 1 <= len(self.site) <= 32:
            raise UpdateError(f"expected round and attempt from 1 and a member, got {self.round}, {self.attempt}")
        if not 1 <= self.rows < (ROWS_LIMIT if self.kind is Kind.DELTA else 2):
            wanted = "1 to 2^30 - 1 rows" if self.kind is Kind.DELTA else "1 as the rows of a sum"
            raise UpdateError(f"{self.site}: expected {wanted}, got {self.rows}")
        if not self.tensors:
            raise UpdateError(f"{self.site}: expected at least one tensor, got none")
        try:
            check_sorted(self.tensors)
        except ModelError as cause:
            raise UpdateError(f"{self.site}: {cause}") from cause
        limit = DELTA_LIMIT << FRACTION_BITS if self.kind is Kind.DELTA else SUM_LIMIT - 1
        for tensor in self.tensors:
            if tensor.dtype is not _DTYPE[self.kind]:
                raise UpdateError(
                    f"{self.site}: expected {_DTYPE[self.kind].value} in a {self.kind.value}, "
                    f"got {tensor.name} as {tensor.dtype.value}"
                )
            if exceeds(tensor.integers, limit):
                bound = "changes of at most 256" if self.kind is Kind.DELTA else "sums below 2^62"
                raise UpdateError(f"{self.site}: expected {bound}, got a larger one in {tensor.name}: it exploded")

    def to_bytes(self) -> bytes:
        """encode([label, study, round, attempt, site, base, kind, rows, [[name, dtype, shape, bytes], ...]])."""
        place = (self.study, self.round, self.attempt, self.site, self.base)
        return encode((UPDATE_LABEL, *place, self.kind.value, self.rows, [each.to_value() for each in self.tensors]))

    @classmethod
    def parse(cls, data: bytes) -> "Update":
        """Raises UpdateError."""
        try:
            value = decode(data)
        except ValueError as cause:
            raise UpdateError(f"expected an update in our encoding, got {data[:8].hex()}...: {cause}") from cause
        match value:
            case [
                str(label),
                bytes(study),
                int(number),
                int(attempt),
                str(site),
                bytes(base),
                str(kind),
                int(rows),
                list(tensors),
            ] if label == UPDATE_LABEL and kind in set(Kind):
                try:
                    made = tuple(Tensor.from_value(each) for each in tensors)
                except ModelError as cause:
                    raise UpdateError(f"{site!r:.40}: {cause}") from cause
                return cls(study, number, attempt, site, base, Kind(kind), rows, made)
        raise UpdateError(
            f"expected [{UPDATE_LABEL!r}, study, round, attempt, site, base, 'delta' or 'sum', rows, tensors]"
        )

    @property
    def digest(self) -> Digest:
        """Of its bytes. It goes on the ledger only under a salt: see `openings.commit`."""
        return digest(UPDATE_LABEL, self.to_bytes())


def quantise(name: str, array: npt.NDArray[Any]) -> Integers:
    """rint(float64(d) * 2^24) for a change of weights. Raises UpdateError: NaN, infinity, more than 256 from zero."""
    try:
        return to_q24(name, array, DELTA_LIMIT)
    except ModelError as cause:
        raise UpdateError(str(cause)) from cause


def delta_tensors(changes: Mapping[str, npt.NDArray[Any]]) -> tuple[Tensor, ...]:
    """The tensors of a delta: each change (floats, in its shape) by name, quantised and sorted. Raises UpdateError."""
    return tuple(Tensor.of(name, DType.Q24, quantise(name, changes[name])) for name in sorted(changes))


def sum_tensors(sums: Mapping[str, Integers]) -> tuple[Tensor, ...]:
    """The tensors of a sum: int64 by name, sorted. Raises ModelError for another dtype."""
    return tuple(Tensor.of(name, DType.I64, sums[name]) for name in sorted(sums))
