"""Model files are safetensors, read strictly; nothing that could run code is ever opened."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commonward.records.model import DType, Model, ModelError, Tensor
from commonward.records.model_file import ModelFileError, read_arrays, read_entries, read_model, write_model


def _model() -> Model:
    weights = Model.from_floats({"w": np.arange(6, dtype=np.float64).reshape(2, 3), "b": np.array(0.5)})
    state = Tensor.of("optimiser/m/w", DType.F64, np.full((2, 3), 0.1))
    return Model.of([*weights, state, Tensor.of("seen", DType.I64, np.array([7]))])


def _file(header: dict[str, Any] | bytes, body: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _tensor(start: int, end: int, shape: Any = (1,), dtype: str = "I64") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


class Bomb:
    """Whoever unpickles it makes the file that `path` names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_model_comes_back_from_its_file() -> None:
    assert read_model(write_model(_model())) == _model()


def test_a_header_whose_length_reads_like_a_pickle_is_read_all_the_same() -> None:
    lengths = set()
    for letters in range(1, 180, 4):
        model = Model.of([Tensor.of("n" * letters, DType.I64, np.array([7]))])
        data = write_model(model)
        lengths.add(data[0])
        assert read_model(data) == model
    assert 0x80 in lengths
    poisoned = b"\x80\x05\x95\x00\x00\x00\x00\x00{" + pickle.dumps(1)
    with pytest.raises(ModelFileError, match="header"):
        read_model(poisoned)


def test_the_tensors_begin_at_a_multiple_of_eight_bytes() -> None:
    data = write_model(_model())
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_a_file_spelt_otherwise_holds_the_same_model() -> None:
    data = write_model(_model())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    spelt = json.dumps(dict(reversed(header.items())), indent=2).encode()
    assert read_model(_file(spelt, data[8 + length :])).digest == _model().digest


@pytest.mark.parametrize("kind", ["pickle", "npz", "npy", "torch"])
def test_a_poisoned_pickle_is_never_unpickled(kind: str, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    bomb = np.empty(1, object)
    bomb[0] = Bomb(trap)
    made = io.BytesIO()
    if kind == "pickle":
        made.write(pickle.dumps(Bomb(trap)))
    elif kind == "npy":
        np.save(made, bomb, allow_pickle=True)
    elif kind == "npz":
        np.savez(made, w=bomb, allow_pickle=True)
    else:
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(trap)))
    for read in (read_model, read_arrays):
        with pytest.raises(ModelFileError, match="never opened"):
            read(made.getvalue())
    assert not trap.exists()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "safetensors"),
    "a header beyond the file": ((1 << 40).to_bytes(8, "little") + b"{}", "header"),
    "a header that is no object": (_file(b"[1]"), "JSON object"),
    "a header that is no JSON": (_file(b"{nonsense"), "JSON object"),
    "a header that is no text": (_file(b"{\xff}"), "JSON object"),
    "a header as deep as a well": (_file(b'{"a":' * 50_000), "JSON object"),
    "a name twice": (_file(b'{"a":{},"a":{}}'), "twice"),
    "tensors that overlap": (_file({"a": _tensor(0, 8), "b": _tensor(0, 8)}, bytes(8)), "overlap"),
    "bytes before the first tensor": (_file({"a": _tensor(8, 16)}), "left out"),
    "bytes after the last": (_file({"a": _tensor(0, 8)}), "expected 8 bytes"),
    "bytes beyond the file": (_file({"a": _tensor(0, 24, (3,))}), "expected 24 bytes"),
    "a tensor that ends before it begins": (_file({"a": _tensor(8, 0)}), "data_offsets"),
    "offsets that are no integers": (_file({"a": {**_tensor(0, 8), "data_offsets": [0.0, 8.0]}}), "data_offsets"),
    "offsets that are true and false": (_file({"a": {**_tensor(0, 8), "data_offsets": [False, True]}}), "data_offsets"),
    "something unknown beside them": (_file({"a": {**_tensor(0, 16, (2,)), "run": "me"}}), "data_offsets"),
    "a shape of other bytes": (_file({"a": _tensor(0, 16, (3,))}), "expected 24 bytes"),
    "a shape that wraps around": (_file({"a": _tensor(0, 16, (1 << 61, 1 << 3, 2))}), "bytes for I64"),
    "a shape with a nought": (_file({"a": _tensor(0, 16, (0, 2))}), "dimensions"),
    "a shape of text": (_file({"a": _tensor(0, 16, ("2",))}), "dimensions"),
    "a dtype of Python's": (_file({"a": _tensor(0, 16, (2,), "O")}), "expected one of"),
    "metadata that is no text": (_file({"__metadata__": {"a": 1}, "a": _tensor(0, 16, (2,))}), "text by text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_what_is_wrong(name: str) -> None:
    data, said = HOSTILE[name]
    with pytest.raises(ModelFileError, match=said):
        read_entries(data)


def test_a_file_cut_anywhere_is_refused() -> None:
    data = write_model(_model())
    for end in range(0, len(data), 7):
        with pytest.raises(ModelFileError):
            read_model(data[:end])


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "metadata"),
        ({"format": "pt", "q24": "a", "i64": ""}, "metadata"),
        ({"format": "commonward model v1", "q24": "", "i64": ""}, "expected F64"),
        ({"format": "commonward model v1", "q24": "a other", "i64": ""}, "got none of other"),
    ],
)
def test_a_file_that_does_not_say_what_its_numbers_are_is_no_model(metadata: dict[str, str], said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        read_model(_file({"__metadata__": metadata, "a": _tensor(0, 16, (2,))}))


def test_a_file_cannot_bring_a_model_that_breaks_a_models_rules() -> None:
    huge = np.array([1 << 62], "<i8").tobytes()
    metadata = {"format": "commonward model v1", "q24": "a", "i64": ""}
    with pytest.raises(ModelError, match="exploded"):
        read_model(_file({"__metadata__": metadata, "a": _tensor(0, 8)}, huge))


def test_weights_from_elsewhere_are_read_as_they_are() -> None:
    body = np.array([1.5, -2.0], "<f4").tobytes() + np.array([3], "<f2").tobytes()
    read = read_arrays(_file({"h": _tensor(8, 10, (1,), "F16"), "f": _tensor(0, 8, (2,), "F32")}, body))
    assert read["f"].tolist() == [1.5, -2.0]
    assert read["h"].tolist() == [3.0]
    assert not read["f"].flags.writeable
