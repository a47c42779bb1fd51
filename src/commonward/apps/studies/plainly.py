"""What came out of a study, in sentences that a patient understands."""

from __future__ import annotations

from typing import Any, Final

from commonward.apps.studies.words import Text

__all__ = ["plainly"]

MANY: Final = 100
FEW: Final = 30
"""With fewer patients the sentences end with what that is worth."""


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
    who, rows = text("plain-invented" if study.get("synthetic") else "plain-patients"), best["rows"]
    right = _part(text, best["accuracy"], rows)
    said.append(text(tried, rows=rows, patients=who, right=right, low=_of_100(low), high=_of_100(high)))
    usual = best.get("majority")
    if usual is not None:
        verdict = "plain-better" if low > usual else "plain-worse" if high < usual else "plain-same"
        said.append(text("plain-usual", usual=_part(text, usual, rows)) + text(verdict))
    if best.get("abstained") and best.get("kept_rows"):
        silent = _part(text, best["abstained"], rows)
        said.append(
            text("plain-abstained", silent=silent, right=_part(text, best["kept_accuracy"], best["kept_rows"]))
        )  # fmt: skip
    if rows < FEW:
        said.append(text("plain-few"))
    said.append(text("plain-end-synthetic" if study.get("synthetic") else "plain-end"))
    return said


def _part(text: Text, share: float, rows: int) -> str:
    """Of every hundred where there were so many; else of those there were: nobody should hear more than was tried."""
    if rows < MANY:
        return text("plain-of-few", count=round(share * rows), rows=rows)
    return text("plain-of-100", count=_of_100(share))


def _of_100(share: float) -> str:
    return f"{100 * share:.0f}"
