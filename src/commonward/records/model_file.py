"""Model files: safetensors, written in one way and read strictly. Nothing else is ever opened.

The format (github.com/huggingface/safetensors): eight bytes of header length, a JSON header that gives each tensor's
dtype, shape and place, and then nothing but numbers, so that reading runs no code. A pickle, an .npz or a zip of
PyTorch runs code or may: they are named and refused, never opened.

Our files say in their metadata which tensors of I64 are Q24 weights and which are plain integers. The file may differ
in spelling from another of the same model; the model's digest does not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from commonward.records.model import MAX_BYTES, MAX_DIMENSIONS, MAX_TENSORS, DType, Model, ModelError, Tensor

FORMAT: Final = "commonward model v1"
MAX_HEADER: Final = 16 << 20
_LENGTH: Final = 8
_METADATA: Final = "__metadata__"
_FILE_DTYPE: Final[dict[DType, str]] = {DType.Q24: "I64", DType.I64: "I64", DType.F64: "F64"}
_NUMPY: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
}
_OTHERS: Final = {
    b"\x80": "a pickle",
    b"PK\x03\x04": "a zip (.npz, or a PyTorch file, which holds a pickle)",
    b"\x93NUMPY": "a .npy file",
    b"\x89HDF": "an HDF5 file",
}


class ModelFileError(ValueError):
    """Bytes that are no safetensors file, or not one of a model of ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: its dtype in the format's words, its shape, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def write_model(model: Model) -> bytes:
    """The file of a model: header with names in order and no spaces but padding to 8 bytes, then the tensors."""
    named = {kind: " ".join(each.name for each in model if each.dtype is kind) for kind in (DType.I64, DType.Q24)}
    metadata = {"format": FORMAT, DType.I64.value: named[DType.I64], DType.Q24.value: named[DType.Q24]}
    header: dict[str, object] = {_METADATA: metadata}
    at = 0
    for tensor in model:
        place = [at, at + len(tensor.data)]
        header[tensor.name] = {"dtype": _FILE_DTYPE[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        at = place[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(_LENGTH, "little"), text, *(each.data for each in model)))


def read_model(data: bytes) -> Model:
    """The model in a file of ours. Raises ModelFileError; ModelError when its tensors break a model's rules."""
    metadata, entries = read_entries(data)
    if metadata.get("format") != FORMAT or set(metadata) != {"format", "i64", "q24"}:
        raise ModelFileError(
            f"expected metadata with the format {FORMAT!r}, i64 and q24, got {sorted(metadata)!r:.200}"
        )
    kinds = {name: DType(kind) for kind in ("i64", "q24") for name in metadata[kind].split()}
    tensors = []
    for name, entry in entries.items():
        dtype = kinds.pop(name, DType.F64)
        if entry.dtype != _FILE_DTYPE[dtype]:
            raise ModelFileError(f"{name!r:.60}: expected {_FILE_DTYPE[dtype]} for {dtype.value}, got {entry.dtype}")
        tensors.append(Tensor(name, dtype, entry.shape, entry.data))
    if kinds:
        raise ModelFileError(
            f"expected every tensor that the metadata names, got none of {', '.join(sorted(kinds))[:200]}"
        )
    return Model.of(tensors)


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of anyone's safetensors file as a read-only array: for weights that a learner brings along.

    Raises ModelFileError: also for a dtype that numpy lacks (BF16, F8).
    """
    arrays = {}
    for name, entry in read_entries(data)[1].items():
        arrays[name] = np.frombuffer(entry.data, _NUMPY[entry.dtype]).reshape(entry.shape)
    return arrays


def read_entries(data: bytes) -> tuple[dict[str, str], dict[str, Entry]]:
    """The metadata and the tensors of a safetensors file, by name.

    Raises:
        ModelFileError: another kind of file; a header that is too long, not JSON, names something twice or something
            unknown; a tensor whose bytes are not those of its shape; bytes that overlap, are left over or belong to
            no tensor.
    """
    for start, what in _OTHERS.items():
        # A header of 0x80, 0x180, ... bytes begins as a pickle does; its JSON object follows, and runs nothing.
        if data.startswith(start) and data[_LENGTH : _LENGTH + 1] != b"{":
            raise ModelFileError(f"expected a safetensors file, got {what}, which is never opened: convert it first")
    if len(data) < _LENGTH or len(data) > MAX_BYTES + MAX_HEADER:
        raise ModelFileError(f"expected a safetensors file of up to {MAX_BYTES} bytes, got {len(data)}")
    length = int.from_bytes(data[:_LENGTH], "little")
    if length > min(MAX_HEADER, len(data) - _LENGTH):
        raise ModelFileError(
            f"expected a safetensors file, whose header lies within it and {MAX_HEADER} bytes, got one of {length}"
        )
    header = _header(data[_LENGTH : _LENGTH + length])
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise ModelFileError("expected metadata of text by text")
    if len(header) > MAX_TENSORS:
        raise ModelFileError(f"expected at most {MAX_TENSORS} tensors, got {len(header)}")
    body = memoryview(data)[_LENGTH + length :]
    places = sorted((_place(name, value), name) for name, value in header.items())
    entries: dict[str, Entry] = {}
    at = 0
    for (first, end), name in places:
        if first != at:
            raise ModelFileError(
                f"{name!r:.60}: expected to begin at byte {at}, got {first}: bytes overlap or are left out"
            )
        entries[name] = _entry(name, header[name], bytes(body[first:end]))
        at = end
    if at != len(body):
        raise ModelFileError(f"expected {at} bytes of tensors, got {len(body)}")
    return metadata, entries


def _header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise ModelFileError(f"expected a JSON object as the header, got {text[:8]!r}")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as cause:
        raise ModelFileError(f"expected a JSON object as the header: {cause!s:.100}") from cause
    assert isinstance(value, dict)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _place(name: str, value: object) -> tuple[int, int]:
    match value:
        case {"dtype": str(), "shape": list(), "data_offsets": [start, end]} if (
            isinstance(value, Mapping) and len(value) == 3 and type(start) is int and type(end) is int
        ):
            if 0 <= start < end:
                return start, end
    raise ModelFileError(f"{name!r:.60}: expected dtype, shape and data_offsets of at least a byte, got {value!r:.100}")


def _entry(name: str, value: Mapping[str, Any], data: bytes) -> Entry:
    dtype, shape = value["dtype"], tuple(value["shape"])
    if dtype not in _NUMPY:
        raise ModelFileError(f"{name!r:.60}: expected one of {', '.join(_NUMPY)}, got {dtype!r:.20}")
    if len(shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 1 for n in shape):
        raise ModelFileError(
            f"{name!r:.60}: expected up to {MAX_DIMENSIONS} dimensions of at least 1, got {shape!r:.80}"
        )
    wanted = prod(shape) * np.dtype(_NUMPY[dtype]).itemsize
    if len(data) != wanted:
        raise ModelFileError(f"{name!r:.60}: expected {wanted} bytes for {dtype} {shape}, got {len(data)}")
    return Entry(dtype, shape, data)


__all__ = [
    "FORMAT",
    "Entry",
    "ModelError",
    "ModelFileError",
    "read_arrays",
    "read_entries",
    "read_model",
    "write_model",
]
