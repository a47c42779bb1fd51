"""The part of a report that is about the model: what came out, curves over the rounds, how good it is."""

from __future__ import annotations

from html import escape
from typing import Any

from commonward.apps.studies import plots
from commonward.apps.studies.plots import Series
from commonward.apps.studies.report_parts import Page, cell, names_of, number, share
from commonward.apps.studies.words import class_in
from commonward.records.statistics import THRESHOLD

__all__ = ["curves", "judged", "summary"]


def summary(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """Tiles: the figures that one looks for first, each with what it must be read beside."""
    text = page.text
    sites = [each for each in study["site"] if each["manifest"] is not None]
    tiles = [
        (text("status"), text(f"status-{study['status']}"), "", False),
        (
            text("rounds"),
            f"{study['round']} / {study['rounds']}",
            f"{study['rule']}, {text('mode-' + study['mode'])}",
            False,
        ),
        (text("sites"), str(len(sites)), "", False),
    ]
    tiles += [(*each, True) for each in _figures(page, best)] if best else []
    body = "".join(
        f'<div class="tile"><span class="soft small">{escape(name)}</span><b>{escape(value)}</b>'
        f'<span class="soft small">{escape(under)}</span>{page.mark if figure else ""}</div>'
        for name, value, under, figure in tiles
    )
    page.section("summary", text("summary"), f'<div class="tiles">{body}</div>')


def _figures(page: Page, best: dict[str, Any]) -> list[tuple[str, str, str]]:
    text = page.text

    def interval(ends: Any) -> str:
        return text("interval", range=page.range(ends)) if ends else ""

    where = text("all-sites" if best["where"] == "all" else "own-site")
    found = [
        (text("rows"), str(best["rows"]), where),
        (text("accuracy"), number(best["accuracy"]), interval(best["accuracy_interval"])),
    ]
    if best.get("majority") is not None:
        found.append((text("majority"), number(best["majority"]), text("accuracy")))
    if best.get("balanced") is not None and len(best["truth"]) > 2:
        found.append((text("balanced"), number(best["balanced"]), interval(best["balanced_interval"])))
    if best.get("auroc") is not None:
        macro = text("auroc-macro" if best.get("classes") else "auroc")
        found.append((macro, number(best["auroc"]), interval(best.get("auroc_interval"))))
    if best.get("brier") is not None:
        usual = best.get("brier_usual")
        beside = "" if usual is None else text("brier-usual", usual=number(usual))
        found.append((text("brier"), number(best["brier"]), beside))
    if best.get("ece") is not None:
        found.append((text("ece"), number(best["ece"]), text("ece-note")))
    if best.get("abstained") is not None:
        rows = text("abstained-rows", silent=best["abstained_rows"], rows=best["rows"])
        found.append((text("abstained"), share(best["abstained"]), rows))
    if best.get("kept_accuracy") is not None:
        found.append((text("kept"), number(best["kept_accuracy"]), interval(best["kept_interval"])))
    if best.get("refused_quality"):
        found.append((text("refused"), str(best["refused_quality"]), text("refused-note")))
    home = best.get("home")
    if home:
        found.append(
            (f"{text('accuracy')}, {text('home')}", number(home["accuracy"]), interval(home["accuracy_interval"]))
        )
    return found


def curves(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """By round: how often it is right, the loss, and what it has cost of the privacy budget."""
    text, curve = page.text, (study.get("local") or {}).get("curve") or []
    drawn = []
    for of, where in (("all", text("all-sites")), ("own", text("own-site"))):
        held = [each for each in curve if each["of"] == of]
        shares = [_series(text(name), held, name) for name in ("accuracy", "balanced", "auroc")]
        shares = [each for each in shares if each.points]
        if shares and best.get("where") == of and best.get("majority") is not None:
            rounds = [float(each["round"]) for each in held]
            shares.append(Series(text("majority"), [(x, best["majority"]) for x in dict.fromkeys(rounds)], dashed=True))
        if shares:
            drawn.append(_curve(page, text("curve-share", where=where), text("share"), shares, 1.0))
        loss = _series(text("brier"), held, "brier")
        if loss.points:
            high = 1.0 if max(y for _, y in loss.points) <= 1 else 2.0
            drawn.append(_curve(page, text("curve-loss", where=where), text("loss"), [loss], high))
    spent = study["privacy"].get("epsilon_by_round") or []
    nothing = "" if drawn else page.note(text("no-counts"))
    if spent:
        drawn.append(_budget(page, study, spent))
    page.section("curves", text("curves"), f'{nothing}<div class="two">{"".join(drawn)}</div>')


def _series(name: str, held: list[dict[str, Any]], key: str) -> Series:
    return Series(name, [(float(each["round"]), each[key]) for each in held if each.get(key) is not None])


def _curve(page: Page, heading: str, up: str, series: list[Series], high: float) -> str:
    label = page.label(f"{heading}. {page.told(series)}")
    drawn = plots.lines(label, page.text("round"), up, series, high)
    table = page.series_table(page.text("round"), series)
    return page.figure(heading, drawn, legend=page.legend(series), table=table)


def _budget(page: Page, study: dict[str, Any], spent: list[float]) -> str:
    """A budget is no figure of the records: it is true of synthetic ones as well."""
    text = page.text
    series = [Series(text("budget-line"), [(float(at), each) for at, each in enumerate(spent, 1)])]
    caps = [each["budget"] for each in study["site"] if each["budget"] is not None]
    if caps:
        series.append(
            Series(text("budget-cap"), [(1.0, max(caps)), (float(max(2, len(spent))), max(caps))], dashed=True)
        )  # fmt: skip
    high = max(max(spent), *caps, 0.01) if caps else max(*spent, 0.01)
    heading = text("curve-budget")
    drawn = plots.lines(f"{heading}. {page.told(series[:1])}", text("round"), "epsilon", series, high)
    table = page.series_table(text("round"), series[:1])
    return page.figure(heading, drawn, legend=page.legend(series), table=table, note=text("budget-note"), marked=False)


def judged(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """By class: what is found and what is true; confusion; calibration."""
    if not best:
        return
    text, names = page.text, names_of(study, best)
    parts = [_by_class(page, best, names)]
    grids = [(text("confusion"), best["confusion"])] if best.get("confusion") else []
    if best.get("kept_confusion") and best.get("abstained"):
        grids.append((text("confusion-kept"), best["kept_confusion"]))
    figures = [_confusion(page, heading, grid, names) for heading, grid in grids]
    for heading, up, groups in _calibrations(page, best, names):
        figures.append(_calibration(page, heading, up, groups))
    parts.append(f'<div class="two">{"".join(figures)}</div>')
    if len(figures) > len(grids):
        parts.append(page.note(text("calibration-note")))
    if best.get("withheld"):
        parts.append(page.note(text("small-cells", most=THRESHOLD - 1)))
    page.section("judged", text("judged"), "".join(parts))


def _by_class(page: Page, best: dict[str, Any], names: list[str]) -> str:
    text, areas = page.text, best.get("classes") or {}
    heads = [
        text("class"),
        text("class-rows"),
        text("recall"),
        text("precision"),
        *([text("one-rest")] if areas else []),
    ]
    rows = []
    for at, name in enumerate(names):
        row = [cell(class_in(text, name)), cell("-" if best["truth"][at] is None else best["truth"][at], numeric=True)]
        row += [
            cell(page.ranged(best[each][at], best[f"{each}_interval"][at]), numeric=True)
            for each in ("recall", "precision")
        ]
        if areas:
            area = areas.get(name) or {}
            row.append(cell(page.ranged(area.get("auroc"), area.get("auroc_interval")), numeric=True))
        rows.append(row)
    return page.table(heads, rows, caption=text("by-class"), marked=True) + page.note(text("by-class-note"))


def _calibrations(page: Page, best: dict[str, Any], names: list[str]) -> list[tuple[str, str, list[dict[str, float]]]]:
    """Heading, what the upright axis is, groups: of two classes one plot, of more the greatest and each class."""
    text, found = page.text, list[tuple[str, str, list[dict[str, float]]]]()
    if best.get("calibration"):
        found.append((text("calibration"), text("was"), best["calibration"]))
    if best.get("confidence"):
        found.append((text("calibration-top"), text("was-right"), best["confidence"]))
    areas = best.get("classes") or {}
    for name in [each for each in names if each in areas] or sorted(areas):
        if areas[name]["calibration"]:
            found.append((text("calibration-of", name=class_in(text, name)), text("was"), areas[name]["calibration"]))
    return found


def _calibration(page: Page, heading: str, up: str, groups: list[dict[str, float]]) -> str:
    text = page.text
    told = "; ".join(
        text("said-was", said=share(each["said"]), was=share(each["was"]), rows=each["rows"]) for each in groups
    )
    drawn = plots.calibration(page.label(f"{heading}. {told}"), text("said"), up, groups)
    rows = [
        [cell(number(each["said"])), cell(page.ranged(each["was"], (each["low"], each["high"])), numeric=True),
         cell(each["rows"], numeric=True)]
        for each in groups
    ]  # fmt: skip
    table = page.table([text("said"), up, text("class-rows")], rows)
    return page.figure(heading, drawn, table=table)


def _confusion(page: Page, heading: str, grid: list[list[int]], names: list[str]) -> str:
    """A table with shades: what is not seen is read, and what is read is the same."""
    text = page.text
    head = "".join(f'<th scope="col">{escape(class_in(text, each))}</th>' for each in names)
    body = []
    for at, row in enumerate(grid):
        whole = sum(row) or 1
        cells = "".join(
            f'<td class="{"hit" if at == column else "miss"}" style="--s:{0.06 + 0.34 * count / whole:.2f}">'
            f"<b>{count}</b>{share(count / whole)}</td>"
            for column, count in enumerate(row)
        )
        body.append(f'<tr><th scope="row">{escape(class_in(text, names[at]))}</th>{cells}</tr>')
    corner = f'<tr><td></td><th colspan="{len(names)}" scope="colgroup">{escape(text("guess"))}</th></tr>'
    shown = (
        f'<table class="heat"><thead>{corner}<tr><th scope="col">{escape(text("truth"))}</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )
    return page.figure(heading, page.scrolls(shown, heading), note=text("confusion-note"))
