"""Studies as the control API tells them, for tests of the report: binary and masked, four classes open, none yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from commonward.apps.studies.metrics import variants
from commonward.records.images.photograph import PATHOGENS
from commonward.records.model import ONE, DType, Tensor

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
PATIENT = "north-00417"
SITES = ("authority", "clinic", "north", "south")


def two_classes(rows: int = 100) -> list[Tensor]:
    """A model that is right about 80 of 100 rows, sure of itself in the same measure."""
    chance = np.linspace(0.02, 0.98, rows)
    truth = (np.arange(rows) % 5 != 0) == (chance > 0.5)
    histogram, confusion = np.zeros((2, 64), np.int64), np.zeros((2, 2), np.int64)
    np.add.at(histogram, (truth.astype(int), (chance * 64).astype(int)), 1)
    np.add.at(confusion, (truth.astype(int), (chance > 0.5).astype(int)), 1)
    error = np.array([round(float(((chance - truth) ** 2).sum()) * ONE)], np.int64)
    return _tensors(
        {"confusion": confusion, "histogram": histogram, "squared_error": error, "rows": np.array([rows])}
    )  # fmt: skip


def four_classes(rows: int = 400, seed: int = 1, sharp: float = 2.0) -> list[Tensor]:
    """A model of four classes of unequal shares; `sharp`: how well it tells them apart. It abstains below .4."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, rows, p=[0.45, 0.25, 0.2, 0.1])
    scores = random.normal(size=(rows, 4)) + sharp * np.eye(4)[truth]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance = odds / odds.sum(axis=1, keepdims=True)
    guess, top = chance.argmax(axis=1), chance.max(axis=1)
    found: dict[str, np.ndarray] = {"rows": np.array([rows]), "refused_quality": np.array([7])}
    for name, which in (("confusion", top >= 0), ("confusion_kept", top >= 0.4)):
        found[name] = np.zeros((4, 4), np.int64)
        np.add.at(found[name], (truth[which], guess[which]), 1)
    for at, name in enumerate(PATHOGENS):
        found[f"histogram_{name}"] = np.zeros((2, 64), np.int64)
        np.add.at(found[f"histogram_{name}"], ((truth == at).astype(int), (chance[:, at] * 63.999).astype(int)), 1)
    found["confidence"] = np.zeros((2, 64), np.int64)
    np.add.at(found["confidence"], ((truth == guess).astype(int), (top * 63.999).astype(int)), 1)
    found["squared_error"] = np.array([round(float(((chance - np.eye(4)[truth]) ** 2).sum()) * ONE)])
    found["abstained"] = np.array([(top >= 0.4).sum(), (top < 0.4).sum()])
    return _tensors(found)


def _tensors(found: dict[str, np.ndarray]) -> list[Tensor]:
    return [Tensor.of(name, DType.I64, array.astype(np.int64)) for name, array in sorted(found.items())]


def masked(**bent: Any) -> dict[str, Any]:
    """The heart study after three rounds: four sites, one of them left out once. Masked: nothing of one site alone."""
    made = variants(two_classes())[""]
    curve = [
        {"round": at, "of": of, "accuracy": 0.6 + 0.06 * at, "auroc": 0.7 + 0.04 * at, "brier": 0.2 - 0.01 * at}
        for at in (1, 2, 3)
        for of in ("all", "own")
    ]
    local = {
        "curve": curve,
        "all": {"": made, "home": made},
        "own": {"": made},
        "rounds": [{"round": at, "agrees": at != 2} for at in (1, 2, 3)],
        "consents": 24,
        "contributions": {},
        "look": {
            "rows": 24,
            "consents": 24,
            "label": {"name": "num", "share": 0.58, "low": 0.39, "high": 0.76, "proposer": 0.46},
            "odd": [{"what": "zeros", "name": "chol", "zeros": 10}],
        },
    }
    return {**_study(local), **bent}


def open_study(**bent: Any) -> dict[str, Any]:
    """The keratitis study: four classes of SYNTHETIC photographs, privacy charged, results of each site shown."""
    made = variants(four_classes())
    rounds = 8
    curve = []
    for at in range(1, rounds + 1):
        for of, rows in (("all", 400), ("own", 100)):
            each = variants(four_classes(rows, 1, 0.6 + 1.4 * at / rounds))[""]
            names = ("accuracy", "balanced", "auroc", "brier", "ece")
            curve.append({"round": at, "of": of, **{name: each.get(name) for name in names}})
    local = {
        "curve": curve,
        "all": made,
        "own": variants(four_classes(100, 5)),
        "rounds": [{"round": at, "agrees": True} for at in range(1, rounds + 1)],
        "consents": 300,
        "per_site": {name: variants(four_classes(100, at, 1.2 + 0.4 * at)) for at, name in enumerate(SITES)},
        "contributions": {
            name: {"rows": share, "left_out": variants(four_classes(400, 1, 2.0 - share)), "why": ""}
            for name, share in zip(SITES, (0.4, 0.3, 0.2, 0.1), strict=True)
        },
        "look": _look(),
    }
    views = [{"name": "photographs", "resource": "Media"}, {"name": "diagnoses", "resource": "Condition"}]
    usual = {
        "title": "Infectious keratitis from slit-lamp photographs",
        "about": "Which pathogen is it: bacterial, fungal, viral or other?",
        "rule": "fedavg",
        "rounds": rounds,
        "round": rounds,
        "label": "label",
        "synthetic": True,
        "statements": {"intended_use": "None: made to try the software.", "funding": "Nobody."},
        "cohort": {"views": views, "complete": ["photograph", "label"]},
        "learner": {
            "name": "keratitis", "digest": "cd" * 32, "settings": {"learning_rate": 8388, "abstain": 6710886},
            "columns": ["photograph", "label"], "classes": list(PATHOGENS), "about": "Four classes of keratitis.",
        },
        "privacy": {
            "charged": True, "waiver": False, "delta": 5, "epsilon_a_round": 0.8, "epsilon_in_all": 3.0,
            "epsilon_by_round": [3.0 * (at / rounds) ** 0.6 for at in range(1, rounds + 1)], "noise": 4.8, "rate": 1.0,
            "steps": 20,
        },
        "progress": _progress(rounds, None),
    }  # fmt: skip
    return _study(local, **{**usual, **bent})


