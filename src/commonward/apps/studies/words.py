"""What a study's report says, in English and Chinese: one catalogue."""

# ruff: noqa: E501  # a catalogue reads best with both languages of a text in one place; Chinese has its own commas
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["CARD", "LANGUAGES", "words_in"]

LANGUAGES: Final = ("en", "zh")

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "report": ("Report of a study", "研究报告"),
    "made": ("Made by {member} at {time} from its own copy of the ledger and its own papers.", "由 {member} 于 {time} 根据其自身的账本副本和文件生成。"),
    "summary": ("What came out", "结果概要"),
    "status": ("Status", "状态"),
    "status-proposed": ("put to the vote", "表决中"),
    "status-approved": ("approved", "已批准"),
    "status-running": ("running", "进行中"),
    "status-waiting": ("waiting for sites", "等待机构"),
    "status-stalled": ("stalled", "已停滞"),
    "status-complete": ("complete", "已完成"),
    "status-closed": ("closed", "已关闭"),
    "status-settled": ("settled", "争议期已结束"),
    "status-rejected": ("not approved", "未获批准"),
    "rounds": ("Final rounds", "已定案轮次"),
    "sites": ("Sites", "参与机构"),
    "rows": ("Rows judged", "评估行数"),
    "accuracy": ("Accuracy", "准确率"),
    "auroc": ("AUROC", "AUROC"),
    "brier": ("Brier score", "Brier 分数"),
    "majority": ("always the commonest class", "始终猜最常见类别"),
    "interval": ("95 % interval", "95% 区间"),
    "all-sites": ("all sites together", "所有机构合计"),
    "own-site": ("this site's own test rows", "本机构自有测试行"),
    "home": ("intercept refitted at home", "本地重拟合截距"),
    "as-is": ("as the study made it", "研究所得模型"),
    "curves": ("Curves over the rounds", "各轮曲线"),
    "round": ("round", "轮次"),
    "share": ("share", "比例"),
    "no-counts": ("No counts of test rows are here: the study kept none apart, or they have not been added up yet.", "此处没有测试行计数：研究未预留，或尚未汇总。"),
    "calibration": ("Calibration", "校准"),
    "said": ("probability that the model gave", "模型给出的概率"),
    "was": ("share that had it", "实际发生的比例"),
    "calibration-note": ("Points on the dashed line: of those to whom the model gave 30 %, 30 % had it. Bars are 95 % intervals; larger points stand for more rows.", "虚线上的点表示：模型给出 30% 的人中确有 30% 患病。竖线为 95% 区间；点越大行数越多。"),
    "confusion": ("Confusion matrix", "混淆矩阵"),
    "truth": ("what was so", "实际"),
    "guess": ("what the model said", "模型判断"),
    "per-site": ("Each site", "各机构"),
    "site": ("site", "机构"),
    "patients-band": ("patients (band)", "患者（区间）"),
    "rows-band": ("rows (band)", "行数（区间）"),
    "counted": ("rounds it counted in", "计入轮次"),
    "signed": ("rounds it signed", "签署轮次"),
    "excluded": ("rounds it was left out of", "被排除轮次"),
    "spent": ("privacy spent", "已用隐私预算"),
    "part": ("takes part", "参与"),
    "yes": ("yes", "是"),
    "left": ("left", "已退出"),
    "site-note": ("Numbers of patients and rows show on the ledger in bands alone. In a masked study nobody can tell one site's results from another's: only the sum comes out.", "账本仅以区间显示患者数和行数。掩码研究中无法区分各机构的结果：只得出总和。"),
    "contributions": ("Contributions", "贡献"),
    "contributions-none": ("Not measured: a masked study shows nothing of one site alone, or no measure was taken.", "未测量：掩码研究不显示单个机构的信息，或未进行测量。"),
    "contributions-note": ("Each site's part of the rows behind the last round's model; leave-one-out was not measured.", "最后一轮模型所用行数中各机构的占比；未测量留一贡献。"),
    "lineage": ("From consent to model", "从同意到模型"),
    "consents": ("consents", "同意"),
    "manifests": ("manifests", "清单"),
    "final-rounds": ("rounds", "轮次"),
    "model": ("model", "模型"),
    "lineage-note": ("Every arrow is on the ledger: consents bound a site's manifest, manifests the rows of each update, more than two thirds of the sites countersigned each round, and each link covers the one before. Check it offline with the model's file, the lineage beside it and a trust file.", "每个箭头均在账本上：同意约束清单，清单约束每次更新的行，超过三分之二的机构会签每一轮，每个链环涵盖前一环。可用模型文件、旁附的沿革文件和信任文件离线核验。"),
    "vouch": ("That the aggregation was right, two thirds of the sites vouch for; whoever holds the sealed updates can compute it again until the time for disputes is over.", "聚合的正确性由三分之二的机构担保；争议期结束前，持有密封更新者可重新计算。"),
    "open-consents": ("{count} open here", "本机构 {count} 份有效"),
    "elsewhere": ("counted on the ledger", "由账本计数"),
    "rounds-table": ("Rounds", "轮次记录"),
    "attempt": ("attempt", "尝试"),
    "updates": ("updates", "更新"),
    "signatures": ("signatures", "会签"),
    "digest": ("model", "模型摘要"),
    "agrees": ("computed here too", "本机构已复算"),
    "same": ("the same", "一致"),
    "another": ("ANOTHER MODEL", "不同的模型"),
    "not-computed": ("no", "否"),
    "card": ("Model card", "模型卡"),
    "card-note": ("After TRIPOD+AI (2024) and CLAIM (2024). Filled from the study's own papers; what they do not say is said to be missing.", "依据 TRIPOD+AI（2024）和 CLAIM（2024）。内容取自研究文件；未说明者均注明。"),
    "not-stated": ("not stated", "未说明"),
    "learner": ("Learner", "学习程序"),
    "privacy-none": ("no patient-level privacy; only the masked sum of all sites came out", "无患者级隐私；仅得出所有机构的掩码总和"),
    "privacy-waived": ("patient-level privacy was waived by the ethics roles", "伦理角色已豁免患者级隐私"),
    "privacy-charged": ("epsilon {epsilon} in all at delta 10^-{delta}, noise attested by each site and not proven", "总 epsilon {epsilon}，delta 10^-{delta}；噪声由各机构声明，未经证明"),
    "synthetic-no": ("Nothing here is a claim of clinical benefit. A model of a study is not a medical device.", "本报告不构成临床获益的声明。研究所得模型不是医疗器械。"),
}  # fmt: skip

