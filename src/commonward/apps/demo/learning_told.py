"""What the demonstration of learning shows of pages, rounds and figures: each made of what a node said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from commonward.apps.demo.stage import Voice

SYNTHETIC: Final = "SYNTHETIC"
_SHOWN: Final = 4
_BARS: Final = "▁▂▃▄▅▆▇█"

Judged = Mapping[str, Any]
"""Of one model by one site's test rows, as `apps.studies.metrics.judged` makes it; empty where nothing was judged."""


def pages(voice: Voice, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each hospital's page in a line, and its warnings. Returns the warnings."""
    warnings = []
    for member, page in found.items():
        label = page.get("label") or {}
        share = "" if label.get("share") is None else f"; {label['name']} above 0 in {label['share']:.0%}"
        voice.say(f"{member}: {page['consents']} consents, {page['rows']} rows{share}")
        found_here = sorted(page["warnings"], key=_dullness)
        warnings += [f"{member}: {each}" for each in found_here]
        for each in found_here[:_SHOWN]:
            voice.refused(each)
        if len(found_here) > _SHOWN:
            voice.say(f"  and {len(found_here) - _SHOWN} more: commonward study look")
    return warnings


def _dullness(warning: str) -> int:
    """What spoils a model comes before what only makes a column useless."""
    telling = ("at the proposer", "every row here", "zeros", "never there", "missing in")
    return next((at for at, words in enumerate(telling) if words in warning), len(telling))


def final_round(voice: Voice, found: Mapping[str, Any], mark: str = "") -> None:
    """A round that became final, in a line: who was in it, how the model does, what was spent."""
    last = next(each for each in reversed(found["progress"]) if each["stage"] == "final")
    said = f"round {last['round']} of {found['rounds']}: {len(last['updates'])} of {len(last['sites'])} sites sent, "
    said += f"{len(last['signed'])} of {len(last['voters'])} signed the same model"
    voice.good(said + _curve(found, mark) + _spent(found))


def _curve(found: Mapping[str, Any], mark: str) -> str:
    curve = [each for each in found["local"].get("curve", ()) if each.get("accuracy") is not None]
    for of, where in (("all", "at all sites"), ("own", f"at {found['member']}")):
        shares = [each["accuracy"] for each in curve if each["of"] == of]
        if shares:
            drawn = "".join(_BARS[min(len(_BARS) - 1, int(each * len(_BARS)))] for each in shares)
            return f"; accuracy {where} {drawn} {shares[-1]:.2f}{f' {mark}' if mark else ''}"
    return ""


def _spent(found: Mapping[str, Any]) -> str:
    spent = [(each["spent"], each["budget"]) for each in found["site"] if each["spent"]]
    return f"; privacy spent {max(spent)[0]:.2f} of {max(spent)[1]:g}" if spent else ""


def figures(
    voice: Voice, found: Mapping[str, Mapping[str, Any]], mark: str = "", home: bool = False
) -> tuple[int, int]:
    """Majority class, each hospital alone, and all together, by the same test patients. `found`: `Hospitals.alone`.
    `home`: also with the intercept refitted at home. Returns how many of all were right: alone, and together."""
    rows, rights = [], {"alone": 0, "together": 0}
    sums = [0, 0, 0, 0, 0]  # test patients, and right by: majority, alone, together, together with a home intercept
    for member, each in found.items():
        alone, together = each["alone"].get("", {}), each["together"].get("", {})
        if not alone or not together:
            rows.append([member, "0", *["" for _ in range(4 if home else 3)]])
            continue
        count = int(together["rows"])
        refitted = each["together"].get("home", together)
        shares = (together["majority"], alone["accuracy"], together["accuracy"], refitted["accuracy"])
        sums = [sums[0] + count, *(total + round(share * count) for total, share in zip(sums[1:], shares, strict=True))]
        rows.append([member, str(count), *(f"{share:.2f}" for share in shares[: 4 if home else 3])])
    if sums[0]:
        rows.append(["all", str(sums[0]), *(f"{right / sums[0]:.2f}" for right in sums[1 : 5 if home else 4])])
    rights = {"alone": sums[2], "together": sums[4 if home else 3]}
    columns = [
        "hospital",
        "test patients",
        "majority class",
        "alone",
        "together",
        *(["with home intercept"] if home else []),
    ]
    voice.table([f"   {columns[0]}", *columns[1:]], [[f"   {row[0]}", *row[1:]] for row in rows])
    if mark:
        voice.say(f"(accuracy; every figure {mark}: photographs drawn by a program, and nothing about patients)")
    return rights["alone"], rights["together"]


def pooled(all_sites: Judged) -> str:
    """What the sum of all sites' counts says."""
    low, high = all_sites["accuracy_interval"]
    said = f"accuracy {all_sites['accuracy']:.2f} ({low:.2f} to {high:.2f})"
    for name, word in (("auroc", "AUROC"), ("brier", "Brier score")):
        if all_sites.get(name) is not None:
            said += f", {word} {all_sites[name]:.2f}"
    return f"{said}, over {all_sites['rows']} test patients; majority class {all_sites['majority']:.2f}"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"
