"""The figures of `bench keratitis`, from studies on several splits of the drawn patients."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from bench import _keratitis_road as road
from bench import _keratitis_studies as studies
from bench._keratitis_data import HELD_OUT, TOGETHER, Hospital, drawn
from bench._keratitis_plain import Ints, centred, fedavg, interval, softmax, unit
from bench._keratitis_studies import DELTA, OPEN, PRIVATE, SEED, SHARES, Figures, Job, Sizes, run_jobs, split
from bench.results import Result
from bench.roadtest import right, wilson
from commonward.adapters.flower.learners.vision.form import BIAS, WEIGHT
from commonward.adapters.images.slitlamp import Difficulty
from commonward.records.model import Floats
from commonward.records.rule_parameters import BILLION

SPLITS: Final = 5
PRIVATE_SPLITS: Final = 3

LOCAL: Final = "mean of the four hospitals' own models"


def results(scale: float) -> Iterator[Result]:
    """Everything, the quick first."""
    sizes, splits = Sizes.scaled(scale), max(2, round(SPLITS * scale))
    each = sizes.large + sizes.tested
    sites = drawn({**dict.fromkeys(TOGETHER, each), HELD_OUT: sizes.unseen}, SEED)
    yield parity(sites)
    yield from site_guessing(sites, sizes)
    large, small = ([Job(patients, at) for at in range(splits)] for patients in (sizes.large, sizes.small))
    found = run_jobs([*large, *small], sites, sizes.tested)
    for jobs in (large, small):
        yield from together(Told(found, jobs, sizes), sites)
    yield from trust(Told(found, large, sizes))
    bare = [Job(sizes.large, at, whole=True) for at in range(min(splits, PRIVATE_SPLITS))]
    private = [Job(each.patients, each.split, epsilon) for each in bare for epsilon in PRIVATE]
    yield from private_studies(run_jobs([*bare, *private], sites, sizes.tested), bare, sizes)


class Told:
    """Figures of the studies of one kind, and how to say them."""

    def __init__(self, found: dict[Job, Figures], jobs: Sequence[Job], sizes: Sizes) -> None:
        self._of = [found[job] for job in jobs]
        self.patients, self.tested = jobs[0].patients, sizes.tested
        self.said = f"SYNTHETIC, four sites of {self.patients} patients, {self.tested} more of each to judge by"

    def values(self, *names: str) -> Floats:
        """(splits,): in each, the mean of the named figures."""
        return np.asarray(np.array([[each[name] for name in names] for each in self._of], np.float64).mean(axis=1))

    def at(self, name: str, figure: str, sites: Sequence[str] = TOGETHER) -> Floats:
        """(splits,): mean over sites of a model's figure."""
        return self.values(*(f"{name} {figure} {site}" for site in sites))

    def own(self, figure: str, sites: Sequence[str] = TOGETHER) -> Floats:
        """(splits,): mean over the hospitals' own models of the mean over sites."""
        return np.asarray(np.mean([self.at(f"own {hospital}", figure, sites) for hospital in TOGETHER], axis=0))

    def at_home(self, figure: str) -> Floats:
        """(splits,): mean over hospitals of their own model at home."""
        return self.values(*(f"own {each} {figure} {each}" for each in TOGETHER))

    def result(self, name: str, values: Floats, note: str = "", **rest: float | str | bool | None) -> Result:
        """A mean over splits with its interval."""
        middle, half = interval(values.tolist(), self.tested / self.patients)
        said = f"{self.said}{note}; {len(values)} splits, 95 % interval {middle - half:.3f} to {middle + half:.3f}"
        return Result(name=f"{name}, {self.patients} a site", value=middle, unit="", conditions=said, **rest)  # type: ignore[arg-type]


