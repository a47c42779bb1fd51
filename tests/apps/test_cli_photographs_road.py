"""Photographs from a folder to a judged model, on real nodes: taken in, looked at, held back for a copy, learnt from by
three hospitals, and the model tried by a fourth that took no part."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commonward.apps import staffing
from commonward.apps.samples import keratitis
from commonward.apps.wiring import WallClock
from commonward.records.images.photograph import PATHOGENS, Pixels
from tests.apps.conftest import consortium_on, waits
from tests.apps.study_world import SITES, StudyWorld
from tests.imagekit import dicom, jpeg, put

LEARNER = Path(__file__).parent / "learners" / "colours"
COLOURS = {"bacterial": (200, 90, 90), "fungal": (90, 200, 90), "viral": (90, 90, 200), "other": (130, 130, 130)}
STUDY = """
title = "Keratitis by colour"
cohort = "photographs.json"
label = "label"
label_share = {bacterial = 0.25, fungal = 0.25, viral = 0.25, other = 0.25}
mode = "masked"
rule = "fedavg"
rounds = 1
min_sites = 3
awaited = 3
test_share = 0.25
end = "7d"
synthetic = true
viewers = ["north"]

[learner]
name = "colours"

[waits]
votes = "1h"
sites = "1h"
updates = "10m"
signatures = "5m"
disputes = "1d"
"""


def picture(label: str, seed: int) -> Pixels:
    """Soft blots of the class's colour, other ones for each seed."""
    coarse = np.random.default_rng([seed, PATHOGENS.index(label)]).integers(-70, 70, (8, 8, 1))
    tinted = np.clip(coarse + np.array(COLOURS[label]), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(tinted).resize((176, 176), Image.Resampling.BICUBIC))


class PhotographWorld(StudyWorld):
    """Eight patients with a photograph at each of four members. The fifth of authority's is a copy of its first, the
    fifth of north's nearly the same as its first."""

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.form.write_text("I agree that this study learns from my photograph at this hospital.")
        (self.folder / "photographs.json").write_bytes(keratitis.cohort())
        for number, (member, site) in enumerate(SITES.items()):
            for role, person in (("ethics-officer", "E1"), ("records-officer", "R1"), ("records-officer", "R2")):
                settings = self.processes.settings(member)
                staffing.issue(
                    settings, role=role, department="studies", number=person, hours=12, now=WallClock().now()
                )
            shutil.copytree(LEARNER, self.processes.data(member) / "learners" / "colours")
            took = self.run(member, "photographs", "take", self._photographs(site, number), "--system", "his", "--json")
            assert took.code == 0 and took.json["taken"] == self.patients, took.out + took.err
            assert took.json["classes"] == dict.fromkeys(sorted(PATHOGENS), self.patients // len(PATHOGENS))
            listed = "".join(f"his,{site}-{at}\n" for at in range(self.patients))
            (self.folder / f"{site}.csv").write_text(listed)

    def _photographs(self, site: str, number: int) -> Path:
        folder = self.folder / site
        lines = ["file,patient,label,eye,device,taken"]
        for at in range(self.patients):
            fifth = at == self.patients - len(PATHOGENS)
            copied = fifth and site in (SITES["authority"], SITES["north"])
            label = PATHOGENS[at % len(PATHOGENS)]
            pixels = picture(label, 100 * number + (0 if copied else at))
            if copied and site == SITES["north"]:
                pixels = (pixels * 0.85).astype(np.uint8)
            if site == SITES["clinic"]:
                name = f"{at}.dcm"
                put(folder / name, dicom(pixels, {"PatientID": f"{site}-{at}"}))
            else:
                name = f"{at}.jpg"
                put(folder / name, jpeg(pixels))
            lines.append(f"{name},{site}-{at},{label},,{'' if name.endswith('dcm') else 'SL-9'},")
        return put(folder / "list.csv", "\n".join(lines).encode())

    def file(self, name: str = "study", /, **bent: object) -> Path:
        return put(self.folder / f"{name}.toml", STUDY.encode())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhotographWorld]:
    with consortium_on("solo", tmp_path_factory.mktemp("photographs") / "c") as processes:
        made = PhotographWorld(processes, tmp_path_factory.mktemp("pictures"), patients=8)
        made.prepare()
        yield made


