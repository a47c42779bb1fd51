"""Studies whose outcome is tables, on real nodes: what they say against the pooled rows of the four hospitals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commonward.adapters.fhir.cohort import Cohort
from commonward.apps.samples import heart
from commonward.apps.studies.file import read
from commonward.records.model import DType, Model, Tensor
from commonward.records.model_file import read_model
from commonward.records.regression import described as regression_of
from commonward.records.released import released
from commonward.records.statistics import described, parts
from commonward.records.table import Table
from tests.apps.conftest import waits
from tests.apps.study_world import SITES, StudyWorld

HEAD = """
title = "{title}"
cohort = "cohort.json"
mode = "masked"
rule = "{rule}"
rounds = {rounds}
min_sites = 4
test_share = 0
end = "7d"
viewers = ["north", "clinic"]

[waits]
votes = "1h"
sites = "1h"
updates = "10m"
signatures = "5m"
disputes = "1d"
"""
COUNTED = """
[statistics]
tables = [["cp", "sex"]]
means = [["age", "sex"], ["chol", "sex"]]

[statistics.columns]
age = { low = 20, high = 80, bin = 10 }
chol = { low = 80, high = 600 }
cp = { categories = [1, 2, 3, 4] }
sex = { categories = [0, 1] }
"""
REGRESSED = """
[parameters]
ridge = 0.01

[logistic]
outcome = { column = "num", above = 0 }

[logistic.features]
age = { low = 18, high = 100, mean = 55, deviation = 10 }
sex = { categories = [0, 1] }
oldpeak = { low = -4, high = 8, mean = 1, deviation = 1.1 }
"""


def tables(world: StudyWorld) -> list[Table]:
    """The rows of each site, as its views make them of its records."""
    found = []
    for site in SITES.values():
        entries = json.loads(heart.bundle(site, 0, world.patients))["entry"]
        resources = [(str(at), each["resource"]) for at, each in enumerate(entries)]
        found.append(Cohort.parse(heart.cohort()).gather(resources).table)
    return found


def written(world: StudyWorld, name: str, text: str, **head: object) -> Path:
    path = world.folder / f"{name}.toml"
    path.write_text(HEAD.format(**head) + text)
    return path


def result(world: StudyWorld, study: str, member: str = "north") -> dict[str, Any]:
    """As soon as all counts are added up."""

    def there() -> dict[str, Any] | None:
        ran = world.run(member, "study", "result", study, "--json")
        return dict(ran.json) if ran.code == 0 else None

    found = waits(there)
    assert found, world.run(member, "study", "result", study).err
    return dict(found)


def counts_as_pooled(world: StudyWorld, folder: Path) -> None:
    path = written(world, "counted", COUNTED, title="Who comes?", rule="sum", rounds=1)
    given = path.read_text()
    path.write_text(given + "weight = { low = 30, high = 200 }\n")
    wrong = world.run("north", "study", "propose", path, "--json")
    said = wrong.err.replace("\n", " ")
    assert wrong.code in (1, 2) and "statistics.columns.weight: the cohort's views give no such column" in said, said
    path.write_text(given)
    study = world.approved(path)
    early = world.run("north", "study", "result", study)
    assert early.code == 1 and "no tables here" in early.err
    world.enrolled(study)
    assert world.ends(study)["status"] == "closed"
    found = result(world, study)
    wanted = described(read(path.read_text(), "counted").protocol.learner_settings["statistics"])
    each = [parts(wanted, one) for one in tables(world)]
    pooled = Model.of(Tensor.of(name, DType.I64, np.sum([one[name] for one in each], axis=0)) for name in each[0])
    assert found["statistics"]["tables"] == json.loads(json.dumps(released(wanted, pooled, len(SITES))))
    assert found["statistics"]["tables"]["rows"] == sum(map(len, tables(world)))
    file = folder / "counted.safetensors"
    wrote = waits(lambda: world.run("south", "study", "model", study, "--out", file).code == 0)
    assert wrote, world.run("south", "study", "model", study, "--out", file).err
    assert read_model(file.read_bytes()) == pooled, "a site holds the exact sum, to the last bit"
    assert result(world, study, "clinic")["statistics"]["tables"] == found["statistics"]["tables"]
    shown = world.run("clinic", "study", "result", study).out
    assert "Sites in the sum: 4" in shown and "age by sex" in shown
    page = folder / "counted.html"
    assert world.run("north", "study", "report", study, "--out", page, "--lang", "zh").code == 0
    assert "全部机构合计统计" in page.read_text() and "<svg" in page.read_text()


def regresses_as_pooled(world: StudyWorld, folder: Path) -> None:
    path = written(world, "regressed", REGRESSED, title="Who is ill?", rule="newton", rounds=6)
    study = world.approved(path)
    world.enrolled(study)
    assert world.ends(study)["status"] == "closed"
    found = result(world, study)["regression"]
    wanted = regression_of(read(path.read_text(), "regressed").protocol.learner_settings["regression"])
    pooled = Table(tables(world)[0].columns, tuple(row for one in tables(world) for row in one.rows))
    x, y = wanted.design(pooled), wanted.outcome.values(pooled)
    w, penalty = np.zeros(wanted.width), np.array([0.01 * len(y)] * (wanted.width - 1) + [0.0])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-x @ w))
        information = (x * (chance * (1 - chance))[:, None]).T @ x
        w = w - np.linalg.solve(information + np.diag(penalty), x.T @ (chance - y) + penalty * w)
    assert found["rows"] == len(y) and found["positive"] == int(y.sum()) and found["converged"]
    said = {one["name"]: one for one in found["coefficients"]}
    assert float(said["sex=1"]["coefficient"]) == pytest.approx(w[1], abs=2e-5)
    assert float(said["age"]["coefficient"]) == pytest.approx(w[0] / 10, abs=2e-6)
    inverse = np.linalg.inv(information + np.diag(penalty))
    error = np.sqrt((inverse @ information @ inverse)[1, 1])
    assert float(said["sex=1"]["error"]) == pytest.approx(error, rel=1e-4)
    assert result(world, study, "clinic")["regression"] == found
    assert "odds ratio" in world.run("clinic", "study", "result", study).out
    page = folder / "regressed.html"
    assert world.run("north", "study", "report", study, "--out", page).code == 0
    assert "Logistic regression over all sites" in page.read_text()
