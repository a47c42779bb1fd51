"""The tables of a study: what one that counts publishes, and what a regression found."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.wiring import Node
from commonward.ledger.ids import StudyId, parse_study_id
from commonward.ledger.rounds import Rule
from commonward.records.model import Integers
from commonward.records.regression import RegressionError, described
from commonward.records.regression_table import regression_table
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.papers import read_tensors

router = APIRouter()


@router.get("/studies/{study}/tables")
async def tables(request: Request, study: str) -> dict[str, Any]:
    """`statistics` and `regression`, each null where the study has none, or none yet, or this member may not see it."""
    node = node_of(request)
    try:
        wanted = parse_study_id(to_bytes(study, "a study's id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
    papers = await node.office.studying.papers(wanted)
    return {"study": study, "title": papers.protocol.title, **await tables_told(node, wanted, papers)}


async def tables_told(node: Node, study: StudyId, papers: StudyPapers) -> dict[str, Any]:
    """For `local` of a study told whole."""
    release = await node.training.releases.shown(study)
    counted = None if release is None else release._asdict()
    return {"statistics": counted, "regression": await _regression(node, study, papers)}


async def _regression(node: Node, study: StudyId, papers: StudyPapers) -> dict[str, Any] | None:
    """Of the last final model, once the counts of all sites are added up; the proposer and viewers have them too."""
    settings = papers.protocol.learner_settings
    stands = node.office.studying.study(study)
    if "regression" not in settings or not stands.round:
        return None
    sums = await _counts(node, study, stands.round)
    if sums is None:
        return None
    model = await node.training.model(study)
    if model is None:
        return None
    ridge = papers.protocol.rule_parameters.ridge if stands.terms.rule is Rule.NEWTON else settings.get("ridge", 0)
    free = papers.protocol.rule_parameters.intercept or stands.terms.rule is not Rule.NEWTON
    try:
        wanted = described(settings["regression"])
        weights = model["coefficients"].floats
        return regression_table(wanted, weights, sums, int(ridge) if isinstance(ridge, int) else 0, not free)
    except (RegressionError, KeyError) as cause:
        return {"refused": str(cause)}


async def _counts(node: Node, study: StudyId, number: int) -> dict[str, Integers] | None:
    """What all sites counted of a round's model: as this site added it up, or as the proposer committed to it."""
    progress = node.training.progress(study)
    for each in () if progress is None else progress.rounds:
        if each.round == number and each.all_sites:
            return {one.name: one.integers for one in each.all_sites}
    outcome = await node.training.outcome(study)
    for counted in () if outcome is None else outcome[0].rounds:
        if counted.round == number:
            return {one.name: one.integers for one in read_tensors(counted.counts)}
    return None
