"""`commonward study judge`: a hospital that did not learn tries the study's model on its own rows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import AsJson, Data, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.cli.study_shown import Which, full


def add_to(studies: typer.Typer) -> None:
    studies.command("judge")(judge)


def judge(
    data: Data,
    study: Which,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model as published (safetensors).")],
    staff: Annotated[str, typer.Option(help="The number of whose decision it is. Kept in the member's log.")],
    as_json: AsJson = False,
) -> None:
    """Judge a study's model by this member's own rows, where it took no part: one site held out.

    It reads the rows of patients who consented to this study here (`commonward study forms`), and only for the model
    that the ledger has. Accuracy, AUROC and calibration with intervals, beside the majority class. They stay here.
    """
    try:
        held = base64.b64encode(model.read_bytes()).decode()
    except OSError as cause:
        fail(f"cannot read {plain(str(model))}: {cause.strerror}")
    node = ControlClient(node_settings.load(data), timeout_s=3600.0)
    wanted = full(node, study)
    found = node.post(f"/studies/{wanted}/judge", {"model": held, "staff": staff})
    emit(found, as_json=as_json, text=_shown(found))


def _shown(found: dict[str, Any]) -> str:
    figures, synthetic = found["figures"], " SYNTHETIC" if found["synthetic"] else ""
    lines = [
        f"[bold]{plain(found['title'])}[/bold]: the model {found['model'][:12]} on {found['rows']}{synthetic} rows "
        "here, none of which it has learnt from"
    ]
    if not figures:
        return "\n".join([*lines, "    The learner counted nothing on them."])
    usual = max(range(len(figures["truth"])), key=lambda at: figures["truth"][at])
    lines += [
        f"    accuracy      {_with(figures['accuracy'], figures['accuracy_interval'])}{synthetic}",
        f"    majority      {figures['majority']:.3f}  by always saying {plain(_class(found, usual))}",
    ]
    if figures.get("balanced") is not None:
        lines.append(f"    balanced      {_with(figures['balanced'], figures['balanced_interval'])}")
    if figures.get("auroc") is not None:
        several = "  mean over the classes" if figures.get("classes") else ""
        lines.append(f"    AUROC         {_with(figures['auroc'], figures.get('auroc_interval'))}{several}")
    for at, name in enumerate(found["classes"] or sorted(figures.get("classes", {}))):
        one = figures.get("classes", {}).get(name)
        if one is None:
            continue
        if one["auroc"] is None:
            lines.append(f"      {plain(name):<12} {one['rows']} rows: nothing can be said")
        else:
            recall = figures["recall"][at] if at < len(figures["recall"]) else None
            said = "" if recall is None else f"; recall {recall:.3f}"
            lines.append(
                f"      {plain(name):<12} {_with(one['auroc'], one['auroc_interval'])}; {one['rows']} rows{said}"
            )
    if figures.get("brier") is not None:
        lines.append(
            f"    Brier score   {figures['brier']:.3f}, {figures['brier_usual']:.3f} by the classes' shares alone"
        )
    if figures.get("ece") is not None:
        lines.append(f"    calibration   off by {figures['ece']:.3f} on average")
        groups = figures.get("confidence") or figures.get("calibration") or []
        lines += [
            f"      said {each['said']:.2f}, was {_with(each['was'], [each['low'], each['high']])} of {each['rows']}"
            for each in groups
        ]
    if figures.get("abstained") is not None:
        kept = figures.get("kept_accuracy")
        rest = "" if kept is None else f"; right on {_with(kept, figures['kept_interval'])} of the rest"
        lines.append(f"    did not say   {_with(figures['abstained'], figures['abstained_interval'])}{rest}")
    if figures.get("refused_quality"):
        lines.append(f"    too poor      {figures['refused_quality']} pictures, in none of these figures")
    if found["copies"]:
        lines.append(f"    [yellow]![/yellow] {found['copies']} pairs of patients have the same picture, or nearly")
    return "\n".join(lines)


def _class(found: dict[str, Any], at: int) -> str:
    return found["classes"][at] if at < len(found["classes"]) else f"class {at}"


def _with(value: float, interval: list[float] | None) -> str:
    return f"{value:.3f}" if not interval else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
