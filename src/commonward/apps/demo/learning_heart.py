"""The first study of the demonstration: heart disease at four hospitals, real patients, masked.

Only sums of all four ever come out, so there is no noise; a hospital is killed and a consent withdrawn in the middle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from commonward.adapters.flower import BUNDLED
from commonward.apps.demo import learning_told as tell
from commonward.apps.demo.learning_hospitals import AUTHORITY, EAST, ETHICS, HOSPITALS, NORTH, SOUTH, WEST, Hospitals
from commonward.apps.demo.learning_patient import WalletPatient
from commonward.apps.demo.learning_sizes import Sizes
from commonward.apps.demo.learning_studies import HEART
from commonward.apps.demo.stage import StoryBroken
from commonward.apps.samples import heart
from commonward.apps.signing.signer import Shown

DATA: Final = {NORTH: "cleveland", EAST: "hungarian", SOUTH: "va", WEST: "switzerland"}
PLACES: Final = {NORTH: "Cleveland", EAST: "Budapest", SOUTH: "Long Beach", WEST: "Zurich and Basel"}
FORM: Final = (
    "I agree that the study of heart disease learns from my records at this hospital. They stay here. "
    "I can take this back at any time, without a reason."
)
OPINIONS: Final = {
    AUTHORITY: "in the public interest; no record leaves a hospital",
    NORTH: "sound: only sums of all hospitals come out",
    EAST: "sound",
    SOUTH: "sound, with the written consent of each patient",
    WEST: "sound",
}
_COLUMNS: Final = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "num")
"""What a patient must have to be a row of the cohort."""


def whole(site: str) -> list[int]:
    """Places in the data of the patients whose examinations are all there."""
    needed = [heart.COLUMNS.index(each) for each in _COLUMNS]
    return [at for at, row in enumerate(heart.rows(site)) if all(row[each] is not None for each in needed)]


def spread(places: Sequence[int], count: int) -> list[int]:
    """So many of them, from the first to the last: published data are sometimes in the order of their labels."""
    count = min(count, len(places))
    return [places[at * len(places) // count] for at in range(count)]


def patient(site: str, at: int) -> str:
    """What a hospital's own system calls them."""
    return f"{site}-{at + 1:03}"


