"""The heart study on the command line: four members as the four hospitals of the data, each with some of its patients.

world = StudyWorld(processes, folder); world.prepare()
study = world.approved(); world.enrolled(study)             the rounds go by themselves from here
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from commonward.apps import running, staffing
from commonward.apps.samples import heart
from commonward.apps.wiring import WallClock
from tests.apps.conftest import PATIENCE_S, Processes, answers, waits
from tests.cli_world import Ran

SITES = {"north": "cleveland", "clinic": "hungarian", "south": "va", "authority": "switzerland"}
PATIENTS = 16
STUDY = """
title = "Heart disease from routine examinations"
about = "Who needs an angiogram? Logistic regression over four hospitals whose records stay where they are."
cohort = "cohort.json"
label = "num"
label_share = 0.46
mode = "{mode}"
rule = "newton"
rounds = {rounds}
min_sites = {min_sites}
awaited = 4
row_cap = 1
test_share = 0.25
evaluate_every = 1
end = "7d"
viewers = ["north", "clinic"]

[learner]
name = "heart_newton"

[parameters]
ridge = 0.01

[waits]
votes = "1h"
sites = "1h"
updates = "{updates}"
signatures = "5m"
disputes = "1d"

[privacy]
waiver = {waiver}
"""


@dataclass
class StudyWorld:
    """Over a consortium that runs."""

    processes: Processes
    folder: Path
    patients: int = PATIENTS
    form: Path = field(init=False)

    def __post_init__(self) -> None:
        self.form = self.folder / "form.txt"

    def prepare(self) -> None:
        """Staff, records, forms: once for a consortium."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.form.write_text("I agree that this study learns from my records at this hospital.")
        for member, site in SITES.items():
            for role, number in (("ethics-officer", "E1"), ("records-officer", "R1"), ("records-officer", "R2")):
                settings = self.processes.settings(member)
                staffing.issue(
                    settings, role=role, department="studies", number=number, hours=12, now=WallClock().now()
                )
            file = self.folder / f"{site}.json"
            file.write_bytes(heart.bundle(site, 0, self.patients))
            took = self.run(member, "ingest", file, "--system", "his")
            assert took.code == 0, took.err
            listed = "".join(f"his,{site}-{number + 1:03}\n" for number in range(self.patients))
            (self.folder / f"{site}.csv").write_text(listed)
        (self.folder / "cohort.json").write_bytes(heart.cohort())

    def run(self, member: str, *arguments: object) -> Ran:
        return self.processes.run(member, *arguments)

    def file(self, name: str = "study", /, **bent: object) -> Path:
        usual: dict[str, object] = {"mode": "masked", "rounds": 3, "min_sites": 3, "updates": "10m", "waiver": "false"}
        given = {**usual, **bent}
        path = self.folder / f"{name}.toml"
        path.write_text(STUDY.format(**given))
        return path

    def proposed(self, path: Path | None = None, /, **bent: object) -> str:
        """`path`: a study file of another kind."""
        ran = self.run("north", "study", "propose", path or self.file(**bent), "--json")
        assert ran.code == 0, ran.err
        return str(ran.json["study"])

    def approved(self, path: Path | None = None, /, **bent: object) -> str:
        study = self.proposed(path, **bent)
        for member in SITES:
            assert waits(partial(self.knows, member, study)), f"{member} does not hear of the study"
            waive = ("--waive",) if bent.get("waiver") == "true" else ()
            ran = self.run(
                member, "study", "approve", study, "--staff", "E1", "--opinion", "sound", *waive, "--json"
            )  # fmt: skip
            assert ran.code == 0, ran.err
            if ran.json["status"] == "approved":
                break
        for member in SITES:
            assert waits(lambda member=member: self.status(member, study) == "approved")  # type: ignore[misc]
        return study

    def knows(self, member: str, study: str) -> bool:
        return any(each["study"] == study for each in self.processes.node(member).get("/studies"))

    def told(self, member: str, study: str) -> dict[str, Any]:
        return dict(self.processes.node(member).get(f"/studies/{study}"))

    def status(self, member: str, study: str) -> str:
        return str(self.told(member, study)["status"])

    def consenting(self, study: str, member: str) -> None:
        """All patients of a member sign a form."""
        people = ("--staff", "R1", "--staff", "R2", "--json")
        listed = self.folder / f"{SITES[member]}.csv"
        ran = self.run(member, "study", "forms", study, listed, "--text", self.form, *people)
        assert ran.code == 0, ran.err
        assert ran.json["open"] == self.patients

    def enrols(self, study: str, member: str) -> Ran:
        said = ("--staff", "E1", "--words", "agreed by our board", "--yes", "--json")
        ran = self.run(member, "study", "enrol", study, *said)
        assert ran.code == 0, ran.err
        return ran

    def enrolled(self, study: str) -> None:
        for member in SITES:
            self.consenting(study, member)
        for member in SITES:
            self.enrols(study, member)

    def reaches(self, study: str, number: int, member: str = "north") -> dict[str, Any]:
        """Until a round is final, as a member sees it."""

        def done() -> dict[str, Any] | None:
            found = self.told(member, study)
            return found if found["round"] >= number else None

        found = waits(done, PATIENCE_S * 2)
        assert found, f"round {number} is not final: {self.told(member, study)}; {self.last_words()}"
        return dict(found)

    def ends(self, study: str, member: str = "north") -> dict[str, Any]:
        """Until it is closed, as a member sees it."""

        def done() -> dict[str, Any] | None:
            found = self.told(member, study)
            return found if found["status"] in ("closed", "stalled") else None

        found = waits(done, PATIENCE_S * 3)
        assert found, f"it does not end: {self.told(member, study)}; {self.last_words()}"
        return dict(found)

    def kills(self, member: str) -> None:
        """As a power cut does."""
        os.kill(running.processes(self.processes.directory)[member], signal.SIGKILL)
        assert waits(partial(self.processes._ended, member)), f"{member} does not end"

    def starts(self, member: str) -> None:
        running.start(self.processes.directory, PATIENCE_S)
        assert waits(partial(answers, self.processes.node(member))), f"{member} is not live again: {self.last_words()}"

    def last_words(self) -> str:
        return "\n".join(f"{member}: {self.processes.last_words(member)[-800:]}" for member in SITES)
