"""The model card of a study: the items of TRIPOD+AI and CLAIM, filled from what its papers and the ledger say.

Three kinds of answers: what follows from the study's own papers, what the proposer states in them, and "not stated".
Nothing is said here that the ledger, the papers or the counts do not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from commonward.apps.studies.card_items import CLAIM, TRIPOD, Item
from commonward.apps.studies.plainly import plainly
from commonward.apps.studies.report_parts import Page, names_of, number
from commonward.apps.studies.words import Text, class_in

__all__ = ["answers", "card", "privacy"]

_FIRST = ("intended_use", "outcome", "source", "methods", "performance", "limits")
"""Items that stand above the lists."""


def card(page: Page, study: dict[str, Any], best: dict[str, Any]) -> None:
    """The section: the usual first questions, then TRIPOD+AI whole, and CLAIM whole for images."""
    said = answers(page, study, best)
    stated = study.get("statements") or {}
    first = [each for each in TRIPOD if each.key in _FIRST]
    rows = [_row(page, study, each, said, stated, numbered=False) for each in first]
    rows.append(f"<dt>{escape(page.text('privacy'))}</dt><dd>{escape(privacy(study, page.text))}</dd>")
    parts = [page.note(page.text("card-note")), f'<dl class="items">{"".join(rows)}</dl>']
    lists = [("TRIPOD+AI (2024)", TRIPOD), *([("CLAIM (2020)", CLAIM)] if _images(study) else [])]
    for name, items in lists:
        known = sum(each.key in said or each.key in stated for each in items)
        body = "".join(_row(page, study, each, said, stated, numbered=True) for each in items)
        head = page.text("card-of", name=name, stated=known, items=len(items))
        parts.append(f'<details><summary>{escape(head)}</summary><dl class="items">{body}</dl></details>')
    page.section("card", page.text("card"), "".join(parts))


def _row(
    page: Page, study: dict[str, Any], item: Item, said: dict[str, str], stated: dict[str, str], *, numbered: bool
) -> str:
    name = item.chinese if page.language == "zh" else item.english
    under = f"<span>{escape(item.number)}</span>" if numbered else ""
    lines = [escape(said[item.key])] if item.key in said else []
    if item.key in said and item.key in ("performance", "abstract", "estimates", "heterogeneity", "numbers"):
        lines[0] += page.mark
    if stated.get(item.key):
        lines.append(escape(page.text("stated", member=study["by"], said=stated[item.key])))
    shown = "<br>".join(lines) or f'<span class="soft">{escape(page.text("not-stated"))}</span>'
    return f"<dt>{escape(name)}{under}</dt><dd>{shown}</dd>"


def _images(study: dict[str, Any]) -> bool:
    return any(str(each.get("resource")) in ("Media", "ImagingStudy") for each in study["cohort"].get("views", ()))


def answers(page: Page, study: dict[str, Any], best: dict[str, Any]) -> dict[str, str]:
    """Item -> what is known of it; an item that nothing answers is not there.

    Args:
        page: for its language.
        study: as `telling.told` gives it, with `local`.
        best: what the last judged model does (`metrics.judged`); empty where nothing was judged.
    """
    said = _data(page, study) | _made(study, page.text) | _result(page, study, best)
    return {key: value for key, value in said.items() if value}


def _data(page: Page, study: dict[str, Any]) -> dict[str, str]:
    text = page.text
    views = [str(each.get("name", each.get("resource", "?"))) for each in study["cohort"].get("views", ())]
    columns = [each for each in study["learner"].get("columns") or () if each != study["label"]]
    sites, kept_apart = study["site"], study["test_share"]
    complete = _listed(text, study["cohort"].get("complete") or ())
    members, ayes = _listed(text, [each["member"] for each in sites]), study.get("ayes")
    made = text("card-synthetic") if study.get("synthetic") else ""
    approved = [text("card-approved", members=_listed(text, ayes))] if ayes else []
    return {
        "title": study["title"],
        "background": study["about"],
        "source": text("card-source", made=made, sites=len(sites), views=_listed(text, views)) if sites else "",
        "setting": text("card-setting", sites=len(sites), members=members) if sites else "",
        "outcome": _outcome(page, study),
        "predictors": _listed(text, columns),
        "size": "; ".join(f"{each['member']}: {page.band(each['rows'])}" for each in sites),
        "missing": text("card-missing", columns=complete) if complete else "",
        "partition": text("card-partition", share=f"{kept_apart:.0%}") if kept_apart else "",
        "disjoint": text("card-disjoint") if kept_apart else "",
        "deidentification": text("card-deidentification"),
        "ethics": page.sentences([*approved, text("card-consented")]),
        "data_sharing": text("card-data_sharing"),
    }


def _listed(text: Text, said: Sequence[str]) -> str:
    return text("card-list").join(said)


def _outcome(page: Page, study: dict[str, Any]) -> str:
    classes = ", ".join(class_in(page.text, each) for each in study["learner"].get("classes") or ())
    return f"{study['label']}: {classes}" if classes and study["label"] else study["label"] or classes


def _made(study: dict[str, Any], text: Text) -> dict[str, str]:
    learner = study["learner"]
    about = f"{learner['name']}: {learner['about']}" if learner.get("about") else learner["name"]
    digest = learner["digest"]
    return {
        "technology": about,
        "methods": f"{about} ({study['rule']}, {study['mode']}, {study['round']} / {study['rounds']})",
        "training": "; ".join(f"{name} = {_short(value)}" for name, value in learner["settings"].items()),
        "software": text("card-software", name=learner["name"], digest=digest),
        "initialisation": text("card-initialisation"),
        "selection": text("card-selection"),
        "protocol": text("card-protocol", study=study["study"]),
        "code_sharing": text("card-code_sharing", digest=digest),
        "specification": text("card-specification", model=study["model"]),
    }


def _short(value: object) -> str:
    return f"[{len(value)}]" if isinstance(value, list) else str(value)[:60]


def _result(page: Page, study: dict[str, Any], best: dict[str, Any]) -> dict[str, str]:
    limits = page.text("card-limits")
    if not best:
        return {"limits": limits}
    text, names = page.text, names_of(study, best)
    truth = [each for each in zip(names, best["truth"], strict=True) if each[1] is not None]
    counts = "; ".join(f"{class_in(text, name)}: {rows}" for name, rows in truth)
    sites = {member: each[""] for member, each in (study["local"].get("per_site") or {}).items() if each.get("")}
    found = {
        "limits": limits,
        "abstract": page.sentences(plainly(study, best, text)),
        "performance": _performance(page, best),
        "estimates": _by_class(page, best, names),
        "numbers": counts,
        "imbalance": f"{counts}; {text('majority')} {number(best['majority'])}" if truth else "",
        "heterogeneity": "; ".join(
            f"{member}: {page.ranged(each['accuracy'], each['accuracy_interval'])}" for member, each in sites.items()
        ),
        "measures": "; ".join(
            text(each) for each in ("accuracy", "balanced", "auroc", "brier", "ece") if best.get(each) is not None
        ),
        "uncertainty": text("card-uncertainty"),
    }
    if best.get("refused_quality"):
        found["poor_input"] = f"{text('refused')}: {best['refused_quality']}"
    if best.get("abstained") is not None:
        found["output"] = f"{text('abstained')}: {best['abstained']:.0%}"
    return found


def _performance(page: Page, best: dict[str, Any]) -> str:
    text = page.text
    said = [f"{text('accuracy')} {page.ranged(best['accuracy'], best['accuracy_interval'])}"]
    if best.get("majority") is not None:
        said.append(f"{text('majority')} {number(best['majority'])}")
    if best.get("auroc") is not None:
        name = text("auroc-macro" if best.get("classes") else "auroc")
        said.append(f"{name} {page.ranged(best['auroc'], best.get('auroc_interval'))}")
    said += [f"{text(each)} {number(best[each])}" for each in ("brier", "ece") if best.get(each) is not None]
    return f"{'; '.join(said)}; n = {best['rows']}"


def _by_class(page: Page, best: dict[str, Any], names: list[str]) -> str:
    return "; ".join(
        f"{class_in(page.text, name)}: {page.ranged(best['recall'][at], best['recall_interval'][at])}"
        for at, name in enumerate(names)
        if best["recall"][at] is not None
    )


def privacy(study: dict[str, Any], text: Text) -> str:
    """What the study costs its patients' privacy, in a sentence."""
    found = study["privacy"]
    if found["charged"]:
        return text("privacy-charged", epsilon=f"{found['epsilon_in_all']:.2f}", delta=found["delta"])
    return text("privacy-waived" if found["waiver"] else "privacy-none")
