"""The second study of the demonstration: keratitis from SYNTHETIC photographs of four cameras, open, with privacy.

Each hospital's change of the model is seen by the other hospitals, so each hides its patients in noise, and the
ledger charges it to a budget that no hospital can refill.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from commonward.apps.demo import learning_told as tell
from commonward.apps.demo.learning_hospitals import AUTHORITY, EAST, HOSPITALS, NORTH, SOUTH, WEST, Hospitals
from commonward.apps.demo.learning_patient import WalletPatient
from commonward.apps.demo.learning_photographs import Darkroom
from commonward.apps.demo.learning_sizes import Sizes
from commonward.apps.demo.learning_studies import BOLD, KERATITIS
from commonward.apps.demo.learning_told import SYNTHETIC
from commonward.apps.demo.stage import StoryBroken
from commonward.apps.samples import heart, keratitis
from commonward.apps.signing.signer import Shown
from commonward.records.privacy import NOISE_UNIT, RATE_UNIT, least_noise

EPSILON: Final = 8
DELTA: Final = 5
FORM: Final = (
    "I agree that the study of keratitis learns from the photographs of my eye at this hospital. They stay here. "
    "I can take this back at any time, without a reason."
)
OPINIONS: Final = {
    AUTHORITY: "in the public interest; the noise is enough for photographs of eyes",
    NORTH: "sound: epsilon 8 for a patient over the whole study",
    EAST: "sound",
    SOUTH: "sound",
    WEST: "sound",
}
_STEPS: Final = 5
_RATE_OF_LEARNING: Final = 3_000_000_000
_ABSTAIN: Final = 375_000_000
_TOO_LITTLE: Final = Decimal("0.3")
"""Noise with which one round alone would cost more than the cap."""


class KeratitisStudy:
    """Chapter by chapter, over hospitals that run and a darkroom that draws."""

    def __init__(self, hospitals: Hospitals, sizes: Sizes, room: Darkroom) -> None:
        self.hospitals = hospitals
        self.voice = hospitals.voice
        self.sizes = sizes
        self.room = room
        self.study = ""
        self.noise = Decimal(
            least_noise(EPSILON * 1_000_000, RATE_UNIT, _STEPS, sizes.photograph_rounds, DELTA)
        ) / Decimal(NOISE_UNIT)  # fmt: skip

    # records
    def intake(self) -> None:
        self.voice.chapter(f"A second study: photographs of eyes ({SYNTHETIC})")
        files = self.room.develop(self.voice)
        taken = self.hospitals.take_in("photographs of four cameras, as FHIR records", files)
        for member, each in taken.items():
            self.voice.good(
                f"{member}: {each.report.records} records of {self.sizes.photographs} {SYNTHETIC} patients, "
                f"{self._shares(member)}"
            )

    @staticmethod
    def _shares(member: str) -> str:
        named = zip(("bacterial", "fungal", "viral", "other"), keratitis.CLASSES[member], strict=True)
        return ", ".join(f"{share:.0%} {name}" for name, share in named)

    # proposal
    def approval(self) -> None:
        self.voice.chapter("Open rounds need noise, and noise has a price: the privacy budget")
        folder = self.hospitals.directory / "studies"
        bold, file = folder / "bold.toml", folder / "keratitis.toml"
        bold.write_text(BOLD.format(noise=_TOO_LITTLE))
        why = self.hospitals.refused(
            lambda: self.hospitals.propose(NORTH, bold, heart.cohort()), "a study over the budget was proposed"
        )
        self._must("605" in why, f"expected refusal 605, got: {why}")
        self.voice.refused(
            f"noise of {_TOO_LITTLE} in an open study: {why}; one round alone would cost more than the cap"
        )
        file.write_text(
            KERATITIS.format(
                rounds=self.sizes.photograph_rounds, side=self.sizes.side, learning_rate=_RATE_OF_LEARNING,
                abstain=_ABSTAIN, epsilon=EPSILON, delta=DELTA, noise=self.noise, steps=_STEPS,
            )
        )  # fmt: skip
        self.voice.say(f"$ commonward study propose {file}")
        self.study = self.hospitals.propose(NORTH, file, keratitis.cohort())
        found = self.hospitals.told(self.study, AUTHORITY)
        privacy = found["privacy"]
        self._must(privacy["charged"] and privacy["epsilon_in_all"] <= EPSILON, f"it charges {privacy}")
        self.voice.good(
            f"study {self.study[:12]}: {found['rule']}, {found['mode']}, learner {found['learner']['name']}; noise "
            f"{self.noise:g} a step, {_STEPS} steps a round: epsilon {privacy['epsilon_a_round']:.2f} for one round, "
            f"{privacy['epsilon_in_all']:.2f} for all {found['rounds']}, at delta 10^-{DELTA}"
        )
        voted = self.hospitals.vote(self.study, OPINIONS)
        self.voice.good(f"approved by {tell.listed(voted)}")

    # consents and enrolment
    def enrolment(self) -> None:
        self.voice.chapter("Consents, the pages of four cameras, and enrolment")
        patients = {
            member: [f"{member}-{at:05}" for at in range(member == NORTH, self.sizes.photographs)]
            for member in HOSPITALS
        }
        opened = self.hospitals.bring_forms(self.study, FORM, patients)
        self.wallet = WalletPatient(self.hospitals, "ben", NORTH, self._show)
        self.consent = self.wallet.takes_part(self.study, f"{NORTH}-00000")
        self.hospitals.until(lambda: self._consents() == opened[NORTH] + 1, "the passkey's consent", 300)
        said = ", ".join(f"{member} {count + (member == NORTH)}" for member, count in opened.items())
        self.voice.good(f"open consents: {said}; one of north's by passkey")
        pages = self.hospitals.look(self.study)
        tell.pages(self.voice, pages)
        self.hospitals.enrol(self.study, pages)
        self.voice.good("all four enrol")

    def _show(self, shown: Shown) -> None:
        """The first study showed what a phone shows."""

    def _consents(self) -> int:
        return int(self.hospitals.told(self.study)["local"]["consents"])

    # rounds
    def rounds(self) -> None:
        self.voice.chapter("Rounds with noise: what each hospital's patients have spent stands beside the cap")

        def shown(found: dict[str, Any]) -> None:
            tell.final_round(self.voice, found, SYNTHETIC)

        with self.voice.progress("the hospitals learn"):
            self.hospitals.follow(self.study, shown, to=1)
        self.alone = self.hospitals.alone(self.study)  # now: the hospitals' learners have looked at the photographs
        with self.voice.progress("the hospitals learn"):
            self.hospitals.follow(self.study, shown, since=1)
        found = self.hospitals.told(self.study)
        spent = {each["member"]: each["spent"] for each in found["site"]}
        self._must(all(0 < each <= EPSILON for each in spent.values()), f"the ledger counts {spent}")
        self.hospitals.ends(self.study)

    # figures
    def figures(self) -> None:
        self.voice.chapter(f"What they have learnt ({SYNTHETIC})")
        self.hospitals.until(lambda: bool(self._all_sites()), "the sum of all sites' counts", 300)
        tell.figures(self.voice, self.alone, self.hospitals.together(self.study), SYNTHETIC)
        self.voice.good(f"{SYNTHETIC}, together: {tell.pooled(self._all_sites())}")
        self.voice.say(
            "Alone means without noise: what a hospital does not show to others needs none. For so few patients noise "
            "costs much; `python -m bench keratitis` measures it with a thousand at each hospital."
        )
        before = self._consents()
        self.wallet.withdraws("I have changed my mind")
        self.hospitals.until(lambda: self._consents() == before - 1, "the withdrawal", 300)
        told = self.hospitals.control(NORTH).get(f"/studies/{self.study}/touched", consent=self.consent)["touched"]
        self._must(bool(told), "no model was named that had learnt from the patient who withdrew by passkey")
        self.voice.say(
            f"The patient with the passkey withdraws by it. The study is over: {len(told)} models learnt from this "
            f"patient and stay, the last of them {told[-1]['model'][:12]}."
        )

    def _all_sites(self) -> dict[str, Any]:
        return dict(self.hospitals.told(self.study)["local"].get("all", {}).get("", {}))

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            raise StoryBroken(otherwise)
