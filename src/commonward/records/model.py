"""A model at rest: named tensors of integers, and one digest that says exactly which model it is.

Weights rest as Q24: an int64 that counts units of 2^-24, so that adding and dividing them gives the same bytes on
every machine. A server optimiser's state rests as the bit patterns of binary64, because Q24 would round the second
moment of FedAdam to zero. Sums and counts are plain int64. A model's digest covers the sorted (name, dtype, shape,
little-endian bytes) and not the file they came in: a file may be written in several ways, a model is one.

Left to others: files (`model_file`), what a site sends (`updates`), what becomes of it (`aggregation`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from commonward.ledger.encoding import Digest, Value, digest, encode

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Names and shapes of the tensors that something must have."""

FRACTION_BITS: Final = 24
ONE: Final = 1 << FRACTION_BITS
"""1.0 in Q24."""

WEIGHT_LIMIT: Final = 1 << 28
"""A weight is at most this far from zero. In Q24 that is 2^52, so every weight is a binary64 exactly."""

STATE_PREFIX: Final = "optimiser/"
"""Names that begin so are a server optimiser's: no learner reads them, and no site sends them."""

MODEL_LABEL: Final = "commonward model v1"
STATE_LABEL: Final = "commonward optimiser state v1"
MAX_TENSORS: Final = 10_000
MAX_DIMENSIONS: Final = 8
MAX_BYTES: Final = 1 << 32
"""Of all tensors together: 4 GiB, half a milliard weights."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")


class ModelError(ValueError):
    """A tensor or a model that breaks a rule of this module: which one, and what was got instead."""


class DType(StrEnum):
    """What the eight bytes of an element are. The names are part of the digest."""

    Q24 = "q24"
    """int64, in units of 2^-24."""
    F64 = "f64"
    """binary64 (IEEE 754), every bit of it: a server optimiser's state alone."""
    I64 = "i64"
    """int64 as it is: sums and counts."""


