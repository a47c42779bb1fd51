"""The studies of `bench privacy`: who was in the training of a head, and what one run shows of a thousand canaries."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Final

import numpy as np
import torch

from bench import _keratitis_data as photographs
from bench._privacy_audit import Found, most_visible
from bench._privacy_canaries import CANARIES, GUESSES, Planted, crafted, mislabelled, one_run
from bench._privacy_lira import Attacked, Members, calibrated, confidence, halves, judge, verdicts
from bench._privacy_models import DELTA, Rows, Training, accuracy, alone, private, together, true_class, undefended
from bench.results import Result
from commonward.adapters.flower.learners.vision.form import Form
from commonward.records.model import Floats

CAMERA: Final = "east"
SITES: Final = 4
SEED: Final = 2026
POOL: Final = 200
"""Patients of a site, a random half of whom are in each model's training."""

JUDGED: Final = 100
"""More of each site, by whom the models' accuracy is told."""

APART: Final = 100
"""Pictures in nobody's training."""

NARROW: Final = 256
"""Inputs of the attacked heads: enough to learn a few hundred patients by heart."""

WIDE: Final = 1280
AUC: Final = 0.55
EXPOSED: Final = 0.70
AUDITS: Final = 5
OFF: Final = 1000
"""A thousandth of the clip, in millionths: noise that is none."""


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital's patients as a head reads them."""

    pool: Rows
    judged: Rows


@dataclass(frozen=True, slots=True)
class View:
    """Whose model is attacked, made how, by how many shadow models."""

    name: str
    sites: int
    models: int
    epsilons: tuple[float, ...]
    judged: float
    """At which epsilon the AUC must be at most AUC: fixed beforehand, from trials on other patients (seed 11)."""


OWN: Final = View("one hospital's model", 1, 48, (8.0, 3.0, 1.0), 1.0)
PUBLISHED: Final = View("model of four hospitals", 4, 32, (8.0, 3.0, 2.0), 2.0)


def rows(width: int) -> list[Site]:
    """Four hospitals' patients, SYNTHETIC, of one camera: who was in a training does not turn on the camera.

    What all pictures share is taken off, as the learner does it (`centre`), here by a hundred pictures of nobody's.
    """
    form, each = Form(width=width), POOL + JUDGED
    found = photographs.drawn({CAMERA: SITES * each + APART}, SEED)[CAMERA]
    features = torch.from_numpy(found.features.astype(np.float64))
    centre = form.inputs(features[SITES * each :]).mean(dim=0)
    x = form.inputs(features[: SITES * each], centre).numpy()
    y = found.labels
    made = []
    for at in range(0, SITES * each, each):
        middle, end = at + POOL, at + each
        made.append(Site(Rows(x[at:middle], y[at:middle]), Rows(x[middle:end], y[middle:end])))
    return made


def merged(parts: list[Rows]) -> Rows:
    return Rows(np.concatenate([each.inputs for each in parts]), np.concatenate([each.labels for each in parts]))


@dataclass(frozen=True, slots=True)
class Shown:
    """What attacks on one kind of model see, by attack, and how right the models are on other patients."""

    attacks: Mapping[str, Attacked]
    accuracy: float

    def best(self, by: Callable[[Attacked], float]) -> tuple[str, Attacked]:
        return max(self.attacks.items(), key=lambda each: by(each[1]))


def attacked(sites: list[Site], training: Training, models: int) -> Shown:
    """Train so many models, each on a random half of every site's pool, and attack each by means of the others."""
    members: Members = halves(models, POOL * len(sites), SEED)
    everyone, others = merged([each.pool for each in sites]), merged([each.judged for each in sites])
    numbers, right = [], []
    for chosen in members:
        parts = [each.pool.take(chosen[at * POOL : (at + 1) * POOL]) for at, each in enumerate(sites)]
        weights = alone(parts[0], training) if len(parts) == 1 else together(parts, training)
        numbers.append(confidence(true_class(weights, everyone)))
        right.append(accuracy(weights, others))
    seen: Floats = np.array(numbers)
    found = {"likelihood ratio": verdicts(seen, members), "calibration": calibrated(seen), "threshold": seen}
    return Shown({name: judge(each, members, SEED) for name, each in found.items()}, mean(right))


