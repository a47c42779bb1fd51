"""The page before enrolment as a file for a hospital's people: in words first, then what looks odd and what to do about
it, then the numbers. English or Chinese; it needs nothing else, as a report."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from commonward.apps.studies import plots
from commonward.apps.studies.look import odd_told
from commonward.apps.studies.look_pictures import camera_in
from commonward.apps.studies.report_parts import Cell, Page, cell, document, share
from commonward.apps.studies.words import class_in, words_in

__all__ = ["render_look"]

_ADVICE: Final = {"one-class": "one-label", "class-none": "label", "class-share": "label"}
"""Kinds of odd things that call for the same as another kind."""

_NARROW: Final = 0.4
"""How long a bar is in a table of many columns, of one in a table of few."""

_CANNOT: Final = frozenset({"lacking", "no-rows"})
"""Kinds of odd things with which the study cannot run here at all."""


def render_look(look: dict[str, Any], language: str = "en", made: int | None = None) -> str:
    """The file.

    Args:
        look: as the control API tells it: `looked`'s page with `title`, `about`, `study`, `member` and `synthetic`.
        language: `en` or `zh`.
        made: when (ms); not told where None.
    """
    text = words_in(language)
    page = Page(text, language, synthetic=bool(look.get("synthetic")))
    page.section(
        "plainly", text("plainly"), "".join(f"<p>{escape(each)}</p>" for each in _plainly(page, look)), "plain"
    )
    _odd(page, look)
    _label(page, look)
    _classes(page, look)
    _cameras(page, look)
    _pictures(page, look)
    _columns(page, look)
    signed = page.note(text("look-signed-note")) + f'<p class="mono">{escape(look["digest"])}</p>'
    page.section("signed", text("look-signed"), signed)
    return document(page, f"{text('look')}: {look['title']}", _head(page, look, made))


def _head(page: Page, look: dict[str, Any], made: int | None) -> str:
    text, by = page.text, ""
    if made is not None:
        when = datetime.fromtimestamp(made / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        by = page.note(text("look-made", member=look.get("member", "?"), time=when))
    pictures = look.get("pictures") or {}
    names = pictures.get("copies") or pictures.get("unreadable")
    private = f'<p class="banner" role="note">{escape(text("look-patients"))}</p>' if names else ""
    about = f"<p>{escape(look['about'])}</p>" if look.get("about") else ""
    return (
        f'<header><div class="soft">{escape(text("look"))}{page.mark}</div><h1>{escape(look["title"])}</h1>{about}'
        f'<div class="mono soft">{escape(look["study"])}</div>{by}</header>{page.banner()}{private}'
    )


def _plainly(page: Page, look: dict[str, Any]) -> list[str]:
    text, kinds = page.text, [each["what"] for each in look["odd"]]
    said = [text("look-consents", consents=look["consents"], rows=look["rows"]), text("look-stays")]
    if not kinds:
        said.append(text("look-fine"))
    else:
        said.append(text("look-one-odd") if len(kinds) == 1 else text("look-odd-count", count=len(kinds)))
    held = "look-held" if "same-picture" in kinds else "look-near" if "near-picture" in kinds else "look-may"
    return said if not kinds or _CANNOT & set(kinds) else [*said, text(held)]


def _odd(page: Page, look: dict[str, Any]) -> None:
    text = page.text
    if not look["odd"]:
        return
    lines = []
    for each in look["odd"]:
        advice = text(f"do-{_ADVICE.get(each['what'], each['what'])}")
        lines.append(f"<li><b>{escape(odd_told(text, each))}</b>{page.mark}<br><span>{escape(advice)}</span></li>")
    page.section("odd", text("look-odd"), page.note(text("look-odd-note")) + f'<ul class="facts">{"".join(lines)}</ul>')


def _label(page: Page, look: dict[str, Any]) -> None:
    """Of a label above 0 or not: the share here with its interval, above the proposer's."""
    text, label = page.text, look.get("label")
    if not label or label.get("share") is None:
        return
    dots = [plots.Dot(text("look-here"), label["share"], (label["low"], label["high"]))]
    if label["proposer"] is not None:
        dots.append(plots.Dot(text("look-there"), label["proposer"], None, whole=True))
    there = text("own-none") if label["proposer"] is None else share(label["proposer"])
    facts = {"here": share(label["share"]), "low": share(label["low"]), "high": share(label["high"]), "there": there}
    said = text("look-label-alt", name=label["name"], **facts)
    rows = [
        [cell(text("look-here")), cell(_between(page, label), numeric=True)],
        [cell(text("look-there")), cell(there, numeric=True)],
    ]
    axis = text("look-label-axis", name=label["name"])
    drawn = plots.forest(page.label(said), axis, dots)
    table = page.table([text("look-label"), axis], rows)
    page.section("label", text("look-label"), f"<p>{escape(said)}{page.mark}</p>" + page.figure(
        axis, drawn, table=table, note=text("look-label-note")
    ))  # fmt: skip


