"""The items of TRIPOD+AI (Collins and others 2024) and CLAIM (Mongan, Moy and Kahn 2020) by their numbers there.

CLAIM's update of 2024 numbers some items otherwise; the numbers here are those of 2020.
"""

# a catalogue reads best with both languages of a text in one place
from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CLAIM", "KEYS", "TRIPOD", "Item"]


class Item(NamedTuple):
    """One item of a statement. `key`: what answers it, by which a study file names it under [statements]."""

    number: str
    key: str
    english: str
    chinese: str


TRIPOD: Final[tuple[Item, ...]] = tuple(
    Item(*each)
    for each in (
        ("1", "title", "Title", "标题"),
        ("2", "abstract", "Abstract", "摘要"),
        ("3a", "background", "Healthcare context and rationale", "医疗背景与理由"),
        ("3b", "intended_use", "Target population, intended purpose and users", "目标人群、预期用途与使用者"),
        ("3c", "inequalities", "Known health inequalities", "已知的健康不平等"),
        ("4", "objectives", "Objectives", "目的"),
        ("5a", "source", "Sources of data", "数据来源"),
        ("5b", "dates", "Dates of the data", "数据日期"),
        ("6a", "setting", "Setting, number and place of centres", "机构类型、数量与地点"),
        ("6b", "eligibility", "Eligibility", "纳入标准"),
        ("6c", "treatments", "Treatments received", "接受的治疗"),
        ("7", "preparation", "Data preparation and quality checks", "数据准备与质量检查"),
        ("8a", "outcome", "Outcome: what, when, how assessed", "结局：内容、时间与评估方法"),
        ("8b", "outcome_assessors", "Who assessed the outcome", "结局评估者"),
        ("8c", "blinding", "Blinding of the assessment", "评估的盲法"),
        ("9a", "predictors_choice", "Choice of predictors", "预测变量的选择"),
        ("9b", "predictors", "Predictors", "预测变量"),
        ("9c", "predictor_assessors", "Who assessed the predictors", "预测变量评估者"),
        ("10", "size", "Sample size and how it was arrived at", "样本量及其确定"),
        ("11", "missing", "Missing data", "缺失数据"),
        ("12a", "partition", "How data were used, partition", "数据的使用与划分"),
        ("12b", "handling", "Handling of predictors", "预测变量的处理"),
        ("12c", "methods", "Type of model and how it was built", "模型类型与建立过程"),
        ("12d", "heterogeneity_methods", "Heterogeneity between sites, how handled", "机构间异质性的处理"),
        ("12e", "measures", "Measures of performance", "性能指标"),
        ("12f", "updating_methods", "Updating of the model", "模型更新"),
        ("12g", "calculation", "How predictions are calculated", "预测的计算方式"),
        ("13", "imbalance", "Class imbalance", "类别不平衡"),
        ("14", "fairness", "Fairness", "公平性"),
        ("15", "output", "Output of the model, thresholds", "模型输出与阈值"),
        ("16", "differences", "Differences between development and evaluation data", "开发与评估数据的差异"),
        ("17", "ethics", "Ethical approval and consent", "伦理批准与同意"),
        ("18a", "funding", "Funding", "资金来源"),
        ("18b", "conflicts", "Conflicts of interest", "利益冲突"),
        ("18c", "protocol", "Protocol", "研究方案"),
        ("18d", "registration", "Registration", "注册"),
        ("18e", "data_sharing", "Data sharing", "数据共享"),
        ("18f", "code_sharing", "Code sharing", "代码共享"),
        ("19", "involvement", "Patient and public involvement", "患者与公众参与"),
        ("20a", "flow", "Flow of participants", "参与者流程"),
        ("20b", "characteristics", "Characteristics of participants", "参与者特征"),
        ("20c", "comparison", "Development against evaluation data", "开发与评估数据的比较"),
        ("21", "numbers", "Participants and outcomes in each analysis", "各分析的参与者与结局数"),
        ("22", "specification", "The full model", "完整模型"),
        ("23a", "performance", "Performance with intervals", "性能及区间"),
        ("23b", "heterogeneity", "Heterogeneity in performance", "性能的异质性"),
        ("24", "updating", "Results of updating", "更新的结果"),
        ("25", "interpretation", "Interpretation", "解释"),
        ("26", "limits", "Limitations", "局限性"),
        ("27a", "poor_input", "Input of poor quality or missing, in use", "使用时输入质量差或缺失的处理"),
        ("27b", "users", "Interaction and expertise that use requires", "使用所需的操作与专业知识"),
        ("27c", "next_steps", "Next steps", "后续工作"),
    )
)