def membership(view: View, sites: list[Site], scale: float) -> Iterator[Result]:
    """Without privacy, and at each epsilon."""
    models = max(12, round(view.models * scale))
    pools = f"SYNTHETIC; {view.sites} x {POOL} patients, half of them in the training; {models} models"
    for epsilon in (None, *view.epsilons):
        training = undefended() if epsilon is None else private(epsilon)
        shown = attacked(sites[: view.sites], training, models)
        defence = "undefended" if epsilon is None else f"epsilon {epsilon:g}, delta 1e-{DELTA}"
        all_three = ", ".join(f"{name} {each.auc:.3f}" for name, each in shown.attacks.items())
        name, best = shown.best(lambda each: each.auc)
        said = f"{pools}; accuracy {shown.accuracy:.3f} on others; strongest of {all_three}"
        yield Result(
            name=f"{view.name}, {defence}: AUC of the attack",
            value=best.auc,
            unit="",
            goal=EXPOSED if epsilon is None else AUC if epsilon == view.judged else None,
            more_is_better=epsilon is None,
            reference="guessing",
            reference_value=0.5,
            conditions=f"{said}; 95 % interval over patients {best.auc_interval[0]:.3f} to {best.auc_interval[1]:.3f}",
        )
        name, best = shown.best(lambda each: each.found)
        yield Result(
            name=f"{view.name}, {defence}: true positives at 1 % false",
            value=best.found,
            unit="",
            more_is_better=False,
            reference="guessing",
            reference_value=0.01,
            conditions=f"{name}; 95 % interval over patients "
            f"{best.found_interval[0]:.3f} to {best.found_interval[1]:.3f}",
        )


def audits(sites: list[Site], scale: float) -> Iterator[Result]:
    """The lower bound of epsilon that one run shows: as declared, and with the noise off."""
    canaries = crafted(WIDE)
    everyone = [merged([each.pool, each.judged]) for each in sites]
    apart = CANARIES // len(everyone)
    wrong = mislabelled(merged([Rows(each.inputs[:apart], each.labels[:apart]) for each in everyone]), SEED)
    patients = merged([Rows(each.inputs[apart:], each.labels[apart:]) for each in everyone])
    runs = max(1, round(AUDITS * scale))
    for epsilon in (8.0, 3.0, 1.0):
        training = private(epsilon, rounds=10)
        yield bound(f"epsilon {epsilon:g}", "crafted canaries", run(canaries, training, runs), goal=epsilon)
    training = private(3.0, rounds=10)
    broken = replace(training, given={**training.given, "noise": OFF})
    yield bound("epsilon 3 declared, noise off", "crafted canaries", run(canaries, broken, runs), goal=3.0, more=True)
    found = run(wrong, training, runs, patients)
    yield bound("epsilon 3", f"mislabelled photographs among {len(patients.labels)} patients", found, goal=3.0)


def run(planted: Planted, training: Training, runs: int, patients: Rows | None = None) -> list[Found]:
    return [one_run(planted, training, seed, patients) for seed in range(runs)]


def bound(claim: str, kind: str, found: list[Found], *, goal: float, more: bool = False) -> Result:
    """The highest lower bound of the runs (the lowest where it is to be high)."""
    worst = (min if more else max)(each.least for each in found)
    right = ", ".join(str(each.right) for each in found)
    return Result(
        name=f"audit, {claim}, {kind}: lower bound of epsilon",
        value=worst,
        unit="",
        goal=goal,
        more_is_better=more,
        reference="the most that such an audit can show",
        reference_value=most_visible(CANARIES, GUESSES, 10.0**-DELTA),
        conditions=f"95 % confidence, delta 1e-{DELTA}; {CANARIES} canaries, {GUESSES} guesses; "
        f"{'lowest' if more else 'highest'} of {len(found)} runs, mean {mean(each.least for each in found):.2f}; "
        f"right guesses {right}",
    )


def everything(scale: float) -> Iterator[Result]:
    torch.set_num_threads(1)
    yield from audits(rows(WIDE), scale)
    narrow = rows(NARROW)
    yield from membership(OWN, narrow, scale)
    yield from membership(PUBLISHED, narrow, scale)
