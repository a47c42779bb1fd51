"""What statistics and regression tables say, in English and Chinese: on the terminal and in the report alike."""

# ruff: noqa: E501  # a catalogue reads best with both languages of a text in one place; Chinese has its own commas
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["bin_name", "brief", "pool_name", "said", "without_empty"]

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "statistics": ("Counted over all sites", "全部机构合计统计"),
    "rows": ("Rows", "行数"),
    "sites": ("Sites in the sum", "计入合计的机构"),
    "threshold": ("Smallest count shown", "最小公开计数"),
    "of-few": ("Fewer rows than the threshold: nothing is shown.", "行数低于阈值：不公开任何结果。"),
    "refused": ("These sums cannot be: {why}.", "该合计不可能成立：{why}。"),
    "suppressed": ("Counts from 1 to {most} are shown to nobody here, nor what they could be worked out from: small categories are pooled, small bins joined, and parts of tables hidden. The members that took part hold the exact sum.", "1 至 {most} 的计数以及可据以推算的数字均不公开：小类别合并、小区间合并、表格部分隐藏。参与机构持有精确合计。"),
    "noisy": ("Each count has noise of standard deviation {noise} in all: within {twice} of the truth 95 times in 100. A count below 0 is shown as 0.", "每个计数均加入了标准差合计为 {noise} 的噪声：95% 的情况下与真值相差不超过 {twice}。负数显示为 0。"),
    "agreed": ("Said alike by {said} of {of} sites; this member is none of them.", "{of} 家机构中有 {said} 家给出相同结果；本成员不是参与机构。"),
    "own": ("Made here of the sum that this site computed itself.", "由本机构自行计算的合计得出。"),
    "numbers": ("Numbers", "数值列"),
    "column": ("column", "列"),
    "present": ("values", "有值"),
    "missing": ("missing", "缺失"),
    "mean": ("mean", "均值"),
    "deviation": ("deviation", "标准差"),
    "quarter": ("lower quartile", "下四分位"),
    "median": ("median", "中位数"),
    "three-quarters": ("upper quartile", "上四分位"),
    "within": ("Quartiles are read off the bins: a bin's width is their precision. Values beyond the declared range count as its end in mean and deviation.", "四分位数由区间读出，精度即区间宽度。超出声明范围的值在均值和标准差中按范围端点计。"),
    "category": ("value", "取值"),
    "count": ("count", "计数"),
    "share": ("share", "比例"),
    "range": ("range", "范围"),
    "histogram": ("Distribution of {name}", "{name} 的分布"),
    "histogram-note": ("Rows for each unit of {name}: areas are counts, because joined bins are wider.", "每单位 {name} 的行数：面积代表计数，因为合并的区间更宽。"),
    "categories": ("Values of {name}", "{name} 的取值"),
    "table": ("{rows} by {columns}", "{rows} 与 {columns} 交叉表"),
    "by": ("{of} by {by}", "按 {by} 分组的 {of}"),
    "hidden": ("hidden", "隐藏"),
    "not-declared": ("another", "其他"),
    "below": ("below {edge}", "低于 {edge}"),
    "above": ("above {edge}", "高于 {edge}"),
    "between": ("{low} to {high}", "{low} 至 {high}"),
    "or": (" or ", "或"),
    "regression": ("Logistic regression over all sites", "全部机构的逻辑回归"),
    "outcome": ("Outcome", "结局"),
    "positive": ("Rows with the outcome", "出现结局的行数"),
    "converged": ("Converged", "已收敛"),
    "yes": ("yes", "是"),
    "no": ("no: intervals are not those of the best fit", "否：区间并非最佳拟合的区间"),
    "loss": ("Mean log-loss", "平均对数损失"),
    "feature": ("feature", "特征"),
    "coefficient": ("coefficient", "系数"),
    "error": ("standard error", "标准误"),
    "odds": ("odds ratio", "优势比"),
    "interval": ("95 % interval", "95% 区间"),
    "p": ("p", "p 值"),
    "intercept": ("intercept", "截距"),
    "forest": ("Odds ratios", "优势比"),
    "regression-note": ("For one more unit of a column, or for a category against the first. Of the training rows of all sites together, with Wald intervals; a ridge, where the study has one, pulls estimates towards 1. Categories of fewer than {threshold} rows are not shown here.", "针对列每增加一个单位，或类别相对首个类别。基于全部机构训练行，Wald 区间；若研究设有岭惩罚，估计会向 1 收缩。少于 {threshold} 行的类别在此不公开。"),
    "association": ("An association in these records is no cause.", "这些记录中的关联并不说明因果。"),
}  # fmt: skip


def said(language: str, name: str, /, **given: object) -> str:
    """One text. Raises KeyError for none of that name."""
    return TEXTS[name][language == "zh"].format(**given)


def pool_name(categories: Sequence[str | None], language: str) -> str:
    """A category, or those that are pooled: "1", "another", "missing", "a or b"."""
    names = [
        said(language, "missing") if each is None else each or said(language, "not-declared") for each in categories
    ]
    return said(language, "or").join(names)


def bin_name(cell: Mapping[str, Any], language: str) -> str:
    """A bin of numbers: "40 to 60", "below 18", "above 100 or missing"."""
    low, high = cell["from"], cell["to"]
    if low is None and high is None:
        name = "-"
    elif low is None:
        name = said(language, "below", edge=high)
    elif high is None:
        name = said(language, "above", edge=low)
    else:
        name = said(language, "between", low=low, high=high)
    return name + said(language, "or") + said(language, "missing") if cell["missing"] else name


def without_empty(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of two columns without rows and columns that hold nobody."""
    counts = table["counts"]
    rows = [at for at, line in enumerate(counts) if any(each != 0 for each in line)]
    columns = [at for at in range(len(table["column_categories"])) if any(line[at] != 0 for line in counts)]
    return {
        **table,
        "row_categories": [table["row_categories"][at] for at in rows],
        "column_categories": [table["column_categories"][at] for at in columns],
        "counts": [[counts[i][j] for j in columns] for i in rows],
    }


def brief(number: str | None) -> str:
    """To four digits, for people; "-" for none."""
    return "-" if number is None else f"{float(number):.4g}"