CARD: Final[tuple[tuple[str, str, str, str], ...]] = (
    # key, the item's number in TRIPOD+AI and CLAIM, English, Chinese
    ("title", "TRIPOD+AI 1, CLAIM 1", "Title", "标题"),
    ("background", "TRIPOD+AI 3, CLAIM 3", "Background and purpose", "背景与目的"),
    ("source", "TRIPOD+AI 5, CLAIM 7", "Source of data", "数据来源"),
    ("participants", "TRIPOD+AI 6, CLAIM 8", "Participants and consent", "参与者与同意"),
    ("outcome", "TRIPOD+AI 8, CLAIM 14", "Outcome", "结局"),
    ("predictors", "TRIPOD+AI 9, CLAIM 11", "Predictors", "预测变量"),
    ("size", "TRIPOD+AI 10, CLAIM 19", "Sample size", "样本量"),
    ("missing", "TRIPOD+AI 11, CLAIM 12", "Missing data", "缺失数据"),
    ("methods", "TRIPOD+AI 12, CLAIM 22-26", "Model and training", "模型与训练"),
    ("partition", "TRIPOD+AI 12, CLAIM 20-21", "Partition of the data", "数据划分"),
    ("performance", "TRIPOD+AI 23, CLAIM 37", "Performance", "性能"),
    ("fairness", "TRIPOD+AI 14, CLAIM 38", "Fairness", "公平性"),
    ("privacy", "CLAIM 9", "Privacy", "隐私"),
    ("reproduce", "TRIPOD+AI 18, CLAIM 41", "Reproducing it", "可复现性"),
    ("limits", "TRIPOD+AI 26, CLAIM 39", "Limitations", "局限性"),
)


def words_in(language: str) -> Callable[..., str]:
    """The texts of one language, filled in. Raises KeyError for a language or a text there is none of."""
    which = {"en": 0, "zh": 1}[language]

    def text(key: str, **facts: object) -> str:
        return TEXTS[key][which].format(**facts)

    return text
