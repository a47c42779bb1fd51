"""What the model card answers, in English and Chinese (what it asks is in `card_items`)."""

# ruff: noqa: E501  # a catalogue reads best with both languages of a text in one place; Chinese has its own commas
from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CARD"]

CARD: Final[Mapping[str, tuple[str, str]]] = {
    "card-list": (", ", "、"),
    "card-synthetic": ("SYNTHETIC records, made by a program; ", "由程序生成的记录（合成数据）；"),
    "card-source": ("{made}{sites} hospitals' records by SQL on FHIR views: {views}", "{made}{sites} 家机构的病历，经 SQL-on-FHIR 视图：{views}"),
    "card-setting": ("{sites} sites: {members}", "{sites} 家机构：{members}"),
    "card-missing": ("patients who lack one of these were left out: {columns}", "缺少以下任一值的患者不计入：{columns}"),
    "card-partition": ("by patient, {share} of each site's kept apart to judge by; the root of the test patients stood on the ledger before round 1.", "按患者划分，每机构 {share} 留作测试；测试患者的根在第一轮之前上链。"),
    "card-disjoint": ("patients: nobody is in both.", "患者：同一患者不会同时出现在训练和测试中。"),
    "card-deidentification": ("records stay at their hospital; a learner's rows have no column that names a patient.", "记录不离开医院；学习程序得到的行不含患者标识列。"),
    "card-approved": ("approved by the ethics roles of {members}.", "经以下成员的伦理角色批准：{members}。"),
    "card-consented": ("Every patient consented to this study at their hospital; whoever withdraws is in no later round.", "每位患者均对本研究和本机构单独同意；撤回后不再进入之后的轮次。"),
    "card-data_sharing": ("none: records stay at their hospital.", "无：记录留在各医院。"),
    "card-software": ("learner {name}, digest {digest}, approved by each site by that digest", "学习程序 {name}，摘要 {digest}，由各机构按摘要批准"),
    "card-initialisation": ("the learner's own first model, the same at every site.", "学习程序给出的初始模型，各机构相同。"),
    "card-selection": ("the model of the last final round; none was chosen by its results.", "最后一个定案轮次的模型；没有按结果挑选。"),
    "card-protocol": ("study {study} on the ledger, which commits to its protocol, cohort and viewers.", "账本上的研究 {study}；账本对方案、队列和查看者作出承诺。"),
    "card-code_sharing": ("each site has the learner installed; its bytes are the digest {digest}.", "学习程序由各机构安装，其字节即摘要 {digest}。"),
    "card-specification": ("the model file (safetensors), digest {model}: commonward study model.", "模型文件（safetensors），摘要 {model}；commonward study model。"),
    "card-limits": ("two thirds of the sites could agree on a false model, and the rest can only dispute; noise is attested, not proven; the test rows come from the same hospitals as the rest.", "三分之二的机构可能约定错误的模型，其余只能提出争议；噪声仅为声明；测试行来自同样的机构。"),
    "card-uncertainty": ("95 % intervals: Wilson's for shares, DeLong's for AUROC; no tests of significance.", "95% 区间：比例用 Wilson，AUROC 用 DeLong；未做显著性检验。"),
}  # fmt: skip
