"""Learning together, told with five real nodes: four hospitals and a health authority, two studies, start to end.

Each chapter does what the commands do, and checks that it came out: a chapter that does not ends the demo with a
sentence. Heart disease: UCI's published patients, masked, without noise. Keratitis: photographs drawn by a program,
open, with privacy for each patient; whatever is said of them says SYNTHETIC.
"""

from __future__ import annotations

from pathlib import Path

from commonward.apps.demo import learning_told as tell
from commonward.apps.demo.learning_heart import PLACES, HeartStudy
from commonward.apps.demo.learning_hospitals import AUTHORITY, HOSPITALS, NORTH, SOUTH, Hospitals
from commonward.apps.demo.learning_keratitis import KeratitisStudy
from commonward.apps.demo.learning_photographs import Darkroom
from commonward.apps.demo.learning_reading import read_one
from commonward.apps.demo.learning_sizes import DEMO, Sizes
from commonward.apps.demo.learning_told import SYNTHETIC
from commonward.apps.demo.stage import StoryBroken, Voice
from commonward.apps.studies.report import render
from commonward.apps.studies.words import words_in
from commonward.apps.verify_model import verify_model

STRANGERS = 3
"""Photographs of patients of a fifth camera, of whom one is read at the end."""


def run(directory: Path, port: int, voice: Voice, engine: str = "solo", sizes: Sizes = DEMO) -> None:
    """The whole story. Raises StoryBroken, and what the commands raise."""
    _Story(Hospitals(directory, voice, engine), sizes, port).tell()


class _Story:
    def __init__(self, hospitals: Hospitals, sizes: Sizes, port: int) -> None:
        self.hospitals = hospitals
        self.voice = hospitals.voice
        self.sizes = sizes
        self.port = port
        self.models: dict[str, Path] = {}
        self.reports: list[Path] = []

    def tell(self) -> None:
        self.voice.chapter("Four hospitals and a health authority, no owner")
        founded = self.hospitals.found(self.port)
        folder = self.hospitals.directory / "samples" / "photographs"
        with Darkroom(folder, HOSPITALS, self.sizes.photographs, self.sizes.side, STRANGERS) as room:
            self.consortium(bool(founded.operator))
            heart = HeartStudy(self.hospitals, self.sizes)
            heart.intake()
            heart.approval()
            heart.consenting()
            heart.enrolment()
            heart.rounds()
            heart.figures()
            self.proof("heart", heart.study)
            keratitis = KeratitisStudy(self.hospitals, self.sizes, room)
            keratitis.intake()
            keratitis.approval()
            keratitis.enrolment()
            keratitis.rounds()
            keratitis.figures()
            self.proof("keratitis", keratitis.study, SYNTHETIC)
            read_one(self.hospitals, keratitis.study, self.models["keratitis"], room.strangers())
            self.report({"heart": heart.study, "keratitis": keratitis.study})
            self.going_on(heart.study)

    def consortium(self, alone: bool) -> None:
        self.hospitals.start()
        self.hospitals.hire()
        for member in HOSPITALS:
            self.voice.say(
                f"{member}: a hospital, with the patients of {PLACES[member]} (heart) and a camera of its own"
            )
        self.voice.say("authority: approves studies and looks on; it has no patients and trains nothing")
        status = self.hospitals.control(NORTH).get("/status")
        if alone:
            self.voice.say("the authority runs the sequencer; the others execute all it orders, and cosign")
        else:
            self.voice.say(
                "Nobody orders alone: the four hospitals agree on each block (CometBFT), and one may fail or lie"
            )
        self.voice.good(
            f"{len(self.hospitals.processes)} processes run; {len(status['proven']['members'])} members cosigned the "
            f"ledger {status['ledger'][:16]} at height {status['height']}. Photographs are drawn meanwhile."
        )

    def proof(self, name: str, study: str, mark: str = "") -> None:
        """The model against its lineage, offline; a forged one; every round again."""
        self.voice.chapter(
            f"A model that anyone verifies, and rounds that each site computes again{f' ({mark})' if mark else ''}"
        )
        model, trust = self.hospitals.result(study, name)
        self.models[name] = model
        self.voice.say(f"$ commonward verify {model} --trust {trust.name}")
        said = verify_model(model, trust.read_bytes())
        for step in said.steps:
            self.voice.say(f"{step.number}. {step.state}: {step.text}")
        self._must(said.exit_code == 0, f"the model did not convince: {said.verdict}")
        self.voice.good(said.verdict)
        data = bytearray(model.read_bytes())
        data[-8] ^= 1  # the least part of one weight
        forged = model.with_name(f"{name}-altered.safetensors")
        forged.write_bytes(data)
        forged.with_suffix(".lineage").write_bytes(model.with_suffix(".lineage").read_bytes())
        wrong = verify_model(forged, trust.read_bytes())
        self._must(wrong.exit_code == 1, "a model with one weight altered convinced")
        self.voice.refused(f"one weight altered by 2^-24: {wrong.verdict}")
        for member, rounds in self.hospitals.replay(study).items():
            bad = [each for each in rounds if not each["same"]]
            self._must(not bad, f"{member} did not come to the same: {bad}")
        self.voice.good(
            f"{tell.listed(HOSPITALS)} each computed all {len(rounds)} rounds again: byte for byte the same"
        )

    def report(self, studies: dict[str, str]) -> None:
        self.voice.chapter("The reports")
        folder = self.hospitals.directory / "results"
        for name, study in studies.items():
            for language in ("en", "zh"):
                found = self.hospitals.told(study)
                found["local"]["look"] = self.hospitals.control(NORTH).get(f"/studies/{study}/look")
                page = render(found, language, found["now"])
                path = folder / f"{name}-{language}.html"
                path.write_text(page)
                self._must(found["model"] in page, f"the report of {name} does not name its model")
                mark = words_in(language)("synthetic")
                self._must(name == "heart" or mark in page, f"a report of drawn photographs does not say {mark}")
                self.reports.append(path)
            self.voice.good(f"{name}: {folder / f'{name}-en.html'} (one page that needs nothing else; also -zh)")

    def going_on(self, heart: str) -> None:
        root = self.hospitals.directory
        self.voice.panel(
            f"commonward study list --data {root}/members/north\n"
            f"commonward study show {heart[:12]} --data {root}/members/{AUTHORITY}\n"
            f"commonward study report {heart[:12]} --open --data {root}/members/{SOUTH}\n"
            f"commonward verify {self.models['heart']} --trust {self.models['heart'].with_suffix('.trust')}\n"
            f"commonward network status {root}\n"
            f"commonward down {root}",
            f"Done in {self.voice.seconds:.0f} s. The five nodes still run: go on with",
        )

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            raise StoryBroken(otherwise)