_STORED: Final[dict[DType, str]] = {DType.Q24: "<i8", DType.F64: "<f8", DType.I64: "<i8"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named array.

    Attributes:
        name: 1 to 200 characters: letters, digits, `_`, `.`, `/`, `-`, the first a letter, a digit or `_`.
        dtype: what an element is.
        shape: up to 8 dimensions of at least 1; `()` is one number.
        data: its elements, 8 bytes each, little-endian, in C order.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ModelError(f"expected a name of 1 to 200 of A-Z a-z 0-9 _ . / -, got {self.name!r:.60}")
        if len(self.shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 1 for n in self.shape):
            raise ModelError(f"{self.name}: expected up to {MAX_DIMENSIONS} dimensions of at least 1, got {self.shape}")
        if type(self.data) is not bytes or len(self.data) != 8 * prod(self.shape):
            raise ModelError(
                f"{self.name}: expected {8 * prod(self.shape)} bytes for {self.shape}, got {len(self.data)}"
            )
        if (self.dtype is DType.F64) is not self.name.startswith(STATE_PREFIX):
            raise ModelError(
                f"{self.name}: expected f64 under {STATE_PREFIX!r} and nowhere else, got {self.dtype.value}"
            )
        if self.dtype is DType.F64 and not np.isfinite(self.floats).all():
            raise ModelError(f"{self.name}: expected finite numbers, got NaN or infinity")
        if self.dtype is DType.Q24 and exceeds(self.integers, WEIGHT_LIMIT << FRACTION_BITS):
            raise ModelError(f"{self.name}: expected weights of at most {WEIGHT_LIMIT}, got a larger one: it exploded")

    @classmethod
    def of(cls, name: str, dtype: DType, array: npt.NDArray[Any]) -> "Tensor":
        """From an array of int64 (q24, i64) or float64 (f64). Raises ModelError for other types: nothing is cast."""
        wanted = np.dtype(np.float64 if dtype is DType.F64 else np.int64)
        if array.dtype != wanted:
            raise ModelError(f"{name}: expected an array of {wanted} for {dtype.value}, got one of {array.dtype}")
        return cls(name, dtype, array.shape, array.astype(_STORED[dtype], copy=False).tobytes())

    @property
    def integers(self) -> Integers:
        """The elements in their shape, read-only, without a copy. Raises ModelError for f64."""
        if self.dtype is DType.F64:
            raise ModelError(f"{self.name}: expected integers, got f64")
        return np.frombuffer(self.data, _STORED[self.dtype]).reshape(self.shape)

    @property
    def floats(self) -> Floats:
        """The numbers meant: q24 times 2^-24, which is exact; f64 as it is. Raises ModelError for i64."""
        if self.dtype is DType.F64:
            return np.frombuffer(self.data, "<f8").reshape(self.shape)
        if self.dtype is DType.Q24:
            return from_q24(self.integers)
        raise ModelError(f"{self.name}: expected q24 or f64, got i64, whose scale the study declares")

    @property
    def size(self) -> int:
        """How many elements."""
        return prod(self.shape)

    def to_value(self) -> tuple[str, str, tuple[int, ...], bytes]:
        """What is encoded: name, dtype, shape, bytes."""
        return (self.name, self.dtype.value, self.shape, self.data)

    @classmethod
    def from_value(cls, value: Value) -> "Tensor":
        """Raises ModelError."""
        match value:
            case [str() as name, str() as dtype, list() as shape, bytes() as data]:
                try:
                    return cls(name, DType(dtype), tuple(n if isinstance(n, int) else -1 for n in shape), data)
                except ModelError:
                    raise
                except ValueError as cause:
                    raise ModelError(f"{name!r:.60}: expected q24, f64 or i64, got {dtype!r:.20}") from cause
        raise ModelError("expected [name, dtype, shape, bytes]")


@dataclass(frozen=True)
class Model:
    """Tensors in the order of their names, each name once. Empty only as the base of a study that only counts.

    What follows from the tensors is worked out once: millions of weights take a tenth of a second each time.
    """

    tensors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        check_sorted(self.tensors)

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> "Model":
        """Sorts them. Raises ModelError."""
        return cls(tuple(sorted(tensors, key=lambda each: each.name)))

    @classmethod
    def from_floats(cls, weights: Mapping[str, npt.NDArray[Any]]) -> "Model":
        """Weights (any float dtype, in their shapes) as Q24. Raises ModelError: NaN, infinity, above 2^28."""
        return cls.of(Tensor.of(name, DType.Q24, to_q24(name, array, WEIGHT_LIMIT)) for name, array in weights.items())

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __getitem__(self, name: str) -> Tensor:
        """Raises KeyError."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(f"no tensor {name!r}; there are: {', '.join(each.name for each in self.tensors[:20])}")

    def weights(self) -> dict[str, Floats]:
        """What a learner starts from: every q24 tensor as float64, without the optimiser's state."""
        return {each.name: each.floats for each in self.tensors if each.dtype is DType.Q24}

    @cached_property
    def digest(self) -> Digest:
        """digest("commonward model v1", encode([[name, dtype, shape, bytes], ...])): this model and no other.

        Without the server optimiser's state, which no user of the model has: that is `state_digest`.
        """
        return digest(MODEL_LABEL, encode([each.to_value() for each in self.artefact().tensors]))

    @cached_property
    def state_digest(self) -> Digest:
        """digest("commonward optimiser state v1", ...) of the tensors that `digest` leaves out; also of none."""
        held = [each.to_value() for each in self.tensors if each.name.startswith(STATE_PREFIX)]
        return digest(STATE_LABEL, encode(held))

    def artefact(self) -> "Model":
        """The model without the optimiser's state: what a study publishes. Itself, where there is none."""
        shown = tuple(each for each in self.tensors if not each.name.startswith(STATE_PREFIX))
        return self if len(shown) == len(self.tensors) else Model(shown)


def check_sorted(tensors: tuple[Tensor, ...]) -> None:
    """Raises ModelError: names not ascending or one twice, too many tensors, more than 4 GiB."""
    if len(tensors) > MAX_TENSORS or sum(len(each.data) for each in tensors) > MAX_BYTES:
        raise ModelError(f"expected at most {MAX_TENSORS} tensors and {MAX_BYTES} bytes, got {len(tensors)} tensors")
    for one, next_one in pairwise(tensors):
        if one.name >= next_one.name:
            raise ModelError(f"expected names in ascending order, each once, got {one.name!r} before {next_one.name!r}")


def shapes_of(tensors: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes."""
    return {each.name: each.shape for each in tensors}


def exceeds(array: Integers, limit: int) -> bool:
    """Whether an element is further from zero than `limit`. (abs would wrap at -2^63.)"""
    return bool(array.size) and (int(array.max()) > limit or int(array.min()) < -limit)


def from_q24(array: Integers) -> Floats:
    """array * 2^-24 as float64: exact for |array| <= 2^53."""
    return np.multiply(array.astype(np.float64), 1.0 / ONE)


def to_q24(name: str, array: npt.NDArray[Any], limit: int) -> Integers:
    """rint(float64(array) * 2^24), ties to even.

    Raises:
        ModelError: not an array of floats; NaN or infinity; an element further from zero than `limit`.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ModelError(f"{name}: expected an array of floats, got {getattr(array, 'dtype', type(array).__name__)}")
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ModelError(f"{name}: expected finite numbers, got NaN or infinity")
    if wide.size and (float(wide.max()) > limit or float(wide.min()) < -limit):
        raise ModelError(f"{name}: expected numbers of at most {limit} from zero, got a larger one: it exploded")
    return np.rint(np.multiply(wide, float(ONE))).astype(np.int64)


EMPTY_MODEL: Final = Model(())
"""The base of a study that only sums."""
