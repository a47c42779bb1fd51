"""The part of a report that only this site may read: its own rows as it saw them before it enrolled, and its results.

No patient is named here, though that page names those whose pictures cannot be read or are copies: a report is a file
that travels.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

from commonward.apps.studies.look import odd_told
from commonward.apps.studies.look_pictures import camera_in
from commonward.apps.studies.report_parts import Page, cell, number, share
from commonward.apps.studies.words import class_in

__all__ = ["own"]

_NAMING: Final = frozenset({"unreadable", "same-picture", "near-picture"})
"""Kinds of odd things whose sentences name patients."""


def own(page: Page, study: dict[str, Any]) -> None:
    """Nothing where this site is no part of the study."""
    text, local = page.text, study["local"]
    look = local.get("look")
    facts = _facts(page, look) if look else []
    if not look and local.get("consents") is not None and study.get("enrolled"):
        facts.append(text("open-consents", count=local["consents"]))
    judged = _judged(page, local)
    if not facts and not judged:
        return
    lines = "".join(f"<li>{escape(each)}</li>" for each in facts)
    lines += "".join(f"<li>{escape(each)}{page.mark}</li>" for each in judged)
    tables = _classes(page, look) + _cameras(page, look) if look else ""
    note = page.note(text("own-note", member=study.get("member", "?")))
    page.section("own", text("own"), f'{note}<ul class="facts">{lines}</ul>{tables}')


def _facts(page: Page, look: dict[str, Any]) -> list[str]:
    text = page.text
    facts = [text("own-rows", rows=look["rows"], consents=look["consents"])]
    label = look.get("label")
    if label and label.get("share") is not None:
        beside = text("own-none") if label["proposer"] is None else share(label["proposer"])
        facts.append(text("own-label", name=label["name"], share=share(label["share"]), low=share(label["low"]),
                          high=share(label["high"]), proposer=beside))  # fmt: skip
    odd = [odd_told(text, each) for each in look["odd"] if each["what"] not in _NAMING]
    pictures = look.get("pictures")
    if pictures:
        alike = [each for each in pictures["copies"] if not each["looked"]]
        counts = {"own-unreadable": len(pictures["unreadable"]), "own-copies": len(alike)}
        odd += [text(key, count=count) for key, count in counts.items() if count]
    return facts + ([text("own-odd", what=each) for each in odd] or [text("own-fine")])


def _judged(page: Page, local: dict[str, Any]) -> list[str]:
    text, said = page.text, []
    here, alone = (local.get("own") or {}).get(""), ((local.get("alone") or {}).get("alone") or {}).get("")
    if here:
        low, high = (number(each) for each in here["accuracy_interval"])
        said.append(text("own-judged", accuracy=number(here["accuracy"]), low=low, high=high, rows=here["rows"],
                         majority=number(here["majority"])))  # fmt: skip
    if alone:
        low, high = (number(each) for each in alone["accuracy_interval"])
        said.append(text("own-alone", accuracy=number(alone["accuracy"]), low=low, high=high))
    return said


def _classes(page: Page, look: dict[str, Any]) -> str:
    """How the classes are shared out here, beside the proposer's."""
    text, found = page.text, look.get("classes")
    if not found:
        return ""
    rows = []
    for each in found["shares"]:
        here = "-" if each["share"] is None else share(each["share"])
        if each["share"] is not None:
            here += f" ({text('range', low=share(each['low']), high=share(each['high']))})"
        there = "-" if each["proposer"] is None else share(each["proposer"])
        rows.append([
            cell(class_in(text, each["class"])), cell(each["count"], numeric=True), cell(here, numeric=True),
            cell(there, numeric=True),
        ])  # fmt: skip
    heads = [text("class"), text("class-rows"), text("share-here"), text("share-there")]
    return page.table(heads, rows, caption=text("own-classes"), marked=True)


def _cameras(page: Page, look: dict[str, Any]) -> str:
    """Which camera took which classes: where they go together, a model learns the camera."""
    text, found = page.text, look.get("cameras")
    if not found:
        return ""
    rows = []
    for each in found:
        classes = ", ".join(f"{class_in(text, name)} {count}" for name, count in each["classes"].items())
        rows.append([cell(camera_in(text, each["camera"])), cell(each["rows"], numeric=True), cell(classes or "-")])
    table = page.table([text("camera"), text("class-rows"), text("camera-classes")], rows, caption=text("own-cameras"),
                       marked=True)  # fmt: skip
    return table + page.note(text("own-cameras-note"))
