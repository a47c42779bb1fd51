"""Five sites, one of which lies: what each attack can do to a model under the default robust rule, and that the plain
mean has no defence, so that a rule that stops defending is seen here.

Logistic regression on rows drawn like the heart task's: 13 features, five hospitals of 90 rows. Full-batch steps, so
that nothing depends on a seed but the rows.
"""

import numpy as np
import pytest

from bench._robust_attacks import ATTACKS, Attack, Changes, Seen
from bench._robust_road import Defence, Run, Site, Training, accuracy, learn, success
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Floats, Model
from commonward.records.rule_parameters import Parameters

WIDTH = 13
ROUNDS = 12
POINT = 0.01
PLAIN = Defence(Rule.FEDAVG, Parameters())
CLIP = Defence(Rule.NORM_CLIP, Parameters())
TRIM = Defence(Rule.TRIMMED_MEAN, Parameters(f=1))
MEDIAN = Defence(Rule.MEDIAN, Parameters(f=1))
KRUM = Defence(Rule.KRUM, Parameters(f=1))
MULTI = Defence(Rule.MULTI_KRUM, Parameters(f=1))
LIAR = "site-3"
FIRST = Model.from_floats({"w": np.zeros(WIDTH + 1)})
TRIGGER = 12
"""The column that carries it, at six deviations."""


def chances(x: Floats, w: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ w, -500, 500))))


def stamped(x: Floats) -> Floats:
    marked = x.copy()
    marked[:, TRIGGER] = 6.0
    return marked


def training(x: Floats, y: Floats) -> Training:
    def one(base: Model) -> Changes:
        start = base["w"].floats
        w = start.copy()
        for _ in range(10):
            w = w - 0.3 * (x.T @ (chances(x, w) - y) / len(y) + 0.01 * w)
        return {"w": w - start}

    return lambda bases, _: [one(base) for base in bases]


def site(name: str, train: tuple[Floats, Floats], test: tuple[Floats, Floats]) -> Site:
    (x, y), (seen, truth) = train, test
    half = len(x) // 2
    poisoned = np.vstack([stamped(x[:half]), x[half:]]), np.concatenate([np.zeros(half), y[half:]])
    ill = seen[truth == 1]
    return Site(
        name,
        len(x),
        training(x, y),
        training(*poisoned),
        lambda model: (int(((chances(seen, model["w"].floats) > 0.5) == truth).sum()), len(truth)),
        lambda model: (int((chances(stamped(ill), model["w"].floats) <= 0.5).sum()), len(ill)),
    )


def sites(unequal: bool = False) -> list[Site]:
    """Five of one population, or of populations with 20 to 80 % ill and features that lie elsewhere."""
    chance = np.random.default_rng(7)
    true = chance.normal(0, 1.0, WIDTH + 1)
    true[TRIGGER], true[-1] = 0.3, 0.0
    made = []
    for at in range(5):
        shift = (at - 2) * 0.4 if unequal else 0.0
        x = np.hstack([chance.normal(0, 1, (1090, WIDTH)) + shift / 4, np.ones((1090, 1))])
        y = (chance.random(len(x)) < chances(x, true + np.eye(WIDTH + 1)[-1] * shift)).astype(np.float64)
        made.append(site(f"site-{at}", (x[:90], y[:90]), (x[90:], y[90:])))
    return made


@pytest.fixture(scope="module")
def equal() -> list[Site]:
    return sites()


@pytest.fixture(scope="module")
def different() -> list[Site]:
    return sites(unequal=True)


def lost(five: list[Site], defence: Defence, attack: Attack) -> float:
    """Accuracy against the honest four by themselves under the plain mean."""
    honest = [each for each in five if each.name != LIAR]
    without, attacked = learn(FIRST, ROUNDS, [Run(honest, PLAIN), Run(five, defence, LIAR, attack)], seed=1)
    return accuracy(without, honest) - accuracy(attacked, honest)


def test_garbage(equal, different) -> None:
    assert lost(equal, CLIP, Attack("garbage")) <= POINT
    assert lost(different, CLIP, Attack("garbage")) <= 3 * POINT
    assert lost(equal, PLAIN, Attack("garbage")) > 0.1


@pytest.mark.parametrize("times", [10, 100, 1000])
def test_a_scaled_update(equal, different, times: int) -> None:
    assert lost(equal, CLIP, Attack("scaled", times)) <= POINT
    assert lost(different, CLIP, Attack("scaled", times)) <= 3 * POINT


@pytest.mark.parametrize("times", [1, 10])
def test_an_update_with_its_sign_turned(equal, different, times: int) -> None:
    assert lost(equal, CLIP, Attack("flipped", times)) <= POINT
    assert lost(different, CLIP, Attack("flipped", times)) <= 3 * POINT
    if times == 10:
        assert lost(equal, PLAIN, Attack("flipped", times)) > 0.3


@pytest.mark.parametrize("z", [1.0, 1.5])
def test_a_stealthy_update(equal, different, z: float) -> None:
    assert lost(equal, CLIP, Attack("stealthy", z)) <= POINT
    assert lost(different, CLIP, Attack("stealthy", z)) <= 3 * POINT


@pytest.mark.parametrize("times", [1, 5])
def test_a_backdoored_update(equal, times: int) -> None:
    attack = Attack("backdoored", times)
    assert lost(equal, CLIP, attack) <= POINT
    honest = [each for each in equal if each.name != LIAR]
    runs = [Run(honest, PLAIN), *(Run(equal, each, LIAR, attack) for each in (PLAIN, CLIP, MEDIAN))]
    without, plain, clipped, middle = (success(each, honest) for each in learn(FIRST, ROUNDS, runs))
    # The median lets none of it through: the trigger works as often as where nobody lies. Norm-clip lets through what
    # one site of five weighs, however much it is scaled.
    assert middle <= without + 0.01
    assert middle < clipped < 0.4 < plain


@pytest.mark.parametrize(("rule", "price"), [(TRIM, 1), (MEDIAN, 1), (KRUM, 2.5), (MULTI, 2.5)])
def test_the_other_robust_rules_hold_too_and_krum_pays_for_hearing_few(equal, rule: Defence, price: float) -> None:
    for attack in ATTACKS:
        assert lost(equal, rule, attack) <= price * POINT, attack.name


def test_without_a_liar_the_rule_costs_little(equal, different) -> None:
    for five in (equal, different):
        plain, clipped = (accuracy(each, five) for each in learn(FIRST, ROUNDS, [Run(five, PLAIN), Run(five, CLIP)]))
        assert plain - clipped <= POINT


def test_an_attack_stays_within_what_an_update_may_hold() -> None:
    """Else its bytes would be refused, and the attack would be none."""
    change = {"w": np.linspace(-3, 3, 9)}
    for attack in ATTACKS:
        seen = Seen(change, [change, {"w": 2 * change["w"]}], change, np.random.default_rng(1))
        assert np.abs(attack.forge(seen)["w"]).max() <= 255


def test_stealth_hides_within_the_spread_of_the_honest() -> None:
    chance = np.random.default_rng(4)
    honest = [{"w": np.ones(50) + chance.normal(0, 0.1, 50)} for _ in range(4)]
    stacked = np.stack([each["w"] for each in honest])
    made = Attack("stealthy", 1.0).forge(Seen(honest[0], honest, honest[0], chance))["w"]
    assert np.abs(made - stacked.mean(axis=0)).max() <= stacked.std(axis=0).max() + 1e-12
    assert (made < stacked.mean(axis=0)).all()
