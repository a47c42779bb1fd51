"""What is run for `bench keratitis` on one split of the patients, in processes side by side, and what comes of it."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench import _keratitis_road as road
from bench._keratitis_data import HELD_OUT, TOGETHER, Hospital, Ints
from bench._keratitis_plain import accuracy, brier, calibration_error, kept_accuracy, macro_auroc
from commonward.records.model import Floats
from commonward.records.privacy import RATE_UNIT, least_noise, spent
from commonward.records.rule_parameters import BILLION

SEED: Final = 2027
"""Of the patients that are reported, drawn for the settings below and judged once. These were chosen on other patients
(seed 11, other shares of the classes); earlier ones had been measured on those of seed 2026."""

DELTA: Final = 5
SHARES: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)

RIDGE: Final = 100_000
OPEN: Final = road.Study(
    rounds=61,
    settings={
        "centre": 1,
        "carry": 1,
        "learning_rate": 8 * BILLION,
        "momentum": 900_000_000,
        "steps": 2,
        "ridge": RIDGE,
        "calibration": 100,
    },
)
"""The first round finds the features' mean, sixty learn by two whole-batch steps each, and the last step goes on to the
next round; 100 of 1,000 patients are kept back for the temperature."""

OWN_RIDGE: Final = 300_000
"""The best of four for a hospital by itself, at home and everywhere, on the other patients."""


@dataclass(frozen=True, slots=True)
class Private:
    """A study with patient-level privacy: the first round sends one noisy mean and is charged as the others are.

    The rate falls linearly over the rounds that learn.

    Attributes:
        epsilon: in millionths.
        goal: accuracy that may be lost.
        rate, momentum, clip, ridge: in billionths.
    """

    epsilon: int
    goal: float
    rounds: int
    steps: int
    rate: int
    momentum: int
    clip: int
    ridge: int

    @property
    def noise(self) -> int:
        """Millionths of the clip: the least that keeps within epsilon as the ledger counts it."""
        return least_noise(self.epsilon, RATE_UNIT, self.steps, self.rounds, DELTA)

    @property
    def spent(self) -> float:
        """Epsilon of one site's patients, over all rounds."""
        return spent(self.noise, RATE_UNIT, self.steps, self.rounds, DELTA) / 1e6

    @property
    def study(self) -> road.Study:
        return road.Study(
            self.rounds,
            {
                "centre": 1,
                "carry": 1,
                "learning_rate": self.rate,
                "momentum": self.momentum,
                "steps": self.steps,
                "fall": self.rounds - 1,
                "ridge": self.ridge,
                "clip": self.clip,
                "noise": self.noise,
            },
        )


