"""What only this site can say of a study: what it would have without the others, and who its models learnt from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes, to_consent
from commonward.apps.studies.metrics import variants
from commonward.ledger.ids import StudyId, parse_study_id

router = APIRouter()


@router.get("/studies/{study}/alone")
async def alone(request: Request, study: str) -> dict[str, Any]:
    """`alone`: a model of this site's own training rows, judged by its own test rows; `together`: the study's model so
    far, judged by the same. Both by variant ("" and "home"), as `apps.studies.metrics.variants` has them."""
    node, wanted = node_of(request), _study(study)
    by_itself = variants(await node.training.alone(wanted))
    progress = node.training.progress(wanted)
    judged = [each.own for each in progress.rounds if each.own] if progress is not None else []
    return {"study": study, "alone": by_itself, "together": variants(judged[-1]) if judged else {}}


@router.get("/studies/{study}/touched")
async def touched(request: Request, study: str, consent: str) -> dict[str, Any]:
    """The models that learnt from the patient of a consent, whether it was given on paper or by passkey, and whether or
    not it has been withdrawn since. Later models build on them."""
    node, wanted = node_of(request), _study(study)
    node.office.studying.study(wanted)
    found = node.training.touched(wanted, consent=to_consent(consent))
    return {"study": study, "touched": [{"round": number, "model": model.hex()} for number, model in found]}


def _study(text: str) -> StudyId:
    try:
        return parse_study_id(to_bytes(text, "a study's id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
