"""Rows, forms, calibration and counts of the learners of photographs, without a worker."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from commonward.adapters.flower.learners.vision import features, form, head, judging, learning, rows
from commonward.adapters.flower.learners.vision.centring import mean_privately, multiplier
from commonward.adapters.flower.learners.vision.form import Form, WrongForm
from commonward.records.model import Model
from commonward.records.privacy import rdp

SIGNS = [[-1, -1, 1, -1], [1, -1, -1, 1], [1, -1, -1, -1], [-1, -1, 1, -1]]


def test_a_form_survives_the_model_that_it_lies_in():
    for made in (Form(), Form("lite2", 128, 64, False, 123_456_000), Form(abstain=0, centred=True, carried=True)):
        weights = Model.from_floats(form.first_weights(made, None)).weights()  # through Q24, as a round's model comes
        assert Form.of_model(weights) == made


def test_the_projection_is_the_same_on_every_machine():
    """Its first signs, and that it keeps lengths on average."""
    matrix = form.signs(128)

    assert matrix.shape == (1280, 128)
    assert (matrix[:4, :4] * np.sqrt(128)).round().int().tolist() == SIGNS
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(50, 1280)))
    lengths = torch.linalg.vector_norm(x @ matrix, dim=1) / torch.linalg.vector_norm(x, dim=1)
    assert float(lengths.mean()) == pytest.approx(1.0, abs=0.05)


def test_inputs_have_the_length_one_whatever_the_picture():
    features = torch.from_numpy(
        np.random.default_rng(1).uniform(0, 6, (4, 1280)) * np.array([[1e-3], [1], [10], [1e4]])
    )
    for made in (Form(), Form(width=32)):
        assert torch.linalg.vector_norm(made.inputs(features), dim=1).tolist() == pytest.approx([1.0] * 4)
    assert torch.isfinite(Form(width=32).inputs(torch.zeros(1, 1280, dtype=torch.float64))).all()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"backbone": "resnet"}, "expected a backbone of lite0"),
        ({"image": 32}, "expected an image of 64 to 512"),
        ({"width": 4}, "expected a width of 8 to 1280"),
        ({"features_norm": 2}, "features_norm, centre and carry of 0 or 1"),
        ({"abstain": 2_000_000_000}, "expected abstain of 0"),
        ({"abstain": 333_333_333}, "in whole thousands"),
        ({"train": "some"}, "train of head or all"),
        ({"carry": 2}, "centre and carry of 0 or 1"),
        ({"train": "all", "carry": 1}, "train = head with carry"),
        ({"train": "all", "centre": 1}, "train = head and features_norm = 1 with a centre"),
        ({"features_norm": 0, "centre": 1}, "train = head and features_norm = 1 with a centre"),
    ],
)
def test_settings_that_no_model_has_are_refused(given, why):
    with pytest.raises(ValueError, match=why):
        Form.of_settings(given)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(WrongForm, match="with a tensor 'form'"):
        Form.of_model({"coefficients": np.zeros(14)})
    with pytest.raises(WrongForm, match=r"head/weight: expected the shape \(4, 64\)"):
        Form.of_model({**form.first_weights(Form(), None), "form": Form(width=64).tensor()})


def test_a_private_centre_costs_at_most_what_the_rounds_steps_are_charged_for():
    for noise, steps in ((1_000_000, 1), (3_333_333, 7), (2_500_000, 40), (9_999_999, 999)):
        once = multiplier(noise, steps)
        for order in (2, 16, 128):
            release = Fraction(order, 2) / (once * once)
            assert release <= Fraction(str(rdp(order, noise, 1_000_000_000))) * steps


def test_a_private_centre_is_near_the_mean_and_never_twice_the_same():
    x = torch.nn.functional.normalize(
        torch.ones(400, 16) + torch.randn(400, 16, generator=torch.Generator().manual_seed(1))
    )
    given = {"noise": 1_000_000, "steps": 4}
    one, other = (mean_privately(x.double().numpy(), given) for _ in range(2))

    assert not (one == other).any()
    assert one == pytest.approx(x.double().numpy().mean(axis=0), abs=7 * 0.5 / 400)
    assert float(
        Form(centred=True, width=16)
        .inputs(torch.rand(3, 1280, dtype=torch.float64), torch.from_numpy(one))
        .norm(dim=1)[0]
    ) == pytest.approx(1.0)


def test_rows_kept_for_the_temperature_are_chosen_by_the_file_alone():
    files = tuple(bytes([at]) * 9 for at in range(200))
    all_rows = rows.Photographs(files, np.zeros(200, np.int64))
    learnt, kept = all_rows.held_back(100)

    assert len(learnt) + len(kept) == 200 and 8 <= len(kept) <= 35
    again = all_rows.take(np.arange(199, -1, -1)).held_back(100)[1]
    assert set(again.files) == set(kept.files)
    assert len(all_rows.held_back(0)[1]) == 0


def test_the_temperature_that_is_found_is_the_one_that_was_put_in():
    chance = np.random.default_rng(4)
    logits = chance.normal(0, 2, (3000, 4))
    truth = np.array([chance.choice(4, p=each) for each in judging.probabilities(logits)])

    assert np.exp(judging.fitted_temperature(logits * 3, truth)) == pytest.approx(3.0, rel=0.12)
    assert judging.fitted_temperature(logits[:0], truth[:0]) == 0.0
    # Two rows cannot drive it to the end of the scale.
    assert abs(judging.fitted_temperature(logits[:2] * 3, truth[:2])) < 1.0


def test_an_absurd_temperature_from_one_site_breaks_no_probability():
    logits = np.array([[200.0, -200.0, 0.0, 1.0]])
    for absurd in (-256.0, 256.0):
        found = judging.probabilities(logits, absurd)
        assert np.isfinite(found).all() and found.sum() == pytest.approx(1.0)


def test_counts_hold_what_was_judged():
    chances = np.array([[0.7, 0.1, 0.1, 0.1], [0.3, 0.4, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    found = judging.counts(chances, np.array([0, 2, 3]), rows=5, least=0.5)

    assert found["rows"].tolist() == [5] and found["refused_quality"].tolist() == [2]
    assert found["abstained"].tolist() == [1, 2]
    assert found["confusion"][0, 0] == found["confusion"][2, 1] == found["confusion"][3, 0] == 1
    assert found["confusion_kept"].sum() == found["confusion_kept"][0, 0] == 1
    assert found["confidence"][1].sum() == 1 and found["confidence"][0].sum() == 2
    assert found["histogram_viral"][1, int(0.2 * 64)] == 1
    brier = 0.3**2 + 3 * 0.1**2 + 0.3**2 + 0.4**2 + 0.8**2 + 0.1**2 + 3 * 0.25**2 + 0.75**2
    assert found["squared_error"][0] / (1 << 24) == pytest.approx(brier, abs=1e-6)


def test_no_row_to_judge_counts_nothing():
    found = judging.counts(np.zeros((0, 4)), np.zeros(0, np.int64), rows=2, least=0.5)

    assert found["refused_quality"].tolist() == [2] and not found["confusion"].any()


def some_rows(count: int) -> rows.Photographs:
    """Files that nobody opens, of which the backbone's answer is known."""
    chance = np.random.default_rng(6)
    files = tuple(bytes([at]) * 7 for at in range(count))
    features.remember(files, chance.random((count, 1280), np.float32))
    return rows.Photographs(files, chance.integers(0, 4, count))