def _between(page: Page, each: dict[str, Any]) -> str:
    """50 % (44 % to 56 %)"""
    if each["share"] is None:
        return "-"
    between = page.text("range", low=share(each["low"]), high=share(each["high"]))
    return f"{share(each['share'])} ({between})"


def _bar(part: float | None, said: str) -> Cell:
    if part is None:
        return cell("-")
    return Cell(f'<span class="share"><span class="bar" style="--w:{part:.3f}"></span>{escape(said)}</span>')


def _classes(page: Page, look: dict[str, Any]) -> None:
    """How the classes are shared out here, beside the proposer's."""
    text, found = page.text, look.get("classes")
    if not found:
        return
    rows = []
    for each in found["shares"]:
        there = each["proposer"]
        rows.append([
            cell(class_in(text, each["class"])), cell(each["count"], numeric=True),
            _bar(each["share"], _between(page, each)), _bar(there, "-" if there is None else share(there)),
        ])  # fmt: skip
    heads = [text("class"), text("class-rows"), text("share-here"), text("share-there")]
    table = page.table(heads, rows, caption=found["name"], marked=True)
    page.section("classes", text("look-classes"), table + page.note(text("look-classes-note")))


def _cameras(page: Page, look: dict[str, Any]) -> None:
    """Which camera took which classes, as a map: where they go together, a model learns the camera."""
    text, found = page.text, look.get("cameras")
    if not found:
        return
    names = sorted({name for each in found for name in each["classes"]})
    totals = {name: sum(each["classes"].get(name, 0) for each in found) for name in names}
    rows = []
    for each in found:
        row = [cell(camera_in(text, each["camera"])), cell(each["rows"], numeric=True)]
        for name in names:
            count = each["classes"].get(name, 0)
            part = count / (totals[name] or 1)
            row.append(_bar(part * _NARROW, f"{count} ({share(part)})") if count else cell(0))
        rows.append(row)
    heads = [text("camera"), text("class-rows"), *(class_in(text, name) for name in names)]
    table = page.table(heads, rows, marked=True, label=text("own-cameras"))
    page.section("cameras", text("own-cameras"), table + page.note(text("look-cameras-note")))


def _pictures(page: Page, look: dict[str, Any]) -> None:
    text, found = page.text, look.get("pictures")
    if not found:
        return
    parts = [f"<p>{escape(text('look-read', read=found['read']))}{page.mark}</p>"]
    if found["unreadable"]:
        patients = text("odd-list").join(found["unreadable"])
        parts.append(f"<p>{escape(text('look-unreadable', patients=patients))}</p>")
    if not found["copies"]:
        parts.append(f"<p>{escape(text('look-no-copies'))}</p>")
    rows = []
    for each in found["copies"]:
        alike = text("look-certain") if each["certain"] else text("look-bits", bits=each["bits"])
        seen = text("look-by", who=each["looked"]) if each["looked"] else text("look-not-yet")
        pair = text("odd-pair", first=each["first"], second=each["second"])
        rows.append([cell(pair), cell(alike), cell("-" if each["certain"] else seen), cell(each["pair"][:12])])
    if rows:
        heads = [text("look-two"), text("look-alike"), text("look-looked"), text("look-pair")]
        parts.append(page.table(heads, rows, caption=text("look-copies"), marked=True))
    page.section("pictures", text("look-pictures"), "".join(parts))


def _columns(page: Page, look: dict[str, Any]) -> None:
    text, of = page.text, look["rows"]
    rows = []
    for each in look["columns"]:
        missing = each["missing"]
        said = f"{missing} ({share(missing / of)})" if of and missing else str(missing)
        numbers = [f"{each[name]:.4g}" if name in each else "-" for name in ("least", "median", "most")]
        zeros = str(each["zeros"]) if "zeros" in each else "-"
        shown = (said, str(each["distinct"]), *numbers, zeros)
        rows.append([cell(each["name"]), *(cell(one, numeric=True) for one in shown)])
    heads = [text(f"look-{name}") for name in ("column", "missing", "distinct", "least", "median", "most", "zeros")]
    table = page.table(heads, rows, marked=True, label=text("look-columns"))
    page.section("columns", text("look-columns"), table + page.note(text("look-columns-note")))