def together(told: Told, sites: dict[str, Hospital]) -> Iterator[Result]:
    """Federated beside pooled, own models and the majority class."""
    pooled, ours = told.at("pooled", "accuracy"), told.at("federated", "accuracy")
    majority = float(told.values(*(f"majority {each} accuracy {each}" for each in TOGETHER)).mean())
    ceiling = Difficulty().ceiling
    yield told.result(
        "accuracy, pooled",
        pooled,
        f"; difficulty {Difficulty().level}, ceiling on equal classes {ceiling:.2f}, wanted .65 to .85",
        goal=0.65,
        reference="majority class at each site",
        reference_value=majority,
    )
    yield told.result(
        "accuracy, federated",
        ours,
        f"; {OPEN.rounds} rounds of FedAvg, own models at home {told.at_home('accuracy').mean():.3f}, everywhere "
        f"{told.own('accuracy').mean():.3f}, majority class {majority:.3f}",
        reference="pooled",
        reference_value=float(pooled.mean()),
    )
    yield told.result("accuracy lost against pooled", pooled - ours, goal=0.01, more_is_better=False)
    yield told.result(
        "accuracy gained over the mean single site, at the patients of all four", ours - told.own("accuracy"), goal=0.05
    )
    yield told.result(
        "accuracy gained over the mean single site, each at its own patients",
        ours - told.at_home("accuracy"),
        goal=0.05,
    )
    yield told.result(
        "macro AUROC, federated",
        told.at("federated", "auroc"),
        reference="own models at home",
        reference_value=float(told.at_home("auroc").mean()),
    )
    yield told.result("Brier score over four classes, federated", told.at("federated", "brier"), more_is_better=False)
    for site in TOGETHER:
        yield told.result(
            f"accuracy at {site}, federated",
            told.at("federated", "accuracy", [site]),
            f"; AUROC {told.at('federated', 'auroc', [site]).mean():.3f}, majority class "
            f"{told.values(f'majority {site} accuracy {site}').mean():.3f}",
            reference="its own model",
            reference_value=float(told.values(f"own {site} accuracy {site}").mean()),
        )
    yield from unseen(told, sites[HELD_OUT])


def unseen(told: Told, site: Hospital) -> Iterator[Result]:
    """The hospital that took no part: another camera, other shares of the classes."""
    accuracy = told.at("federated", "accuracy", [HELD_OUT])
    low, high = wilson(round(float(accuracy.mean()) * len(site)), len(site))
    largest = float(np.bincount(site.labels).max() / len(site))
    yield Result(
        name=f"accuracy at the held-out site, federated, {told.patients} a site",
        value=float(accuracy.mean()),
        unit="",
        conditions=f"SYNTHETIC, {len(site)} patients of a fifth camera, 95 % {low:.3f} to {high:.3f} over patients; "
        f"AUROC {told.at('federated', 'auroc', [HELD_OUT]).mean():.3f}, pooled "
        f"{told.at('pooled', 'accuracy', [HELD_OUT]).mean():.3f}, its majority class {largest:.3f}",
        reference=LOCAL,
        reference_value=float(told.own("accuracy", [HELD_OUT]).mean()),
    )


def private_studies(found: dict[Job, Figures], bare: Sequence[Job], sizes: Sizes) -> Iterator[Result]:
    """Patient-level privacy, against the same splits without noise."""
    without = Told(found, bare, sizes)
    for epsilon, study in PRIVATE.items():
        told = Told(found, [Job(job.patients, job.split, epsilon) for job in bare], sizes)
        said = (
            f"; epsilon {study.spent:.3f} at delta 1e-{DELTA} for each site's patients, {study.rounds} rounds of "
            f"{study.steps} steps, noise {study.noise / 1e6:.2f} x the clip of {study.clip / BILLION:g}"
        )
        lost = without.at("model", "accuracy") - told.at("model", "accuracy")
        yield told.result(
            f"accuracy lost at epsilon {epsilon / 1e6:g}", lost, said, goal=study.goal, more_is_better=False
        )
        yield told.result(
            f"macro AUROC lost at epsilon {epsilon / 1e6:g}",
            without.at("model", "auroc") - told.at("model", "auroc"),
            said,
            more_is_better=False,
        )
        for where, names in (("", TOGETHER), (" at the held-out site", (HELD_OUT,))):
            yield told.result(
                f"accuracy at epsilon {epsilon / 1e6:g}{where}",
                told.at("model", "accuracy", names),
                said,
                reference="without noise",
                reference_value=float(without.at("model", "accuracy", names).mean()),
            )