def test_a_carried_step_goes_on_where_the_round_before_stopped():
    """At one site two rounds of three steps are one of six; without it momentum would begin anew."""
    mine = some_rows(20)
    for carry, equal in ((1, True), (0, False)):
        given = {"carry": carry, "steps": 3, "calibration": 0, "learning_rate": 10**9, "momentum": 900_000_000}
        twice = learning.first(given)
        for number in (1, 2):
            twice = learning.train(twice, given, number, mine)
        once = learning.train(learning.first(given), {**given, "steps": 6}, 1, mine)

        assert np.abs(once["head/weight"]).max() > 0.01
        assert np.allclose(twice["head/weight"], once["head/weight"], atol=1e-9) is equal
        assert ("momentum/weight" in once) is equal


def test_a_private_round_carries_a_step_that_is_made_of_noisy_sums():
    mine = some_rows(20)
    given = {"carry": 1, "steps": 2, "noise": 1_000_000, "momentum": 900_000_000, "learning_rate": 10**9}
    first = learning.first(given)
    one, other = (learning.train(first, given, 1, mine) for _ in range(2))

    for name in ("momentum/weight", "momentum/bias"):
        assert one[name].any() and not np.array_equal(one[name], other[name])
    assert learning.train(one, given, 2, mine)["head/weight"].any()
    with pytest.raises(ValueError, match="momentum above 0 with carry"):
        learning.constants({"carry": 1, "momentum": 0})
    with pytest.raises(WrongForm, match="as the study's settings say"):
        learning.train(one, {**given, "carry": 0}, 2, mine)


