"""A private round: one patient's part is bounded, and the noise is the system's, whatever PyTorch is told."""

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn import functional

from commonward.adapters.flower.learners.vision import head as heads
from commonward.adapters.flower.learners.vision import private
from commonward.adapters.flower.learners.vision.form import STEPS
from commonward.adapters.flower.learners.vision.private import WHOLE, Inputs, NotPrivate, descend_privately, drawn

pytestmark = pytest.mark.filterwarnings(
    "ignore:Full backward hook:UserWarning"
)  # Opacus's own, of inputs without gradients

GIVEN = {
    "learning_rate": 1_000_000_000,
    "momentum": 0,
    "steps": 1,
    "mu": 0,
    "ridge": 0,
    "clip": 500_000_000,
    "noise": 2_000_000,
    "rate": 1_000_000_000,
}


def head(width: int = 6) -> nn.Linear:
    made = nn.Linear(width, 4, dtype=torch.float64)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def rows(count: int = 5, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(2)
    return chance.normal(0, 3, (count, width)), chance.integers(0, 4, count)


def stepped(network: nn.Linear) -> np.ndarray:
    return np.concatenate([each.detach().numpy().ravel() for each in network.parameters()])


def test_no_seed_of_pytorch_or_numpy_reaches_the_noise():
    """Seeded noise could be drawn again by whoever learns the seed, and taken off."""
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        np.random.seed(7)
        network = head()
        descend_privately(network, *rows(), GIVEN)
        made.append(stepped(network))

    assert not (made[0] == made[1]).any()


def test_the_noise_is_as_wide_as_declared():
    """28 numbers in each of 40 draws: 2 x the clip of 0.5, over 5 rows, is a deviation of 0.2."""
    x, y = rows()
    quiet = head()  # a clip of 10^-6 lets next to nothing of the rows through, nor needs noise
    descend_privately(quiet, x, y, {**GIVEN, "noise": 100_000, "clip": 1_000})
    assert np.abs(stepped(quiet)).max() < 1e-5

    draws = []
    for _ in range(40):
        network = head()
        descend_privately(network, np.zeros_like(x), y, GIVEN)
        draws.append(network.weight.detach().numpy().ravel())  # the rows are zero, so the weights' step is noise alone
    noise = np.concatenate(draws)
    assert len(noise) == 960
    assert float(noise.std()) == pytest.approx(0.2, rel=0.12)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.03)


def matrix(network: nn.Linear) -> np.ndarray:
    return np.concatenate([network.weight.detach().numpy(), network.bias.detach().numpy()[:, None]], axis=1)


def test_one_patient_moves_the_sum_by_at_most_the_clip():
    """Clipped over weight and bias together, in whole units: also for a picture of absurd features."""
    chance = np.random.default_rng(3)
    for scale in (1e-6, 1.0, 1e9):
        for clip in (1e-6, 0.05, 0.5, 3.0):
            x, y = rows(1)
            part = Inputs(x * scale).clipped_sum(chance.normal(0, 1 / scale, (4, 7)), y, np.array([0]), clip)

            assert part.dtype == np.int64 and part.shape == (4, 7)
            assert int((part.astype(object) ** 2).sum()) <= WHOLE**2


def test_patients_parts_add_up_without_rounding():
    """The sum of all is the sum of each by itself: none is hidden in another's rounding, whatever the order."""
    x, y = rows(40, 30)
    w = np.random.default_rng(3).normal(0, 1, (4, 31))
    patients = Inputs(x)
    whole = patients.clipped_sum(w, y, np.arange(40), 0.5)
    parts = [patients.clipped_sum(w, y, np.array([at]), 0.5) for at in range(40)]

    assert np.array_equal(whole, np.sum(parts, axis=0))
    assert np.array_equal(whole, patients.clipped_sum(w, y, np.arange(39, -1, -1), 0.5))