CLAIM: Final[tuple[Item, ...]] = tuple(
    Item(*each)
    for each in (
        ("1", "technology", "Identified as AI, technology used", "标明为人工智能及所用技术"),
        ("2", "abstract", "Structured summary", "结构化摘要"),
        ("3", "intended_use", "Background, intended use and clinical role", "背景、预期用途与临床角色"),
        ("4", "objectives", "Objectives and hypotheses", "目的与假设"),
        ("5", "design", "Prospective or retrospective", "前瞻性或回顾性"),
        ("6", "background", "Goal of the study", "研究目标"),
        ("7", "source", "Sources of data", "数据来源"),
        ("8", "eligibility", "Eligibility: how, where and when", "纳入标准：方式、地点与时间"),
        ("9", "preparation", "Pre-processing", "预处理"),
        ("10", "subsets", "Selection of subsets", "子集的选择"),
        ("11", "predictors", "Definitions of data elements", "数据元素的定义"),
        ("12", "deidentification", "De-identification", "去标识化"),
        ("13", "missing", "Missing data", "缺失数据"),
        ("14", "outcome", "Reference standard", "参考标准"),
        ("15", "reference_rationale", "Why this reference standard", "选择该参考标准的理由"),
        ("16", "outcome_assessors", "Who annotated, qualifications", "标注者及资质"),
        ("17", "annotation_tools", "Annotation tools", "标注工具"),
        ("18", "variability", "Variability between and within annotators", "标注者间与标注者内差异"),
        ("19", "size", "Intended sample size", "预定样本量"),
        ("20", "partition", "How data were assigned to partitions", "数据划分方式"),
        ("21", "disjoint", "Level at which partitions are disjoint", "划分互斥的层级"),
        ("22", "methods", "Model: inputs, outputs, layers", "模型：输入、输出与层"),
        ("23", "software", "Software", "软件"),
        ("24", "initialisation", "First parameters", "初始参数"),
        ("25", "training", "Training", "训练"),
        ("26", "selection", "How the final model was chosen", "最终模型的选择"),
        ("27", "ensembling", "Ensembling", "集成"),
        ("28", "measures", "Metrics", "指标"),
        ("29", "uncertainty", "Significance and uncertainty", "显著性与不确定性"),
        ("30", "robustness", "Robustness or sensitivity analysis", "稳健性或敏感性分析"),
        ("31", "explainability", "Explainability", "可解释性"),
        ("32", "external", "Testing on external data", "外部数据测试"),
        ("33", "flow", "Flow of participants or images", "参与者或影像流程"),
        ("34", "characteristics", "Characteristics in each partition", "各划分的特征"),
        ("35", "performance", "Performance on all partitions", "各划分的性能"),
        ("36", "estimates", "Diagnostic accuracy with precision", "诊断准确性及其精度"),
        ("37", "failures", "Failure analysis", "失败分析"),
        ("38", "limits", "Limitations", "局限性"),
        ("39", "interpretation", "Implications for practice", "对实践的意义"),
        ("40", "registration", "Registration", "注册"),
        ("41", "protocol", "Where the protocol is", "研究方案所在"),
        ("42", "funding", "Funding", "资金来源"),
    )
)

KEYS: Final = frozenset(each.key for each in (*TRIPOD, *CLAIM))
"""What a study file may state of itself."""
