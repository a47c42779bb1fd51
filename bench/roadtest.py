"""What ten colour numbers say of real eye photographs of two sites: a road test with no claim, to show the traps.

Keratitis, normal or other, 30 photographs a site. Mean and deviation of red, green, blue, saturation and luminance of a
picture go into a ridge logistic regression, nothing about shape: what it gets right, a model gets without seeing any
disease. 20 times stratified 5-fold, pictures that may be of one eye kept together; one site held out; and the same
numbers asked which site a picture is from. Then the same of the 1280 features of the keratitis learner's backbone,
where PyTorch is installed. Intervals are 95 %, beside chance. The photographs have no licence and are not here:
`--data FOLDER` or COMMONWARD_SLIT_LAMP names a folder <site>/<class>/<file>.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.results import Result, Unavailable
from commonward.adapters.images import read_folder
from commonward.records.images.duplicates import groups, pairs
from commonward.records.images.photograph import ImageRefused, Photograph, luminance
from commonward.records.images.quality import quality
from commonward.records.images.text import has_text

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

VARIABLE: Final = "COMMONWARD_SLIT_LAMP"
FOLDS, REPEATS = 5, 20
RIDGE: Final = 1.0
MAY_BE_ONE_EYE: Final = 60
"""Bits of 256: looser than what counts as a copy. Joining two eyes by mistake only makes the test stricter."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What the test is made of: a row for each picture.

    Attributes:
        many: features are a backbone's: their columns keep their scales, see `standardised`.
    """

    features: Floats
    label: Ints
    site: Ints
    group: Ints
    classes: tuple[str, ...]
    sites: tuple[str, ...]
    many: bool = False

    def take(self, rows: Ints) -> "Pictures":
        """These rows alone."""
        label, site, group = (each[rows] for each in (self.label, self.site, self.group))
        return replace(self, features=self.features[rows], label=label, site=site, group=group)


def colour_numbers(photograph: Photograph) -> Floats:
    """(10,): mean and deviation of red, green, blue, saturation (largest less smallest channel) and luminance."""
    pixels = photograph.pixels.astype(np.float64)
    saturation = pixels.max(axis=2) - pixels.min(axis=2)
    planes = [*np.moveaxis(pixels, 2, 0), saturation, luminance(photograph.pixels)]
    return np.array([each for plane in planes for each in (plane.mean(), plane.std())]) / 255


def fitted(features: Floats, label: Ints, classes: int) -> Floats:
    """(11, classes): ridge logistic regression, one against the rest, by Newton's method; the intercept is free."""
    inner = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    ridge = RIDGE * np.eye(inner.shape[1])
    ridge[-1, -1] = 1e-6
    found = []
    for each in range(classes):
        weights, target = np.zeros(inner.shape[1]), (label == each).astype(np.float64)
        for _ in range(12):
            chance = 1 / (1 + np.exp(-np.clip(inner @ weights, -30, 30)))
            hessian = (inner * (chance * (1 - chance))[:, None]).T @ inner + ridge
            weights -= np.linalg.solve(hessian, inner.T @ (chance - target) + ridge @ weights)
        found.append(weights)
    return np.stack(found, axis=1)


def standardised(features: Floats, train: Ints, many: bool) -> Floats:
    """By the mean and the deviation of each column in `train`; of many columns all by one number, so that the rows are
    as long as ten standardised columns are: the ridge then holds both back alike."""
    mean = features[train].mean(axis=0)
    if many:
        return np.asarray((features - mean) * np.sqrt(10 / ((features[train] - mean) ** 2).sum(axis=1).mean()))
    return np.asarray((features - mean) / (features[train].std(axis=0) + 1e-9))


def right(features: Floats, label: Ints, train: Ints, test: Ints, many: bool = False) -> NDArray[np.bool_]:
    """Which of `test` are guessed right, learnt from `train` and standardised by it."""
    scaled = standardised(features, train, many)
    weights = fitted(scaled[train], label[train], int(label.max()) + 1)
    scores = np.concatenate([scaled[test], np.ones((len(test), 1))], axis=1) @ weights
    return np.asarray(scores.argmax(axis=1) == label[test])


def folds(label: Ints, group: Ints, random: np.random.Generator) -> list[Ints]:
    """FOLDS parts with equal shares of each label as far as whole groups allow."""
    counts = np.zeros((FOLDS, int(label.max()) + 1))
    parts: list[list[int]] = [[] for _ in range(FOLDS)]
    members = [np.flatnonzero(group == each) for each in np.unique(group)]
    order = sorted(random.permutation(len(members)), key=lambda at: -len(members[at]))
    for at in order:
        mine = np.bincount(label[members[at]], minlength=counts.shape[1])
        best = min(
            range(FOLDS), key=lambda each: (float((counts[each] * mine).sum()), len(parts[each]), random.random())
        )
        parts[best] += members[at].tolist()
        counts[best] += mine
    return [np.array(sorted(each)) for each in parts]


def cross_validated(pictures: Pictures, label: Ints, repeats: int) -> tuple[float, float, float]:
    """Accuracy over repeats of stratified grouped 5-fold, and its 95 % interval.

    Parts of one set of pictures overlap, so their spread says too little: the variance is corrected after Nadeau and
    Bengio (2003), by the ratio of test to train added to one over the number of parts.
    """
    shares = []
    for repeat in range(repeats):
        for test in folds(label, pictures.group, np.random.default_rng([17, repeat])):
            train = np.setdiff1d(np.arange(len(label)), test)
            hits = right(pictures.features, label, train, test, pictures.many)
            shares.append(hits.mean() if len(test) else np.nan)
    values = np.array([each for each in shares if not np.isnan(each)])
    half = 1.96 * values.std(ddof=1) * np.sqrt(1 / len(values) + 1 / (FOLDS - 1))
    return float(values.mean()), max(float(values.mean() - half), 0.0), min(float(values.mean() + half), 1.0)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    share, z = hits / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(middle - half), float(middle + half)