def test_a_rate_that_falls_is_whole_in_the_first_round_that_learns_and_smallest_in_the_last():
    given = learning.constants({"learning_rate": 6 * 10**9, "fall": 3})

    assert [learning.fallen(given, number) for number in (1, 2, 3, 4, 900)] == [6 * 10**9, 4 * 10**9, *[2 * 10**9] * 3]
    assert learning.fallen(learning.constants({"fall": 0}), 900) == learning.DEFAULTS["learning_rate"]
    assert learning.fallen(learning.constants({"learning_rate": 1, "fall": 5}), 5) == 1, "a step is never none"
    with pytest.raises(ValueError, match="at most 100000 rounds"):
        learning.constants({"fall": 100_001})


@pytest.mark.parametrize("centre", [0, 1])
def test_a_rounds_steps_are_as_long_as_its_rate_has_fallen(centre):
    mine = some_rows(20)
    given = {"centre": centre, "steps": 1, "calibration": 0, "learning_rate": 4 * 10**9, "momentum": 0, "ridge": 0}
    start = learning.first(given)
    if centre:
        start = learning.train(start, given | {"fall": 4}, 1, mine)
    for number, rate in ((1, 4), (3, 2), (4, 1), (5, 1)):
        falls = learning.train(start, given | {"fall": 4}, number + centre, mine)
        plain = learning.train(start, given | {"learning_rate": rate * 10**9}, number + centre, mine)
        assert plain["head/weight"].any()
        assert np.array_equal(falls["head/weight"], plain["head/weight"])


def test_pulls_draw_weights_back_but_not_the_bias():
    network = head.head_of(form.first_weights(Form(width=8), None))
    given = {"mu": 500_000_000, "ridge": 100_000_000}
    pulls = head.Pulls(network, given)
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.bias.fill_(2.0)
    for each in network.parameters():
        each.grad = torch.zeros_like(each)
    pulls.add()

    assert network.weight.grad is not None and network.weight.grad[0, 0].item() == pytest.approx(0.5 * 2 + 0.1 * 2)
    assert network.bias.grad is not None and network.bias.grad[0].item() == pytest.approx(0.5 * 2)


def test_a_charge_and_what_is_done_agree_on_who_takes_part():
    """The ledger charges for `rate`: the learner must know the word, or a study could pay for less than it spends."""
    assert learning.constants({"rate": 10_000_000, "noise": 1_000_000})["rate"] == 10_000_000
    with pytest.raises(ValueError, match="expected a rate of 1"):
        learning.constants({"rate": 0})
