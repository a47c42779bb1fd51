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


Variants = Mapping[str, Mapping[str, Any]]
"""By hospital: "" and "home", each as `apps.studies.metrics.judged` makes it."""


def figures(voice: Voice, alone: Variants, together: Variants, mark: str = "", home: bool = False) -> None:
    """Accuracy by each hospital's test patients: of its majority class, of a model of its own rows alone, of the common
    model, and (`home`) of that with its intercept refitted at home."""
    columns = ["majority class", "alone", "together", *(["together, home intercept"] if home else [])]
    rows, patients, right = [], 0, [0] * len(columns)
    for member in together:
        by_itself, common = alone[member].get(""), together[member].get("")
        if not by_itself or not common:
            continue  # no test patients there
        shares = [common["majority"], by_itself["accuracy"], common["accuracy"]]
        shares += [together[member]["home"]["accuracy"]] if home else []
        count = int(common["rows"])
        patients += count
        right = [total + round(share * count) for total, share in zip(right, shares, strict=True)]
        rows.append([f"   {member}", str(count), *(f"{share:.2f}" for share in shares)])
    rows.append(["   all", str(patients), *(f"{each / max(patients, 1):.2f}" for each in right)])
    voice.table(["   hospital", "test patients", *columns], rows)
    if mark:
        voice.say(f"Accuracy. Every figure is {mark}: of drawings, and nothing about patients.")
    gained = right[-1] - right[1]
    if gained > 0:
        voice.good(f"together {gained} of {patients} test patients more are told rightly than by each hospital alone")
    else:
        voice.refused(f"together no more are told rightly than by each hospital alone ({right[1]} of {patients})")


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
