"""An update is bound to its place and within its bounds, or it is refused at the door."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.encoding import decode, encode
from commonward.records.model import ONE, DType, ModelError, Tensor
from commonward.records.updates import Kind, Update, UpdateError, delta_tensors, quantise, sum_tensors

BASE = bytes(range(32))


def _update(**changed: Any) -> Update:
    tensors = delta_tensors({"w": np.array([[0.5, -0.25]]), "b": np.array([1.0])})
    return replace(Update(b"s" * 16, 2, 1, "north", BASE, Kind.DELTA, 120, tensors), **changed)


def _sum() -> Update:
    return _update(kind=Kind.SUM, rows=1, tensors=sum_tensors({"confusion": np.array([[5, 1], [2, 8]])}))


@pytest.mark.parametrize("update", [_update(), _sum()], ids=["delta", "sum"])
def test_an_update_comes_back_from_its_bytes(update: Update) -> None:
    assert Update.parse(update.to_bytes()) == update


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-(1 << 32), 1 << 32), min_size=1, max_size=20),
    st.integers(1, (1 << 30) - 1),
    st.integers(1, 1000),
)
def test_any_update_within_its_bounds_comes_back(values: list[int], rows: int, number: int) -> None:
    update = _update(rows=rows, round=number, tensors=(Tensor.of("w", DType.Q24, np.array(values, np.int64)),))
    assert Update.parse(update.to_bytes()) == update
    assert len({update.digest, replace(update, round=number + 1).digest, replace(update, site="south").digest}) == 3


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_update_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(UpdateError):
        Update.parse(data)


def test_a_change_is_counted_in_units_of_2_to_the_minus_24_and_ties_go_to_even() -> None:
    change = np.array([1.0, 0.5 / ONE, 1.5 / ONE, -1.5 / ONE, 256.0, -256.0], np.float64)
    assert quantise("w", change).tolist() == [ONE, 0, 2, -2, 1 << 32, -(1 << 32)]
    assert quantise("w", np.array([0.1], np.float32)).tolist() == [round(float(np.float32(0.1)) * ONE)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [(np.nan, "finite"), (np.inf, "finite"), (-np.inf, "finite"), (256.001, "exploded"), (-1e300, "exploded")],
)
def test_nan_infinite_and_exploding_changes_never_leave_a_site(bad: float, said: str) -> None:
    with pytest.raises(UpdateError, match=f"w: .*{said}"):
        delta_tensors({"w": np.array([0.0, bad])})


@pytest.mark.parametrize("array", [np.array([1, 2]), np.array(["x"]), np.array([None]), np.array([1 + 2j])])
def test_only_floats_are_changes(array: Any) -> None:
    with pytest.raises(UpdateError, match="floats"):
        quantise("w", array)


def test_an_exploding_update_from_a_false_site_is_refused_though_it_is_well_formed() -> None:
    tensors = (Tensor.of("w", DType.Q24, np.array([(1 << 32) + 1])),)
    forged = _told(_update(), tensors=[each.to_value() for each in tensors])
    with pytest.raises(UpdateError, match="at most 256"):
        Update.parse(forged)
    with pytest.raises(UpdateError, match="below 2\\^62"):
        replace(_sum(), tensors=sum_tensors({"n": np.array([1 << 62])}))


def _told(update: Update, **changed: Any) -> bytes:
    """The update's bytes with parts replaced, as a false site may write them."""
    names = ["label", "study", "round", "attempt", "site", "base", "kind", "rows", "tensors"]
    value = decode(update.to_bytes())
    assert isinstance(value, list)
    return encode([changed.get(name, each) for name, each in zip(names, value, strict=True)])


FORGED: dict[str, dict[str, Any]] = {
    "no rows": {"rows": 0},
    "fewer than none": {"rows": -5},
    "2^30 rows": {"rows": 1 << 30},
    "more rows than an int64 holds": {"rows": (1 << 64) - 1},
    "another label": {"label": "commonward update v2"},
    "another kind": {"kind": "gradient"},
    "a sum of changes": {"kind": "sum", "rows": 1},
    "no tensors": {"tensors": []},
    "tensors out of order": {"tensors": [["w", "q24", [1], bytes(8)], ["b", "q24", [1], bytes(8)]]},
    "a tensor twice": {"tensors": [["w", "q24", [1], bytes(8)], ["w", "q24", [1], bytes(8)]]},
    "floats": {"tensors": [["w", "f64", [1], bytes(8)]]},
    "floats as state": {"tensors": [["optimiser/w", "f64", [1], bytes(8)]]},
    "an unknown dtype": {"tensors": [["w", "f32", [2], bytes(8)]]},
    "too few bytes": {"tensors": [["w", "q24", [2], bytes(8)]]},
    "too many bytes": {"tensors": [["w", "q24", [1], bytes(16)]]},
    "a shape of bytes": {"tensors": [["w", "q24", [b"1"], bytes(8)]]},
    "a tensor without a shape": {"tensors": [["w", "q24", bytes(8)]]},
    "a short study": {"study": b"s" * 15},
    "a short base": {"base": b"b" * 31},
    "round nought": {"round": 0},
    "attempt nought": {"attempt": 0},
    "no site": {"site": ""},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_update_is_refused(name: str) -> None:
    assert Update.parse(_told(_update())) == _update()
    with pytest.raises(UpdateError):
        Update.parse(_told(_update(), **FORGED[name]))


def test_a_pickle_is_not_an_update(tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "sprung").touch, ()

    with pytest.raises(UpdateError):
        Update.parse(pickle.dumps(Bomb()))
    assert not (tmp_path / "sprung").exists()


def test_bytes_after_the_update_are_refused() -> None:
    with pytest.raises(UpdateError):
        Update.parse(_update().to_bytes() + b"\0")


def test_a_sum_counts_once() -> None:
    with pytest.raises(UpdateError, match="1 as the rows of a sum"):
        replace(_sum(), rows=2)


def test_sums_are_int64_and_nothing_else() -> None:
    with pytest.raises(ModelError):
        sum_tensors({"n": np.array([1.0])})
