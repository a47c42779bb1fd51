"""A study's model judged by this member's own rows, where it took no part (`workflows.training.held_out`)."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.studies.metrics import variants
from commonward.ledger.ids import parse_study_id
from commonward.records.model_file import ModelFileError, read_model
from commonward.workflows.member_log import Event
from commonward.workflows.training.distinct import Distinct
from commonward.workflows.training.held_out import judge

router = APIRouter()


class Published(BaseModel):
    """`model`: base64 of the safetensors file. `staff`: the number of whose decision it is."""

    model: str = Field(max_length=400_000_000)
    staff: str


@router.post("/studies/{study}/judge")
async def judge_here(request: Request, study: str, body: Published) -> dict[str, Any]:
    """The figures of a published model on this member's rows. They are kept and sent nowhere; the member's log says who
    asked."""
    node = node_of(request)
    try:
        wanted = parse_study_id(to_bytes(study, "a study's id"))
        model = read_model(base64.b64decode(body.model, validate=True))
    except (ValueError, ModelFileError) as cause:
        raise BadWord(str(cause)) from cause
    who = node.staff_number(body.staff)
    found = await judge(node.office.studying, node.member.id, node.cohorts, node.learners, wanted, model)
    node.member.log.note(
        Event.STUDY,
        f"judged the model {model.digest.hex()} of study {study} by {len(found.rows.table)} own rows, held out",
        who=who,
    )
    papers = await node.office.studying.papers(wanted)
    described = node.learners.describe(papers.protocol.learner)
    distinct = Distinct(node.member)
    alike = [each for each in found.rows.copies if distinct.known(each) is None]
    return {
        "study": study, "title": papers.protocol.title, "learner": papers.protocol.learner, "model": model.digest.hex(),
        "rows": len(found.rows.table), "classes": list(described.classes), "synthetic": bool(papers.protocol.synthetic),
        "copies": len(alike), "figures": variants(found.counts).get("", {}),
    }  # fmt: skip