def trust(told: Told) -> Iterator[Result]:
    """Calibration and abstention, the held-out site first."""
    for where, names in (("held-out site", (HELD_OUT,)), ("four sites", TOGETHER)):
        yield told.result(
            f"calibration error after the temperature, {where}",
            told.values(*(f"ece after {each}" for each in names)),
            "; 15 bins, each site by itself",
            reference="before",
            reference_value=float(told.values(*(f"ece before {each}" for each in names)).mean()),
            more_is_better=False,
        )
        curve = [(share, float(told.values(*(f"kept {share:g} {each}" for each in names)).mean())) for share in SHARES]
        named = told.values(*(f"named share {each}" for each in names))
        yield told.result(
            f"accuracy where a class is named at all, {where}",
            told.values(*(f"named accuracy {each}" for each in names)),
            f"; it names one of {named.mean():.3f} of the patients (probability of .5); accuracy of the share that is "
            f"kept: {', '.join(f'{share:g}: {value:.3f}' for share, value in curve)}",
            reference="of all patients",
            reference_value=curve[0][1],
        )


def parity(sites: dict[str, Hospital]) -> Result:
    """Our road against a plain loop."""
    train, _ = split([sites[name] for name in TOGETHER], 0, len(sites[TOGETHER[0]]) // 4, 0)
    study = road.Study(11, {**OPEN.settings, "calibration": 0})
    made = road.learn(study, train).weights()
    inputs = centred([each.features.astype(np.float64) for each in train])
    rows = [(x, each.labels) for x, each in zip(inputs, train, strict=True)]
    w, b = fedavg(rows, 10, 2, 8.0, 0.9, studies.RIDGE / BILLION, [len(each) for each in train], carry=True)
    return Result(
        name="largest difference of a weight, FedAvg, a round for the centre and 10 of 2 steps",
        value=max(float(np.abs(made[WEIGHT] - w).max()), float(np.abs(made[BIAS] - b).max())),
        unit="",
        goal=1e-5,
        more_is_better=False,
        conditions=f"our road (learner, Q24, bytes, aggregation) against a plain loop in floats, "
        f"{len(train[0])} patients of each of four sites; the largest weight is {np.abs(w).max():.1f}",
    )


def site_guessing(sites: dict[str, Hospital], sizes: Sizes) -> Iterator[Result]:
    """How well the hospital is told from what a diagnosis is learnt from, and ten colour numbers beside."""
    train, test = split([sites[name] for name in TOGETHER], 0, sizes.large, sizes.tested)
    mine, held = road.joined(train), road.joined(test)
    where: list[Ints] = [np.repeat(np.arange(4), [len(each) for each in part]) for part in (train, test)]
    x, y = (unit(each.features.astype(np.float64)) for each in (mine, held))
    w, b = fedavg([(x, where[0])], 1, 100, 4.0, 0.9, 1e-4, [1])
    hits = softmax(y @ w.T + b).argmax(axis=1) == where[1]
    low, high = wilson(int(hits.sum()), len(hits))
    said = f"SYNTHETIC, {len(mine)} patients learnt from, {len(held)} judged"
    both = np.concatenate([mine.colours, held.colours])
    old, new = np.arange(len(mine)), len(mine) + np.arange(len(held))
    site = right(both, np.concatenate(where), old, new)
    pathogen = right(both, np.concatenate([mine.labels, held.labels]), old, new)
    yield Result(
        name="the site, guessed from the backbone's features",
        value=float(hits.mean()),
        unit="accuracy",
        reference="chance",
        reference_value=1 / len(TOGETHER),
        conditions=f"{said}, 95 % {low:.3f} to {high:.3f}; from ten colour numbers {site.mean():.3f}",
        more_is_better=False,
    )
    yield Result(
        name="the pathogen, from ten colour numbers",
        value=float(pathogen.mean()),
        unit="accuracy",
        reference="largest class",
        reference_value=float(np.bincount(held.labels).max() / len(held)),
        conditions=f"{said}; means and deviations of colours, saturation and luminance, ridge logistic regression",
    )
