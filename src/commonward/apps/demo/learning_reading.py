"""The last thing that a study is for: one new photograph, read by the model that the hospitals learnt together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from commonward.adapters.flower import FlowerLearner
from commonward.apps.demo.learning_hospitals import NORTH, Hospitals
from commonward.apps.demo.learning_told import SYNTHETIC
from commonward.apps.demo.stage import StoryBroken
from commonward.ledger.encoding import Digest
from commonward.records.images.photograph import PATHOGENS
from commonward.records.images.reading import Reading
from commonward.records.images.triage import ALWAYS_EN, advise
from commonward.records.model_file import read_model

_BAR: Final = 30


def read_one(hospitals: Hospitals, study: str, model: Path, photographs: list[Path]) -> None:
    """By the learner of the study, in its own process. The model is the file that was just verified."""
    voice = hospitals.voice
    voice.chapter(f"A new photograph, from a camera that no hospital of the study has ({SYNTHETIC})")
    approved = Digest(bytes.fromhex(hospitals.told(study, NORTH)["learner"]["digest"]))
    weights = read_model(model.read_bytes())
    with FlowerLearner("keratitis", approved) as learner, voice.progress("the model reads it"):
        found = [(path, learner.read(weights, path.read_bytes())) for path in photographs]
    readable = [(path, reading) for path, reading in found if reading.probabilities]
    if not readable:
        raise StoryBroken(f"none of the {len(found)} new photographs could be judged: {found[0][1].findings}")
    path, reading = next((each for each in readable if not each[1].abstained), readable[0])
    voice.say(f"{path}: drawn as {path.stem.rpartition('-')[2]}, which the model is not told")
    for pathogen in PATHOGENS:
        chance = reading.chance(pathogen)
        voice.say(f"{pathogen:<10} {'█' * round(chance * _BAR):<{_BAR}} {chance:.2f}")
    _told(hospitals, reading)
    heat = model.with_name(f"{path.stem}-heat-map.png")
    heat.write_bytes(reading.heat_map)
    if not reading.heat_map.startswith(b"\x89PNG"):
        raise StoryBroken("the reading came without a heat map")
    voice.good(f"where it looked: {heat}")
    unsure = sum(each.abstained for _, each in found)
    voice.say(f"Of {len(found)} new photographs it abstained on {unsure}.")


def _told(hospitals: Hospitals, reading: Reading) -> None:
    said = advise(reading)
    named = "the model abstains" if reading.abstained else f"the model names {reading.likeliest}"
    hospitals.voice.good(f"{named}; to be seen at an {said.tier}, within {said.hours} hours")
    hospitals.voice.say(said.en)
    hospitals.voice.say(ALWAYS_EN)
    hospitals.voice.say("This model knows drawings alone: never use it for a patient.")
