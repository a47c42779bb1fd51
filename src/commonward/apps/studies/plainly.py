"""What came out of a study, in sentences that a patient understands."""

from __future__ import annotations

from typing import Any

from commonward.apps.studies.words import Text

__all__ = ["plainly"]


def plainly(study: dict[str, Any], best: dict[str, Any], text: Text) -> list[str]:
    """A few sentences: who, how good, beside what, and what it is not for.

    Args:
        study: as the control API tells it.
        best: what the last judged model does; empty where nothing was judged.
    """
    count = len([each for each in study["site"] if each["manifest"] is not None])
    said = [
        text("plain-none") if not count else text("plain-one") if count == 1 else text("plain-together", count=count)
    ]
    if study["rule"] == "sum":
        return [text("plain-statistics", count=count)] if count else said
    if not best:
        return [*said, text("plain-nothing")] if count else said
    low, high = best["accuracy_interval"]
    tried = "plain-tried-all" if best["where"] == "all" else "plain-tried-own"
    who = text("plain-invented" if study.get("synthetic") else "plain-patients")
    said.append(
        text(
            tried,
            rows=best["rows"],
            patients=who,
            right=_of_100(best["accuracy"]),
            low=_of_100(low),
            high=_of_100(high),
        )
    )
    usual = best["majority"]
    verdict = "plain-better" if low > usual else "plain-worse" if high < usual else "plain-same"
    said.append(text("plain-usual", usual=_of_100(usual)) + text(verdict))
    if best.get("abstained") and best.get("kept_rows"):
        said.append(
            text("plain-abstained", silent=_of_100(best["abstained"]), right=_of_100(best["kept_accuracy"]))
        )  # fmt: skip
    said.append(text("plain-end-synthetic" if study.get("synthetic") else "plain-end"))
    return said


def _of_100(share: float) -> str:
    return f"{100 * share:.0f}"
