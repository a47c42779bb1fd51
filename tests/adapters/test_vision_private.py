"""A private round: one patient's part is bounded, and the noise is the system's, whatever PyTorch is told."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from commonward.adapters.flower.learners.tabular.noise import GRID
from commonward.adapters.flower.learners.vision import private
from commonward.adapters.flower.learners.vision.private import ExactOptimizer, NotPrivate, descend_privately, drawn

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


def test_one_patient_moves_the_sum_by_at_most_the_clip():
    """Clipped over weight and bias together, in whole units: also for a picture of absurd features."""
    for scale in (1e-6, 1.0, 1e9):
        network = head()
        sampled = GradSampleModule(network, loss_reduction="sum")
        plain = torch.optim.SGD(sampled.parameters(), lr=1.0)
        optimiser = ExactOptimizer(plain, multiplier=Fraction(2), clip=0.5, rows=1.0)
        x, y = rows(1)
        private._gradients(sampled, torch.from_numpy(x * scale), torch.from_numpy(y), np.array([0]))
        optimiser.clip_and_accumulate()
        parts = np.concatenate([each.summed_grad.numpy().ravel() for each in optimiser.params])

        assert parts.dtype == np.int64 and parts.any()
        assert int((parts.astype(object) ** 2).sum()) <= (GRID // 2) ** 2


def test_the_clipped_sum_is_what_opacus_clips_to():
    """Beside the original: equal up to the grid and Opacus's 10^-6."""
    x, y = rows()
    sums = []
    for ours in (True, False):
        network = head()
        sampled = GradSampleModule(network, loss_reduction="sum")
        plain = torch.optim.SGD(sampled.parameters(), lr=1.0)
        optimiser = (
            ExactOptimizer(plain, multiplier=Fraction(2), clip=0.5, rows=5.0)
            if ours
            else DPOptimizer(plain, noise_multiplier=2.0, max_grad_norm=0.5, expected_batch_size=5)
        )
        private._gradients(sampled, torch.from_numpy(x), torch.from_numpy(y), np.arange(5))
        optimiser.clip_and_accumulate()
        found = np.concatenate([each.summed_grad.double().numpy().ravel() for each in optimiser.params])
        sums.append(found / GRID if ours else found)

    assert sums[0] == pytest.approx(sums[1], abs=2e-5)


def test_a_network_with_batchnorm_is_refused_where_noise_is_set():
    """It would put every patient of a batch into each one's gradient, and their means into the model."""
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).train()

    with pytest.raises(NotPrivate, match="1: expected no BatchNorm where noise is set"):
        private.check_private(network)
    private.check_private(nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)))
    with pytest.raises(NotPrivate, match="Opacus cannot take"):
        private.check_private(nn.LSTM(4, 4))


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
