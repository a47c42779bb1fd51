"""The model card of a study: the items of TRIPOD+AI and CLAIM, filled from what its papers and the ledger say.

Three kinds of answers: what follows from the study's own papers, what the proposer states in them, and "not stated".
Nothing is said here that the ledger, the papers or the counts do not say.
"""

from __future__ import annotations

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
    zh = page.language == "zh"
    said = _data(page, study, zh=zh) | _made(study, zh=zh) | _result(page, study, best, zh=zh)
    return {key: value for key, value in said.items() if value}


def _data(page: Page, study: dict[str, Any], *, zh: bool) -> dict[str, str]:
    views = [str(each.get("name", each.get("resource", "?"))) for each in study["cohort"].get("views", ())]
    columns = [each for each in study["learner"].get("columns") or () if each != study["label"]]
    sites, share = study["site"], f"{study['test_share']:.0%}"
    complete = ", ".join(study["cohort"].get("complete") or ())
    bands = "; ".join(f"{each['member']}: {page.band(each['rows'])}" for each in sites)
    ayes = ", ".join(study.get("ayes") or ())
    synthetic = study.get("synthetic")
    made = ("由程序生成的记录（合成数据）；" if zh else "SYNTHETIC records, made by a program; ") if synthetic else ""
    if zh:
        return {
            "title": study["title"],
            "background": study["about"],
            "source": f"{made}{len(sites)} 家机构的病历，经 SQL-on-FHIR 视图：{'、'.join(views)}" if sites else "",
            "setting": f"{len(sites)} 家机构：{'、'.join(each['member'] for each in sites)}" if sites else "",
            "outcome": _outcome(page, study),
            "predictors": "、".join(columns),
            "size": bands,
            "missing": f"缺少以下任一值的患者不计入：{complete}" if complete else "",
            "partition": f"按患者划分，每机构 {share} 留作测试；测试患者的根在第一轮之前上链。"
            if study["test_share"]
            else "",
            "disjoint": "患者：同一患者不会同时出现在训练和测试中。" if study["test_share"] else "",
            "deidentification": "记录不离开医院；学习程序得到的行不含患者标识列。",
            "ethics": (f"经以下成员的伦理角色批准：{ayes}。" if ayes else "")
            + "每位患者均对本研究和本机构单独同意；撤回后不再进入之后的轮次。",
            "data_sharing": "无：记录留在各医院。",
        }
    return {
        "title": study["title"],
        "background": study["about"],
        "source": f"{made}{len(sites)} hospitals' records by SQL on FHIR views: {', '.join(views)}" if sites else "",
        "setting": f"{len(sites)} sites: {', '.join(each['member'] for each in sites)}" if sites else "",
        "outcome": _outcome(page, study),
        "predictors": ", ".join(columns),
        "size": bands,
        "missing": f"patients who lack one of these were left out: {complete}" if complete else "",
        "partition": f"by patient, {share} of each site's kept apart to judge by; the root of the test patients stood "
        "on the ledger before round 1." if study["test_share"] else "",
        "disjoint": "patients: nobody is in both." if study["test_share"] else "",
        "deidentification": "records stay at their hospital; a learner's rows have no column that names a patient.",
        "ethics": (f"approved by the ethics roles of {ayes}. " if ayes else "")
        + "Every patient consented to this study at their hospital; whoever withdraws is in no later round.",
        "data_sharing": "none: records stay at their hospital.",
    }  # fmt: skip


def _outcome(page: Page, study: dict[str, Any]) -> str:
    classes = ", ".join(class_in(page.text, each) for each in study["learner"].get("classes") or ())
    return f"{study['label']}: {classes}" if classes and study["label"] else study["label"] or classes


def _made(study: dict[str, Any], *, zh: bool) -> dict[str, str]:
    learner = study["learner"]
    settings = "; ".join(f"{name} = {_short(value)}" for name, value in learner["settings"].items())
    about = f"{learner['name']}: {learner['about']}" if learner.get("about") else learner["name"]
    how = f"{study['rule']}, {study['mode']}, {study['round']} / {study['rounds']}"
    digest, known = learner["digest"], study["study"]
    same = {"technology": about, "methods": f"{about} ({how})", "training": settings}
    if zh:
        return same | {
            "software": f"学习程序 {learner['name']}，摘要 {digest}，由各机构按摘要批准",
            "initialisation": "学习程序给出的初始模型，各机构相同。",
            "selection": "最后一个定案轮次的模型；没有按结果挑选。",
            "protocol": f"账本上的研究 {known}；账本对方案、队列和查看者作出承诺。",
            "code_sharing": f"学习程序由各机构安装，其字节即摘要 {digest}。",
            "specification": f"模型文件（safetensors），摘要 {study['model']}；commonward study model。",
        }
    return same | {
        "software": f"learner {learner['name']}, digest {digest}, approved by each site by that digest",
        "initialisation": "the learner's own first model, the same at every site.",
        "selection": "the model of the last final round; none was chosen by its results.",
        "protocol": f"study {known} on the ledger, which commits to its protocol, cohort and viewers.",
        "code_sharing": f"each site has the learner installed; its bytes are the digest {digest}.",
        "specification": f"the model file (safetensors), digest {study['model']}: commonward study model.",
    }


def _short(value: object) -> str:
    return f"[{len(value)}]" if isinstance(value, list) else str(value)[:60]


def _result(page: Page, study: dict[str, Any], best: dict[str, Any], *, zh: bool) -> dict[str, str]:
    limits = (
        "三分之二的机构可能约定错误的模型，其余只能提出争议；噪声仅为声明；测试行来自同样的机构。"
        if zh
        else "two thirds of the sites could agree on a false model, and the rest can only dispute; noise is attested, "
        "not proven; the test rows come from the same hospitals as the rest."
    )
    if not best:
        return {"limits": limits}
    text, names = page.text, names_of(study, best)
    truth = [each for each in zip(names, best["truth"], strict=True) if each[1] is not None]
    counts = "; ".join(f"{class_in(text, name)}: {rows}" for name, rows in truth)
    sites = {member: each[""] for member, each in (study["local"].get("per_site") or {}).items() if each.get("")}
    found = {
        "limits": limits,
        "abstract": (" " if not zh else "").join(plainly(study, best, text)),
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
        "uncertainty": "95% 区间：比例用 Wilson，AUROC 用 DeLong；未做显著性检验。"
        if zh
        else "95 % intervals: Wilson's for shares, DeLong's for AUROC; no tests of significance.",
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