class HeartStudy:
    """Chapter by chapter, over hospitals that run."""

    def __init__(self, hospitals: Hospitals, sizes: Sizes) -> None:
        self.hospitals = hospitals
        self.voice = hospitals.voice
        self.sizes = sizes
        self.study = ""
        self.chosen = {member: spread(whole(site), sizes.heart + 1) for member, site in DATA.items()}
        self.asked: dict[str, list[str]] = {}

    # records
    def intake(self) -> None:
        self.voice.chapter("Each hospital takes in its own records")
        folder = self.hospitals.directory / "samples"
        folder.mkdir(exist_ok=True)
        files = {}
        for member, site in DATA.items():
            rows = heart.rows(site)
            entries = [
                {"resource": each}
                for at in self.chosen[member]
                for each in heart.resources(patient(site, at), rows[at])
            ]
            files[member] = folder / f"{site}.json"
            files[member].write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
        taken = self.hospitals.take_in("FHIR records of patients who had an angiogram", files)
        for member, each in taken.items():
            self.voice.good(
                f"{member}: {each.report.records} records of {len(self.chosen[member])} patients of {PLACES[member]} "
                "(UCI's heart disease data: real people, published)"
            )

    # proposal
    def approval(self) -> None:
        self.voice.chapter("A study is a file; the members' ethics officers vote on it")
        file = self.hospitals.directory / "studies" / "heart.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(HEART.format(rounds=self.sizes.heart_rounds))
        self.voice.say(f"$ commonward study propose {file}")
        self.study = self.hospitals.propose(NORTH, file, heart.cohort())
        found = self.hospitals.told(self.study, AUTHORITY)
        self.voice.good(
            f"study {self.study[:12]}: {found['rule']}, {found['mode']} (only sums over all sites come out), "
            f"learner {found['learner']['name']} {found['learner']['digest'][:16]}"
        )
        page = {"words": "we begin at once", "staff": ETHICS, "seen": bytes(32).hex()}
        why = self.hospitals.refused(
            lambda: self.hospitals.control(EAST).post(f"/studies/{self.study}/enrol", page),
            "east enrolled in a study that nobody had approved",
        )
        self._must("621" in why, f"expected refusal 621, got: {why}")
        self.voice.refused(f"east wants to begin before the vote: {why}")
        voted = self.hospitals.vote(self.study, OPINIONS)
        self._must(AUTHORITY in voted, "the authority did not vote")
        for member in voted:
            self.voice.say(f"{member}'s ethics officer: yes, “{OPINIONS[member]}”")
        self.voice.good(f"approved by {len(voted)} of {len(self.hospitals.members)}: more than two thirds are needed")

    # consents
    def consenting(self) -> None:
        self.voice.chapter("Patients consent: on paper before two witnesses, or by passkey")
        self.asked = {
            member: [patient(site, at) for at in self.chosen[member][1 if member == NORTH else 0 :]][: self.sizes.heart]
            for member, site in DATA.items()
        }
        opened = self.hospitals.bring_forms(self.study, FORM, self.asked)
        for member, count in opened.items():
            self._must(count == len(self.asked[member]), f"{member} has {count} consents open")
        self.wallet = WalletPatient(self.hospitals, "ann", NORTH, self._show)
        self.wallet.takes_part(self.study, patient(DATA[NORTH], self.chosen[NORTH][0]))
        self.hospitals.until(lambda: self._consents(NORTH) == opened[NORTH] + 1, "the passkey's consent", 300)
        said = ", ".join(f"{member} {self._consents(member)}" for member in HOSPITALS)
        self.voice.good(f"open consents, each a transaction with a handle of its own: {said}")
        self.voice.say("Who said no, or was not asked, is in no row: the cohort is read through the consents.")

    def _show(self, shown: Shown) -> None:
        self.voice.panel("\n".join(shown.lines), f"What her phone shows before it signs: {shown.title}")

    def _consents(self, member: str) -> int:
        return int(self.hospitals.told(self.study, member)["local"]["consents"])

    # enrolment
    def enrolment(self) -> None:
        self.voice.chapter("Each hospital looks at its own rows before it takes part")
        pages = self.hospitals.look(self.study)
        warnings = tell.pages(self.voice, pages)
        self._must(
            any(each.startswith(WEST) and "chol" in each for each in warnings),
            "west was not warned that cholesterol was never measured there",
        )
        self._changed_learner(pages[SOUTH])
        self.hospitals.enrol(self.study, pages)
        self.voice.good("all four enrol; each officer's signature covers the page that they saw")

    def _changed_learner(self, page: dict[str, Any]) -> None:
        """South has another version of the learner installed: its own node does not take part with that."""
        own = self.hospitals.data(SOUTH) / "learners"
        for name in ("heart_newton", "tabular"):
            shutil.copytree(BUNDLED / name, own / name, ignore=shutil.ignore_patterns("__pycache__"))
        changed: Path = own / "heart_newton" / "app.py"
        changed.write_text(changed.read_text() + "\n# one line more\n")
        body = {"words": "agreed", "staff": ETHICS, "seen": page["digest"]}
        why = self.hospitals.refused(
            lambda: self.hospitals.control(SOUTH).post(f"/studies/{self.study}/enrol", body),
            "south enrolled with a learner that nobody had approved",
        )
        self._must("digest" in why, f"south was refused for another reason: {why}")
        self.voice.refused(f"south, with one line changed in its learner: {why}")
        shutil.rmtree(own)

    # rounds
    def rounds(self) -> None:
        self.voice.chapter("Rounds: no coordinator; one hospital is killed, and a patient withdraws")

        def shown(found: dict[str, Any]) -> None:
            tell.final_round(self.voice, found)

        with self.voice.progress("the hospitals learn"):
            self.hospitals.follow(self.study, lambda found: None, to=1)
        self.hospitals.kill(SOUTH)  # at once: rounds of a small model take a fraction of a second
        before = self.hospitals.told(self.study)
        shown(before)
        self._must(before["round"] < before["rounds"], "all rounds were over before a hospital could be killed")
        self.voice.refused(
            f"south's node is killed (kill -9) during round {before['round'] + 1}: the others wait for it"
        )
        manifests = {each["member"]: each["manifest"] for each in before["site"]}
        gone = self.asked[EAST][0]
        body = {"system": "his", "patient": gone, "reason": "moved away"}
        withdrawn = self.hospitals.control(EAST).post(f"/studies/{self.study}/withdraw", body)
        self.alone = self.hospitals.alone(self.study, [each for each in HOSPITALS if each != SOUTH])
        self._must(bool(withdrawn["touched"]), "no model was named that had learnt from the patient who withdrew")
        self.voice.say(
            "Meanwhile a patient at east withdraws. South's node is started again, and finds in its vault where it was."
        )
        self.hospitals.revive(SOUTH)
        with self.voice.progress("the hospitals learn"):
            self.hospitals.follow(self.study, shown, since=before["round"])
        self.alone |= self.hospitals.alone(self.study, [SOUTH])
        self._without(withdrawn["consent"], manifests)
        self.hospitals.ends(self.study)

    def _without(self, consent: str, manifests: dict[str, str]) -> None:
        """Which models learnt from the patient who withdrew, and that none has since."""
        found = self.hospitals.told(self.study)
        after = {each["member"]: each["manifest"] for each in found["site"]}
        self._must(after[EAST] != manifests[EAST], "east learnt on with the patient who withdrew")
        self._must(after[NORTH] == manifests[NORTH], "north's rows changed, though nobody withdrew there")
        told = self.hospitals.control(EAST).get(f"/studies/{self.study}/touched", consent=consent)["touched"]
        last = told[-1]["round"]
        self._must(last < found["rounds"], "the last model learnt from the patient who had withdrawn before")
        models = tell.listed([f"{each['model'][:12]} (round {each['round']})" for each in told])
        self.voice.good(f"models that learnt from the patient who withdrew, and stay: {models}")
        self.voice.good(
            f"from round {last + 1} on east's manifest is another, over {self._consents(EAST)} patients; the ledger "
            "takes no update made with an older one"
        )

    # figures
    def figures(self) -> None:
        self.voice.chapter("What they have learnt, beside what each had without the others")
        self.hospitals.until(lambda: self._all_sites(), "the sum of all sites' counts", 300)
        tell.figures(self.voice, self.alone, self.hospitals.together(self.study), home=True)
        self.voice.good(f"together: {tell.pooled(self._all_sites())}")
        self.voice.say(
            f"With {self.sizes.heart} patients a hospital much of this is chance: docs/learning.md has a hundred "
            "splits of all 740."
        )

    def _all_sites(self) -> dict[str, Any]:
        return dict(self.hospitals.told(self.study)["local"].get("all", {}).get("", {}))

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            raise StoryBroken(otherwise)