def gathered(folder: Path) -> tuple[list[Photograph], Pictures]:
    """The pictures of <site>/<class>/<file>. Raises Unavailable where the folder is not like that."""
    sites = sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    read: list[Photograph] = []
    site: list[int] = []
    try:
        for at, each in enumerate(sites):
            found = list(read_folder(each, refuse_text=False))  # what the search for writing says is a figure here
            read += found
            site += [at] * len(found)
    except ImageRefused as cause:
        raise Unavailable(f"the photographs in {folder} cannot be used: {cause}") from cause
    classes = tuple(sorted({each.label or "" for each in read}))
    if len(sites) < 2 or len(classes) < 2 or len(read) < 2 * FOLDS:
        raise Unavailable(
            f"expected two sites or more with classes of photographs in {folder}, got {len(read)} pictures"
        )
    label = np.array([classes.index(each.label or "") for each in read])
    joined = np.array(groups(len(read), pairs(read, near=MAY_BE_ONE_EYE)))
    features = np.stack([colour_numbers(each) for each in read])
    return read, Pictures(features, label, np.array(site), joined, classes, tuple(each.name for each in sites))


def run(scale: float = 1.0, data: Path | None = None) -> Iterator[Result]:
    named = data or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        raise Unavailable(f"no real photographs are here: name their folder with --data or {VARIABLE}")
    read, pictures = gathered(named)
    repeats = max(round(REPEATS * scale), 1)
    yield from _of_the_pictures(read, pictures)
    yield from _of_features(pictures, repeats, "ten colour numbers", "from colours alone", "from the same colours")
    if find_spec("torch") is not None:
        seen = replace(pictures, features=backbone_numbers(read), many=True)
        said = "the backbone's features"
        yield from _of_features(seen, repeats, said, f"from {said}", f"from {said}")


def backbone_numbers(read: Sequence[Photograph]) -> Floats:
    """(n, n or fewer): features of the frozen backbone as unit vectors, turned into the directions in which these
    pictures differ at all. A ridge regression on them is the one on all 1280, and quicker."""
    from commonward.adapters.flower.learners.vision import features, pictures

    features.one_thread()
    network = features.backbone_of("lite0")
    made = [features.of_pixels(network, [pictures.shrunk(each.pixels, network.variant.side)]) for each in read]
    found = np.concatenate(made).astype(np.float64)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    left, sizes, _ = np.linalg.svd(found - found.mean(axis=0), full_matrices=False)
    return np.asarray(left * sizes)


def _of_features(pictures: Pictures, repeats: int, said: str, way: str, same: str) -> Iterator[Result]:
    """Class and site from one kind of features: together, within each site, and across."""
    count = f"{len(pictures.label)} real photographs, {len(pictures.sites)} sites"
    how = f"{repeats} times {FOLDS}-fold, {count}, {said}"
    yield _cross(f"class, {way}", pictures, pictures.label, repeats, how)
    yield _cross(f"site, {same}", pictures, pictures.site, repeats, how)
    ending = f", {way}" if pictures.many else ""
    for at, name in enumerate(pictures.sites):
        test, train = np.flatnonzero(pictures.site == at), np.flatnonzero(pictures.site != at)
        guessed = right(pictures.features, pictures.label, train, test, pictures.many)
        low, high = wilson(int(guessed.sum()), len(test))
        yield Result(
            name=f"class at {name}, learnt at the other sites{ending}",
            value=float(guessed.mean()),
            unit="accuracy",
            reference="largest class",
            reference_value=_largest(pictures.label[test]),
            conditions=f"95 % {low:.2f} to {high:.2f}; {len(test)} photographs, {said}",
        )
        mine = pictures.take(test)
        within = f"{repeats} times {FOLDS}-fold, {len(test)} photographs, {said}"
        yield _cross(f"class at {name}, learnt there{ending}", mine, mine.label, repeats, within)


def _of_the_pictures(read: Sequence[Photograph], pictures: Pictures) -> Iterator[Result]:
    conditions = f"of {len(read)} real photographs"
    tight, loose = pairs(read), pairs(read, near=MAY_BE_ONE_EYE)
    refused = sum(not quality(each).usable for each in read)
    for name, value, note in (
        ("copies and near copies", len(tight), ""),
        ("pairs that may be of one eye", len(loose), "; kept on one side"),
        ("taken for having writing in them", sum(has_text(each) for each in read), "; none has any to our knowledge"),
        ("refused by the quality gate", refused, ""),
    ):
        yield Result(name=name, value=value, unit="count", conditions=conditions + note, more_is_better=False)


def _cross(name: str, pictures: Pictures, label: Ints, repeats: int, conditions: str) -> Result:
    mean, low, high = cross_validated(pictures, label, repeats)
    return Result(
        name=name,
        value=mean,
        unit="accuracy",
        reference="largest class",
        reference_value=_largest(label),
        conditions=f"95 % {low:.2f} to {high:.2f}; {conditions}",
    )


def _largest(label: Ints) -> float:
    """The share of the largest class: what guessing it always gets right."""
    return float(np.bincount(label).max() / len(label))
