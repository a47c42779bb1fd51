"""A study's model used on one photograph (`study read`): chances or none, where it looked, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.adapters.flower import BUNDLED, FlowerLearner, digest_of
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import REFUSED, AsJson, emit, fail, save
from commonward.apps.cli.plain import plain
from commonward.apps.studies.words import class_in, words_in
from commonward.records.images.photograph import PATHOGENS
from commonward.records.images.reading import Reading
from commonward.records.images.triage import ALWAYS_EN, ALWAYS_ZH, Advice, advise
from commonward.records.model import Model, ModelError
from commonward.records.model_file import ModelFileError, read_model
from commonward.workflows.training.ports import LearnerError

LEARNER = "keratitis"
MAX_PHOTOGRAPH = 16 << 20
MAX_MODEL = 256 << 20


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
    text = words_in(lang)
    if found.findings:
        lines = [text("read-refused"), *(f"  {plain(each)}" for each in found.findings)]
    else:
        lines = [f"  {class_in(text, name):<10} {found.chance(name):6.1%}" for name in PATHOGENS]
        likeliest = found.likeliest
        assert likeliest is not None
        named = text("read-likeliest", name=class_in(text, likeliest))
        lines.append(text("read-abstained") if found.abstained else named)
    lines.append(f"[bold]{text('read-next', hours=advice.hours)}: {text(f'tier-{advice.tier.value}')}[/bold]")
    lines.append(plain(advice.zh if lang == "zh" else advice.en))
    if heat_map is not None and found.heat_map:
        lines.append(text("read-map", file=plain(str(heat_map))))
    return [*lines, plain(ALWAYS_ZH if lang == "zh" else ALWAYS_EN)]


def _model(data: bytes) -> Model:
    try:
        return read_model(data)
    except (ModelFileError, ModelError) as why:
        fail(f"the model: {plain(str(why))}")


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:  # what it says of its size is not asked: a device says 0 and has no end
            data = file.read(most + 1)
        if len(data) > most:
            fail(f"{plain(str(path))}: expected a file of at most {most >> 20} MB")
        return data
    except OSError as cause:
        fail(f"cannot read {plain(str(path))}: {cause.strerror}")