def _look() -> dict[str, Any]:
    """The page before enrolment of a site with two cameras, one picture twice and one that is none."""
    shares = [
        {"class": name, "count": count, "share": count / 300, "low": count / 400, "high": count / 200, "proposer": 0.25}
        for name, count in zip(PATHOGENS, (150, 80, 50, 20), strict=True)
    ]
    return {
        "rows": 300,
        "consents": 300,
        "label": None,
        "classes": {"name": "label", "of": 300, "shares": shares},
        "cameras": [
            {"camera": "Synthetic Optics SL-9", "rows": 280, "classes": {"bacterial": 150, "fungal": 80, "viral": 50}},
            {"camera": "unknown", "rows": 20, "classes": {"other": 20}},
        ],
        "pictures": {
            "column": "photograph", "read": 299, "unreadable": [PATIENT],
            "copies": [{"first": PATIENT, "second": "north-00002", "pair": "ab" * 16, "bits": 11, "certain": False,
                        "looked": ""}],
        },
        "odd": [
            {"what": "class-share", "name": "label", "class": "bacterial", "here": 0.5, "there": 0.25},
            {"what": "unreadable", "name": "photograph", "count": 1, "patients": [PATIENT]},
            {"what": "near-picture", "name": "photograph", "count": 1, "pairs": [[PATIENT, "north-00002"]]},
        ],
    }  # fmt: skip


def bare(**bent: Any) -> dict[str, Any]:
    """A study that was proposed and no more."""
    usual = {
        "round": 0, "status": "proposed", "progress": [], "site": [], "sites": [], "local": {},
        "privacy": {"charged": False, "waiver": True}, "ayes": [],
    }  # fmt: skip
    return {**_study({}), **usual, **bent}


def nasty() -> dict[str, Any]:
    """Whatever a person or another member wrote, hostile."""
    found = open_study(title=NASTY, about=NASTY, label=NASTY, member=NASTY, by=NASTY)
    found["site"][0]["member"] = NASTY
    found["progress"][0]["updates"][0] = NASTY
    found["learner"] = {**found["learner"], "name": NASTY, "about": NASTY, "classes": [NASTY, "b", "c", "d"]}
    found["learner"]["settings"] = {NASTY: NASTY}
    found["statements"] = {"funding": NASTY}
    found["cohort"] = {"views": [{"name": NASTY, "resource": "Media"}], "complete": [NASTY]}
    local = found["local"]
    local["per_site"] = {NASTY: local["per_site"]["north"]}
    local["contributions"] = {NASTY: local["contributions"]["north"]}
    local["look"] = {"rows": 1, "consents": 1, "label": None, "odd": [{"what": "same", "name": NASTY}]}
    return found


def _progress(rounds: int, left_out: int | None) -> list[dict[str, Any]]:
    return [
        {"round": at, "attempt": 1, "sites": list(SITES), "voters": list(SITES), "updates": list(SITES),
         "signed": list(SITES[:3]), "exclusions": ["south"] if at == left_out else [], "final": 9, "void": False,
         "model": f"{at:02d}" * 32, "stage": "final"}
        for at in range(1, rounds + 1)
    ]  # fmt: skip


def _study(local: dict[str, Any], **bent: Any) -> dict[str, Any]:
    return {
        "study": "ab" * 16, "title": "Heart disease from routine examinations", "about": "Who needs an angiogram?",
        "by": "north", "status": "closed", "mode": "open" if bent.get("synthetic") else "masked", "rule": "newton",
        "round": 3, "rounds": 3, "sites": list(SITES), "enrolled": True, "label": "num", "test_share": 0.25,
        "viewers": ["north"], "synthetic": False, "statements": {}, "ayes": list(SITES[:3]), "noes": [],
        "privacy": {"charged": False, "waiver": False},
        "learner": {"name": "heart_newton", "digest": "cd" * 32, "settings": {"steps": 3}, "columns": ["age", "num"],
                    "classes": []},
        "cohort": {"views": [{"name": "patients", "resource": "Patient"}], "complete": ["age"]},
        "model": "ef" * 32, "chain": "01" * 32, "member": "north",
        "site": [
            {"member": each, "enrolled": each != "south", "leaving": False, "patients": "20 to 49", "rows": "20 to 49",
             "manifest": "23" * 32, "spent": 1.5 if bent.get("synthetic") else None,
             "budget": 10.0 if bent.get("synthetic") else None}
            for each in SITES
        ],
        "progress": _progress(3, 2),
        "local": local, **bent,
    }  # fmt: skip