def test_photographs_become_a_model_that_a_hospital_held_out_judges(world: PhotographWorld, tmp_path: Path) -> None:
    study = world.approved()
    for member in SITES:
        world.consenting(study, member)
    page = world.run("north", "study", "look", study, "--json").json
    assert [each["count"] for each in page["classes"]["shares"]] == [2, 2, 2, 2]
    assert page["cameras"] == [{"camera": "SL-9", "rows": 8, "classes": dict.fromkeys(sorted(PATHOGENS), 2)}]
    assert page["pictures"]["read"] == 8
    assert "Maker SL-1" in world.run("clinic", "study", "look", study).out

    copied = world.run("authority", "study", "look", study, "--json").json
    first, second = f"{SITES['authority']}-0", f"{SITES['authority']}-4"
    assert [(each["first"], each["second"]) for each in copied["pictures"]["copies"]] == [(first, second)]
    (certain,) = world.run("authority", "photographs", "copies", study, "--json").lines
    refused = world.run("authority", "photographs", "distinct", study, certain["pair"], "--looked", "R1")
    assert refused.code == 1 and "one picture" in refused.err and first in refused.err
    _looked_at(world, study, tmp_path / "look")
    for member in ("north", "clinic", "authority"):
        world.enrols(study, member)
    held = waits(lambda: "copies" in (world.told("authority", study)["local"].get("waits_for") or ""))
    assert held, "a picture under two patients does not hold the site back"
    assert f"{first} and {second}" in world.told("authority", study)["local"]["waits_for"]
    assert second not in str(world.told("north", study)), "a patient's name left its hospital"
    said = ("--system", "his", "--patient", second, "--reason", "the picture is of another", "--json")
    assert world.run("authority", "study", "withdraw", study, *said).code == 0

    assert world.ends(study)["status"] == "closed"
    assert waits(partial(_judged, world, study)), "the sites' counts did not come together"
    model = tmp_path / "keratitis.safetensors"
    wrote = world.run("north", "study", "model", study, "--out", model, "--json")
    assert wrote.code == 0, wrote.err
    ran = world.run("south", "study", "judge", study, model, "--staff", "E1", "--json")
    assert ran.code == 0, ran.err
    figures = ran.json["figures"]
    assert (ran.json["rows"], ran.json["synthetic"], ran.json["classes"]) == (8, True, list(PATHOGENS))
    assert figures["accuracy"] > figures["majority"] and set(figures["classes"]) == set(PATHOGENS)
    shown = world.run("south", "study", "judge", study, model, "--staff", "E1").out
    assert "SYNTHETIC" in shown and "majority" in shown and "AUROC" in shown
    log = world.run("south", "uses", "--event", "study", "--json")
    assert any("held out" in each["detail"] and each["who"] == "E1" for each in log.lines)

    taken_part = world.run("north", "study", "judge", study, model, "--staff", "E1", "--json")
    assert taken_part.code == 1 and "took no part" in taken_part.err
    altered = bytearray(model.read_bytes())
    altered[-8] ^= 1
    wrong = world.run("south", "study", "judge", study, put(tmp_path / "other.safetensors", bytes(altered)),
                      "--staff", "E1", "--json")  # fmt: skip
    assert wrong.code == 1 and "expected the model that the ledger has" in wrong.err
    assert world.run("south", "study", "judge", study, model, "--staff", "X9", "--json").code != 0


def _looked_at(world: PhotographWorld, study: str, folder: Path) -> None:
    """North's near copy: both pictures given out to R1, who finds two patients; the log keeps it."""
    (near,) = world.run("north", "photographs", "copies", study, "--json").lines
    patients = (f"{SITES['north']}-0", f"{SITES['north']}-4")
    assert (near["first"], near["second"]) == patients and not near["certain"] and near["distinct"] is None
    assert world.run("north", "photographs", "copies", study, near["pair"][:8], "--save", folder).code == 2, (
        "who looks?"
    )
    saved = world.run("north", "photographs", "copies", study, near["pair"][:8], "--save", folder, "--staff", "R1")
    assert saved.code == 0 and [each.name for each in sorted(folder.iterdir())] == ["first.jpg", "second.jpg"]
    assert np.asarray(Image.open(folder / "first.jpg")).mean() > np.asarray(Image.open(folder / "second.jpg")).mean()
    assert world.run("north", "photographs", "distinct", study, near["pair"][:8], "--looked", "X9").code != 0
    assert world.run("north", "photographs", "distinct", study, "", "--looked", "R1").code == 1, "one pair, by its id"
    done = world.run("north", "photographs", "distinct", study, near["pair"][:8], "--looked", "R1", "--json")
    assert done.code == 0 and done.json["distinct"]["who"] == "R1" and done.json["distinct"]["bits"] == near["bits"]
    log = world.run("north", "uses", "--event", "two_pictures", "--json").lines
    assert [each["who"] for each in log] == ["R1", "R1"], "who was given them, and who found two patients"
    assert "to be looked at" in log[0]["detail"] and f"({near['bits']} of 256" in log[1]["detail"]


def _judged(world: PhotographWorld, study: str) -> object:
    return world.told("north", study)["local"].get("all")
