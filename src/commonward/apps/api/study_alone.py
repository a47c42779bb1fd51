"""What this site would have without the others, beside what the study gave it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.studies.metrics import variants
from commonward.ledger.ids import parse_study_id

router = APIRouter()


@router.get("/studies/{study}/alone")
async def alone(request: Request, study: str) -> dict[str, Any]:
    """`alone`: a model of this site's own training rows, judged by its own test rows; `together`: the study's model so
    far, judged by the same. Both by variant ("" and "home"), as `apps.studies.metrics.variants` has them."""
    node = node_of(request)
    try:
        wanted = parse_study_id(to_bytes(study, "a study's id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
    by_itself = variants(await node.training.alone(wanted))
    progress = node.training.progress(wanted)
    judged = [each.own for each in progress.rounds if each.own] if progress is not None else []
    return {"study": study, "alone": by_itself, "together": variants(judged[-1]) if judged else {}}
