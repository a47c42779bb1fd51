"""The model card of a study: the items of TRIPOD+AI and CLAIM, filled from what the study's own papers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["card"]


def card(study: dict[str, Any], best: dict[str, Any], text: Callable[..., str], language: str) -> dict[str, str]:
    """Item -> what is known; an item that nobody stated is not there.

    Args:
        study: as `telling.told` gives it.
        best: what the last judged model does (`metrics.judged`); empty where nothing was judged.
    """
    zh = language == "zh"
    views = [each.get("name", each.get("resource", "?")) for each in study["cohort"].get("views", ())]
    learner = study["learner"]
    columns = learner.get("columns") or ()
    said = {
        "title": study["title"],
        "background": study["about"],
        "source": (
            f"{len(study['site'])} 家机构的病历，经 SQL-on-FHIR 视图：{'、'.join(views)}"
            if zh
            else f"records of {len(study['site'])} hospitals through SQL on FHIR views: {', '.join(views)}"
        ),
        "participants": (
            "每位患者都对本研究和本机构签署了单独的同意书；撤回后不再进入之后的轮次。"
            if zh
            else "every patient consented to this study at this site; whoever withdraws is in no later round."
        ),
        "outcome": study["label"] and (f"{study['label']} > 0"),
        "predictors": ", ".join(each for each in columns if each != study["label"]),
        "size": "; ".join(f"{each['member']}: {each['rows'] or '-'}" for each in study["site"]),
        "missing": _missing(study, zh=zh),
        "methods": _methods(study, zh=zh),
        "partition": (
            f"按患者划分，每机构 {study['test_share']:.0%} 留作测试；测试集的根在第一轮之前上链。"
            if zh
            else f"by patient, {study['test_share']:.0%} of each site's kept apart to judge by; the root of the "
            "test rows stood on the ledger before round 1."
        ),
        "performance": _performance(best, text),
        "privacy": privacy(study, text),
        "reproduce": (
            f"账本 {study['study']}；学习程序 {learner['digest']}；可用 study verify --replay 重算。"
            if zh
            else f"study {study['study']}, learner {learner['digest']}; until the time for disputes is over the rounds "
            "can be computed again with study verify --replay."
        ),
        "limits": (
            "三分之二的机构可能约定错误的模型，其余只能提出争议；噪声仅为声明；测试行来自同样的机构。"
            if zh
            else "two thirds of the sites could agree on a false model, and the rest can only dispute; noise is "
            "attested, not proven; the test rows come from the same hospitals as the rest."
        ),
    }  # fmt: skip
    return {key: value for key, value in said.items() if value}


def _missing(study: dict[str, Any], *, zh: bool) -> str:
    complete = study["cohort"].get("complete")
    if not complete:
        return ""
    names = ", ".join(complete)
    return f"缺少以下任一值的患者不计入：{names}" if zh else f"patients who lack one of these were left out: {names}"


def _methods(study: dict[str, Any], *, zh: bool) -> str:
    learner = study["learner"]
    settings = ", ".join(f"{name} = {_short(value)}" for name, value in learner["settings"].items())
    about = f"{learner['name']} ({learner.get('about', '')})" if learner.get("about") else learner["name"]
    how = f"{study['rule']}, {study['mode']}, {study['round']} / {study['rounds']}"
    return f"{about}; {how}; {settings}" if settings else f"{about}; {how}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"[{len(value)}]"
    return str(value)[:40]


def _performance(best: dict[str, Any], text: Callable[..., str]) -> str:
    if not best:
        return ""
    low, high = best["accuracy_interval"]
    said = [f"{text('accuracy')} {best['accuracy']:.3f} ({text('interval')} {low:.3f} - {high:.3f})"]
    said.append(f"{text('majority')} {best['majority']:.3f}")
    if best.get("auroc") is not None:
        said.append(f"{text('auroc')} {best['auroc']:.3f}")
    if best.get("brier") is not None:
        said.append(f"{text('brier')} {best['brier']:.3f}")
    return "; ".join(said) + f"; n = {best['rows']}"


def privacy(study: dict[str, Any], text: Callable[..., str]) -> str:
    """What the study costs its patients' privacy, in a sentence."""
    found = study["privacy"]
    if found["charged"]:
        return text("privacy-charged", epsilon=f"{found['epsilon_in_all']:.2f}", delta=found["delta"])
    return text("privacy-waived" if found["waiver"] else "privacy-none")
