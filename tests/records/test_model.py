"""A model's digest says exactly which model it is, and what is no model is refused by name."""

import numpy as np
import pytest

from commonward.records.model import EMPTY_MODEL, ONE, DType, Model, ModelError, Tensor, to_q24


def _model() -> Model:
    return Model.from_floats({"weight": np.arange(6, dtype=np.float64).reshape(2, 3), "bias": np.array([0.5, -0.25])})


def _state(value: float = 1e-12) -> Tensor:
    return Tensor.of("optimiser/v/bias", DType.F64, np.array([value, 2.0]))


def test_weights_rest_in_units_of_2_to_the_minus_24_and_come_back_exactly() -> None:
    weights = _model().weights()
    assert weights["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert _model()["bias"].integers.tolist() == [ONE // 2, -ONE // 4]
    assert to_q24("x", np.array([1.5 / ONE, 2.5 / ONE, -0.5 / ONE]), 1).tolist() == [2, 2, 0]  # ties to even


def test_what_a_learner_starts_from_does_not_hold_the_servers_state() -> None:
    model = Model.of([*_model(), _state()])
    assert set(model.weights()) == {"bias", "weight"}
    assert model.artefact() == _model()


def test_the_digest_covers_name_dtype_shape_and_bytes() -> None:
    base = np.arange(6, dtype=np.int64)
    others = [
        Tensor.of("x", DType.Q24, base),
        Tensor.of("y", DType.Q24, base),
        Tensor.of("x", DType.I64, base),
        Tensor.of("x", DType.Q24, base.reshape(2, 3)),
        Tensor.of("x", DType.Q24, base.reshape(3, 2)),
        Tensor.of("x", DType.Q24, base[::-1]),
    ]
    assert len({Model((each,)).digest for each in others} | {EMPTY_MODEL.digest}) == 7


def test_the_order_in_which_tensors_are_given_does_not_matter() -> None:
    assert Model.of(reversed(_model().tensors)).digest == _model().digest
    with pytest.raises(ModelError, match="ascending"):
        Model(tuple(reversed(_model().tensors)))
    with pytest.raises(ModelError, match="each once"):
        Model.of([*_model(), *_model()])


def test_the_servers_state_has_a_digest_of_its_own() -> None:
    one, other = Model.of([*_model(), _state()]), Model.of([*_model(), _state(3e-12)])
    assert one.digest == other.digest == _model().digest
    assert len({one.state_digest, other.state_digest, _model().state_digest}) == 3


def test_a_tiny_second_moment_is_kept_to_the_last_bit() -> None:
    assert _state(2.0**-60 / 3).floats[0] == 2.0**-60 / 3  # Q24 would make it zero, and FedAdam divide by tau alone


def test_a_state_cannot_hide_among_weights_nor_weights_among_the_state() -> None:
    with pytest.raises(ModelError, match="optimiser/"):
        Tensor.of("bias", DType.F64, np.zeros(2))
    with pytest.raises(ModelError, match="nowhere else"):
        Tensor.of("optimiser/bias", DType.Q24, np.zeros(2, np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_model_holds_nan_or_infinity(bad: float) -> None:
    with pytest.raises(ModelError, match="finite"):
        Model.from_floats({"w": np.array([0.0, bad])})
    with pytest.raises(ModelError, match="finite"):
        _state(bad)


def test_an_exploded_weight_is_refused() -> None:
    with pytest.raises(ModelError, match="exploded"):
        Model.from_floats({"w": np.array([2.0**28 + 1])})
    with pytest.raises(ModelError, match="exploded"):
        Tensor.of("w", DType.Q24, np.array([-(1 << 63)], np.int64))  # whose abs() would be negative again


@pytest.mark.parametrize("name", ["", "/x", "a b", "a\n", "ä", "x" * 201, "-x"])
def test_a_name_is_plain_ascii(name: str) -> None:
    with pytest.raises(ModelError, match="name"):
        Tensor(name, DType.Q24, (1,), bytes(8))


@pytest.mark.parametrize("shape", [(0,), (-1,), (2,), (1,) * 9, (True,), (1.0,)])
def test_a_shape_that_is_not_that_of_the_bytes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError):
        Tensor("x", DType.Q24, shape, bytes(8))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint64, object])
def test_nothing_is_cast_to_integers_silently(dtype: type) -> None:
    with pytest.raises(ModelError, match="expected an array of int64"):
        Tensor.of("x", DType.Q24, np.zeros(2).astype(dtype))


def test_a_float_is_not_read_from_plain_integers_nor_integers_from_floats() -> None:
    with pytest.raises(ModelError, match="scale"):
        _ = Tensor.of("n", DType.I64, np.array([1])).floats
    with pytest.raises(ModelError, match="integers"):
        _ = _state().integers
    with pytest.raises(KeyError, match="there are: bias, weight"):
        _ = _model()["heads"]