@pytest.mark.parametrize("clip", [0.01, 0.5, 2.0])
def test_the_clipped_sum_is_what_opacus_clips_to(clip):
    """Beside the original, on the same rows and head: equal up to the grid. A clip of 2 cuts nobody."""
    chance = np.random.default_rng(5)
    x = chance.normal(0, 1, (60, 200))
    x, y = x / np.linalg.norm(x, axis=1, keepdims=True), chance.integers(0, 4, 60)
    network = head(200)
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(chance.normal(0, 3, (4, 200))))
        network.bias.copy_(torch.from_numpy(chance.normal(0, 1, 4)))
    ours = Inputs(x).clipped_sum(matrix(network), y, np.arange(60), clip) * (clip / WHOLE)

    sampled = GradSampleModule(network, loss_reduction="sum")
    plain = torch.optim.SGD(sampled.parameters(), lr=1.0)
    optimiser = DPOptimizer(plain, noise_multiplier=2.0, max_grad_norm=clip, expected_batch_size=60)
    functional.cross_entropy(sampled(torch.from_numpy(x)), torch.from_numpy(y), reduction="sum").backward()
    optimiser.clip_and_accumulate()
    weight, bias = (each.summed_grad.numpy() for each in optimiser.params)
    theirs = np.concatenate([weight, bias[:, None]], axis=1)

    assert np.linalg.norm(theirs) > 0
    assert np.linalg.norm(ours - theirs) < 0.005 * np.linalg.norm(theirs)
    # Each of 60 patients is rounded by less than a unit of either factor, towards zero.
    assert np.abs(ours - theirs).max() < 60 * 2 / private.FINE * clip


def test_more_rows_than_can_be_added_without_rounding_are_refused():
    x, y = rows()
    with pytest.raises(NotPrivate, match=r"fewer than 2\^29 rows"):
        Inputs(x).clipped_sum(np.zeros((4, 7)), y, np.broadcast_to(np.int64(0), (1 << 29,)), 0.5)


def test_without_noise_to_speak_of_a_private_round_is_a_plain_one():
    """Momentum, ridge, FedProx's pull and a step carried from the round before, as PyTorch takes them."""
    chance = np.random.default_rng(5)
    x, y = chance.normal(0, 0.2, (50, 30)), chance.integers(0, 4, 50)
    given = {
        **GIVEN,
        "clip": 4 * 10**9,
        "noise": 1,
        "steps": 7,
        "momentum": 800_000_000,
        "ridge": 10**7,
        "mu": 10**7,
        "seed": 0,
        "batch": 0,
    }
    before = chance.normal(0, 0.01, (4, 31))
    ours, plain = head(30), head(30)
    last = descend_privately(ours, x, y, given, before)
    ready = torch.from_numpy(x)
    carried = dict(zip(STEPS.values(), (before[:, :-1], before[:, -1]), strict=True))
    theirs = heads.descend(plain, lambda places: ready[places], y, given, 1, carried)

    assert np.abs(matrix(plain)).max() > 0.1
    assert matrix(ours) == pytest.approx(matrix(plain), abs=0.01)
    assert last == pytest.approx(
        np.concatenate([theirs[STEPS[each]].reshape(4, -1) for each in STEPS], axis=1), abs=0.005
    )


def test_all_but_a_linear_head_is_refused_where_noise_is_set():
    """BatchNorm would put every patient of a batch into each one's gradient, and their means into the model."""
    x, y = rows()
    for network in (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).train(), nn.Linear(6, 4, bias=False)):
        with pytest.raises(NotPrivate, match="expected a linear head with a bias where noise is set"):
            descend_privately(network, x, y, GIVEN)


def test_who_is_in_a_step_is_drawn_by_each_for_itself():
    assert drawn(5, 1_000_000_000).tolist() == [0, 1, 2, 3, 4]
    assert drawn(3, 500_000_000, lambda count: b"\x00" * 8 + b"\x7f" + b"\xff" * 7 + b"\x80" + bytes(7)).tolist() == [
        0,
        1,
    ]
    assert 300 < len(drawn(4000, 100_000_000)) < 500


def test_a_step_for_which_nobody_is_drawn_is_noise_alone():
    network = head()
    descend_privately(network, *rows(1), {**GIVEN, "rate": 1})

    assert stepped(network).any()


def test_gradients_that_are_not_finite_stop_the_round():
    x, y = rows()
    x[0, 0] = np.inf
    with pytest.raises(NotPrivate, match="expected finite gradients"):
        descend_privately(head(), x, y, GIVEN)
