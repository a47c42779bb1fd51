"""A study's report: one HTML page that needs nothing else, now or in ten years.

No script, no font, picture or style from elsewhere: the page says so itself by its content security policy. Whatever
came from people or other members is escaped. Every figure of records that a program made says SYNTHETIC beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from commonward.apps.studies import report_model, report_road
from commonward.apps.studies.card import card
from commonward.apps.studies.plainly import plainly
from commonward.apps.studies.report_own import own
from commonward.apps.studies.report_parts import Page, best_of, document
from commonward.apps.studies.small_cells import alone, shown, shown_curve
from commonward.apps.studies.statistics import add_tables
from commonward.apps.studies.words import words_in

__all__ = ["for_others", "render"]


def render(study: dict[str, Any], language: str = "en", made: int | None = None) -> str:
    """The page.

    Args:
        study: as the control API tells a study, with `local` (curve, all, own, per_site, contributions, look, ...) and
            `member`.
        language: `en` or `zh`.
        made: when (ms); not told where None.
    """
    text = words_in(language)
    study = {**study, "local": study.get("local") or {}}
    page = Page(text, language, synthetic=bool(study.get("synthetic")))
    best = best_of(study["local"])
    sums = study["rule"] == "sum"
    said = "".join(f"<p>{escape(each)}</p>" for each in plainly(study, best, text))
    page.section("plainly", text("plainly"), said + (page.mark if best else ""), "plain")
    report_model.summary(page, study, best)
    add_tables(page, study)
    if not sums:
        report_model.curves(page, study, best)
        report_model.judged(page, study, best)
    report_road.sites(page, study, best)
    if not sums:
        report_road.contributions(page, study, best)
    own(page, study)
    report_road.lineage(page, study)
    report_road.rounds(page, study)
    if not sums:
        card(page, study, best)
    return document(page, study["title"], _head(page, study, made))


def for_others(study: dict[str, Any]) -> dict[str, Any]:
    """Without what this site alone knows: its own rows, its own results, its consents; and without counts of a few
    patients, and what they could be worked out from (`small_cells`)."""
    local = study.get("local") or {}
    hidden = {"look", "own", "alone", "consents"}
    kept = {key: value for key, value in local.items() if key not in hidden}
    together = local.get("all") or {}
    rows = (together.get("") or {}).get("rows", 0)
    kept["curve"] = [shown_curve(each, rows) for each in local.get("curve", ()) if each["of"] == "all"]
    kept["all"] = {name: made for name, each in together.items() if (made := shown(each))}
    per_site = {member: alone(found.get("") or {}) for member, found in (local.get("per_site") or {}).items()}
    if all(per_site.values()):  # else who is left out could be subtracted from the sum
        kept["per_site"] = {member: {"": each} for member, each in per_site.items()}
    else:
        kept |= {"per_site": {}, "per_site_withheld": True}
    kept["contributions"] = {
        member: {**each, "left_out": {"": made} if (made := alone((each.get("left_out") or {}).get("") or {})) else {}}
        for member, each in (local.get("contributions") or {}).items()
    }
    return {**study, "local": kept}


def _head(page: Page, study: dict[str, Any], made: int | None) -> str:
    text = page.text
    about = f"<p>{escape(study['about'])}</p>" if study["about"] else ""
    when = "" if made is None else datetime.fromtimestamp(made / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    by = page.note(text("made", member=study.get("member", "?"), time=when)) if made is not None else ""
    return (
        f'<header><div class="soft">{escape(text("report"))}{page.mark}</div><h1>{escape(study["title"])}</h1>{about}'
        f'<div class="mono soft">{escape(study["study"])}</div>{by}{page.note(text("no-claim"))}</header>'
        f"{page.banner()}"
    )