PRIVATE: Final = {
    each.epsilon: each
    for each in (
        Private(8_000_000, 0.02, 31, 4, rate=12 * BILLION, momentum=900_000_000, clip=500_000_000, ridge=0),
        Private(3_000_000, 0.04, 31, 4, rate=12 * BILLION, momentum=800_000_000, clip=350_000_000, ridge=0),
    )
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Patients: of a large and a small site's training, of each site's test, and of the site that takes no part."""

    large: int = 1000
    small: int = 300
    tested: int = 200
    unseen: int = 300

    @classmethod
    def scaled(cls, scale: float) -> "Sizes":
        """The usual ones times `scale`, for a quick look."""
        whole = cls()
        parts = (whole.large, whole.small, whole.tested, whole.unseen)
        return cls(*(max(30, round(each * min(scale, 1.0))) for each in parts))


@dataclass(frozen=True, slots=True)
class Job:
    """A study on one split. `epsilon` in millionths, 0: without noise. `whole`: nothing kept back for a temperature."""

    patients: int
    split: int
    epsilon: int = 0
    whole: bool = False


Figures = dict[str, float]
"""By name, as `judged` and `open_study` name them."""


def split(sites: Sequence[Hospital], number: int, patients: int, tested: int) -> tuple[list[Hospital], list[Hospital]]:
    """To learn from and to be judged by: no patient on both sides. The fewer are the first of the many."""
    train, test = [], []
    for site in sites:
        order: Ints = np.random.default_rng([SEED, number]).permutation(len(site))
        train.append(site.take(order[:patients]))
        test.append(site.take(order[len(site) - tested :]))
    return train, test


def judged(name: str, found: Floats, site: Hospital) -> Figures:
    """Accuracy, AUROC and Brier score of one model's probabilities at one site."""
    return {
        f"{name} accuracy {site.name}": accuracy(found, site.labels),
        f"{name} auroc {site.name}": macro_auroc(found, site.labels),
        f"{name} brier {site.name}": brier(found, site.labels),
    }


def run_job(job: Job, sites: Mapping[str, Hospital], tested: int) -> Figures:
    """One study, judged at each site and at the one that took no part."""
    train, test = split([sites[name] for name in TOGETHER], job.split, job.patients, tested)
    test.append(sites[HELD_OUT])
    if job.epsilon or job.whole:
        study = PRIVATE[job.epsilon].study if job.epsilon else whole_study()
        model = road.learn(study, train)
        return {key: each for site in test for key, each in judged("model", road.chances(model, site), site).items()}
    return open_study(train, test)


def whole_study() -> road.Study:
    """The open study with every patient learnt from: what a private one is held against."""
    return road.Study(OPEN.rounds, {**OPEN.settings, "calibration": 0})


def open_study(train: Sequence[Hospital], test: Sequence[Hospital]) -> Figures:
    """The federated study, all patients in one place, each hospital alone, and the majority class."""
    found: Figures = {}
    federated = road.learn(OPEN, train)
    for site in test:
        mine = road.chances(federated, site)
        found |= judged("federated", mine, site) | trusted(mine, road.chances(federated, site, calibrated=False), site)
    pooled = road.alone(OPEN, road.joined(train))
    for site in test:
        found |= judged("pooled", road.chances(pooled, site), site)
    own_study = road.Study(OPEN.rounds, {**OPEN.settings, "ridge": OWN_RIDGE})
    for hospital in train:
        own = road.alone(own_study, hospital)
        for site in test:
            found |= judged(f"own {hospital.name}", road.chances(own, site), site)
        guess = int(np.bincount(hospital.labels).argmax())
        for site in test:
            found[f"majority {hospital.name} accuracy {site.name}"] = float((site.labels == guess).mean())
    return found


def trusted(calibrated: Floats, plain: Floats, site: Hospital) -> Figures:
    """Calibration before and after the temperature, and accuracy over the share that is kept."""
    found = {
        f"ece before {site.name}": calibration_error(plain, site.labels),
        f"ece after {site.name}": calibration_error(calibrated, site.labels),
    }
    for share in SHARES:
        found[f"kept {share:g} {site.name}"] = kept_accuracy(calibrated, site.labels, share)
    named = calibrated.max(axis=1) >= 0.5
    found[f"named share {site.name}"] = float(named.mean())
    found[f"named accuracy {site.name}"] = accuracy(calibrated[named], site.labels[named])
    return found


_given: list[tuple[dict[str, Hospital], int]] = []


def _take(sites: dict[str, Hospital], tested: int) -> None:
    _given[:] = [(sites, tested)]


def _run(job: Job) -> Figures:
    return run_job(job, *_given[0])


def run_jobs(jobs: Sequence[Job], sites: Mapping[str, Hospital], tested: int) -> dict[Job, Figures]:
    """All of them, in as many processes as there are processors; told on standard error as they end."""
    started = time.perf_counter()
    found: dict[Job, Figures] = {}
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _take, (dict(sites), tested)) as pool:
        waiting = {pool.submit(_run, job): job for job in jobs}
        for each in as_completed(waiting):
            job = waiting[each]
            found[job] = each.result()
            took = time.perf_counter() - started
            print(f"keratitis  {len(found)} of {len(jobs)} studies, {took:.0f} s: {job}", file=sys.stderr, flush=True)
    return found


def over(found: Mapping[Job, Figures], job: Job, *names: str) -> Iterator[float]:
    """Of each split's study of this kind, the plain mean of the named figures."""
    for each, figures in found.items():
        if (each.patients, each.epsilon, each.whole) == (job.patients, job.epsilon, job.whole):
            yield float(np.mean([figures[name] for name in names]))
