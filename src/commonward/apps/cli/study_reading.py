"""A study's model used on one photograph (`study read`): chances or none, where it looked, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.adapters.flower import BUNDLED, FlowerLearner, digest_of
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import REFUSED, AsJson, emit, fail, save
from commonward.apps.cli.plain import plain
from commonward.records.images.photograph import PATHOGENS
from commonward.records.images.reading import Reading
from commonward.records.images.triage import ALWAYS_EN, ALWAYS_ZH, Advice, advise
from commonward.records.model import Model, ModelError
from commonward.records.model_file import ModelFileError, read_model
from commonward.workflows.training.ports import LearnerError

LEARNER = "keratitis"
MAX_PHOTOGRAPH = 16 << 20
MAX_MODEL = 256 << 20

_NAMES = {
    "en": dict(zip(PATHOGENS, ("bacterial", "fungal", "viral", "other"), strict=True)),
    "zh": dict(zip(PATHOGENS, ("细菌性", "真菌性", "病毒性", "其他"), strict=True)),
}
_WORDS = {
    "en": {
        "refused": "Not judged, the photograph should be taken again:",
        "abstained": "The model abstains: nothing is likely enough to be named.",
        "likeliest": "Likeliest: {}.",
        "next": "Next, within {} hours",
        "map": "Where the model looked: {}",
    },
    "zh": {
        "refused": "未判读，请重新拍摄：",
        "abstained": "模型不作判断：没有任何类别足够可能。",
        "likeliest": "最可能：{}。",
        "next": "下一步，{}小时之内",
        "map": "模型关注的位置：{}",
    },
}
_TIERS = {
    "en": {"eye-department": "an eye department", "eye-hospital": "a tertiary eye hospital"},
    "zh": {"eye-department": "眼科", "eye-hospital": "三级眼科医院"},
}


def add_to(studies: typer.Typer) -> None:
    studies.command("read")(read)


def read(
    model: Annotated[Path, typer.Argument(help="A study's model of photographs (.safetensors).")],
    photograph: Annotated[Path, typer.Argument(help="A slit-lamp photograph (JPEG or PNG).")],
    heat_map: Annotated[
        Path | None, typer.Option("--map", help="Write a PNG that shows where the model looked.")
    ] = None,
    lang: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Read one photograph with a study's model: chances, what to do next, and where the model looked.

    Not a medical device. Exit 1: the photograph cannot be judged and should be taken again.
    """
    weights = _model(_bytes(model, MAX_MODEL))
    data = _bytes(photograph, MAX_PHOTOGRAPH)
    try:
        with FlowerLearner(LEARNER, digest_of(BUNDLED, LEARNER)) as learner:
            found = learner.read(weights, data)
    except LearnerError as why:
        hint = "; install requirements/vision.txt beside the node" if "ModuleNotFoundError" in str(why) else ""
        fail(f"{plain(str(photograph))}: {plain(str(why))}{hint}")
    if heat_map is not None and found.heat_map:
        save(heat_map, found.heat_map)
    advice = advise(found)
    emit(
        _fields(found, advice, weights, heat_map),
        as_json=as_json,
        text="\n".join(_lines(found, advice, heat_map, lang)),
    )
    if found.findings:
        raise typer.Exit(REFUSED)


def _fields(found: Reading, advice: Advice, weights: Model, heat_map: Path | None) -> dict[str, Any]:
    return {
        "model": weights.digest.hex(),
        "probabilities": {name: found.chance(name) for name in PATHOGENS} if found.probabilities else None,
        "abstained": found.abstained,
        "findings": list(found.findings),
        "advice": {
            "why": advice.why.value,
            "tier": advice.tier.value,
            "hours": advice.hours,
            "en": advice.en,
            "zh": advice.zh,
        },
        "always": {"en": ALWAYS_EN, "zh": ALWAYS_ZH},
        "map": str(heat_map) if heat_map is not None and found.heat_map else None,
    }


def _lines(found: Reading, advice: Advice, heat_map: Path | None, lang: str) -> list[str]:
    words, names = _WORDS[lang], _NAMES[lang]
    if found.findings:
        lines = [words["refused"], *(f"  {plain(each)}" for each in found.findings)]
    else:
        lines = [f"  {names[name]:<10} {found.chance(name):6.1%}" for name in PATHOGENS]
        likeliest = found.likeliest
        assert likeliest is not None
        lines.append(words["abstained"] if found.abstained else words["likeliest"].format(names[likeliest]))
    lines.append(f"[bold]{words['next'].format(advice.hours)}: {_TIERS[lang][advice.tier.value]}[/bold]")
    lines.append(plain(advice.zh if lang == "zh" else advice.en))
    if heat_map is not None and found.heat_map:
        lines.append(words["map"].format(plain(str(heat_map))))
    return [*lines, plain(ALWAYS_ZH if lang == "zh" else ALWAYS_EN)]


def _model(data: bytes) -> Model:
    try:
        return read_model(data)
    except (ModelFileError, ModelError) as why:
        fail(f"the model: {plain(str(why))}")


def _bytes(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            fail(f"{plain(str(path))}: expected a file of at most {most >> 20} MB")
        return path.read_bytes()
    except OSError as cause:
        fail(f"cannot read {plain(str(path))}: {cause.strerror}")
