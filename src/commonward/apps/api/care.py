"""The requester's side: encounters, copies, displays, broken glass."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import to_consent, to_handle, to_member, to_record, to_tag
from commonward.workflows.copies import Checked, Copy, WrongDelivery
from commonward.workflows.requests import Requests
from commonward.workflows.sealing import Altered

router = APIRouter()


class Fetch(BaseModel):
    """One visit: who comes, who asks, and whom."""

    encounter: str = Field(max_length=64)
    handle: str
    custodian: str
    staff: str
    purpose: str = "TREAT"
    consent: str | None = None


class Show(BaseModel):
    encounter: str = Field(max_length=64)
    staff: str
    purpose: str = "TREAT"


class Relied(BaseModel):
    record: str
    staff: str
    why: str = Field(max_length=500)


class Glass(BaseModel):
    encounter: str = Field(max_length=64)
    handle: str
    custodian: str
    staff: str
    reason: str = Field(max_length=500)


class Finding(BaseModel):
    staff: str
    finding: str = Field(max_length=2000)


@router.post("/copies")
async def fetch(request: Request, body: Fetch) -> dict[str, Any]:
    """Open the encounter and fetch ahead what the patient's consent permits."""
    node = node_of(request)
    requests = node.office.requests
    encounter = requests.encounter(body.encounter, to_handle(body.handle))
    copy = await requests.fetch_ahead(
        node.staff(body.staff),
        encounter,
        to_member(body.custodian),
        purpose=body.purpose,
        consent=None if body.consent is None else to_consent(body.consent),
    )
    return described(copy, node.office.requests)


@router.get("/copies")
async def copies(request: Request, handle: str | None = None) -> list[dict[str, Any]]:
    """Copies held now, of all patients or of one; one that does not open any more says so."""
    requests = node_of(request).office.requests
    wanted = None if handle is None else to_handle(handle)
    found = []
    for tag in requests.copies.places(wanted):
        try:
            copy = requests.copies.get(tag)
        except Altered as why:
            found.append({"tag": tag.hex(), "altered": str(why)})
            continue
        if copy is not None:
            found.append(described(copy, requests))
    return found


@router.post("/copies/{tag}/display")
async def display(request: Request, tag: str, body: Show) -> list[dict[str, Any]]:
    """Show one copy to one clinician, once: logged first, checked and decided again."""
    node = node_of(request)
    requests = node.office.requests
    try:
        copy = requests.copies.get(to_tag(tag))
    except Altered as why:
        raise WrongDelivery("rest", f"the copy was altered where it was kept ({why})") from why
    if copy is None:
        raise KeyError(f"no copy {tag} is held: it expired, its consent ended, or it never came")
    encounter = requests.encounter(body.encounter, copy.handle)
    checked = await requests.display(node.staff(body.staff), to_tag(tag), encounter, purpose=body.purpose)
    return [shown(each) for each in checked]


@router.post("/copies/{tag}/rely")
async def rely(request: Request, tag: str, body: Relied) -> dict[str, Any]:
    """Keep one record that a clinician relied on, with its origin, when the copy goes."""
    node_of(request).office.requests.rely(to_tag(tag), to_record(body.record), body.staff, body.why)
    return {"kept": body.record}


@router.post("/glass")
async def break_glass(request: Request, body: Glass) -> dict[str, Any]:
    """An emergency: written down first, marked, fetched."""
    node = node_of(request)
    encounter = node.office.requests.encounter(body.encounter, to_handle(body.handle))
    tag, copy = await node.office.glass.break_glass(
        node.staff(body.staff), encounter, to_member(body.custodian), body.reason
    )
    return {"glass": tag.hex(), **described(copy, node.office.requests)}


@router.get("/glass")
async def open_glasses(request: Request) -> list[dict[str, Any]]:
    """Broken glasses nobody has reviewed yet, the most urgent first."""
    papers = sorted(node_of(request).office.glass.open(), key=lambda paper: paper.notice.review_by)
    return [
        {
            "glass": paper.notice.tag.hex(),
            "custodian": paper.notice.custodian,
            "who": paper.notice.number,
            "reason": paper.notice.reason,
            "at": paper.notice.at,
            "review_by": paper.notice.review_by,
            "on_ledger": paper.index >= 0,
        }
        for paper in papers
    ]


@router.post("/glass/{tag}/review")
async def review(request: Request, tag: str, body: Finding) -> dict[str, Any]:
    """Other staff look at it and close it."""
    node = node_of(request)
    paper = await node.office.glass.review(node.staff(body.staff), to_tag(tag), body.finding)
    return {"glass": tag, "reviewer": paper.reviewer, "finding": paper.finding}


def described(copy: Copy, requests: Requests) -> dict[str, Any]:
    """A copy without what is in it: how much it is, and how much of that is anchored."""
    try:
        sent, altered = requests.bundle(copy).records, None
    except WrongDelivery as why:
        sent, altered = (), str(why)
    anchored = sum(each.anchor is not None or each.id in copy.later for each in sent)
    return {
        "records": len(sent),
        "anchored": anchored,
        "pending": len(sent) - anchored,
        "altered": altered,
        "tag": copy.tag.hex(),
        "custodian": copy.custodian,
        "handle": copy.handle.hex(),
        "purpose": copy.purpose,
        "received": copy.received,
        "expires": copy.expires,
        "mark_index": copy.index,
        "receipted": bool(copy.receipt),
        "glass": copy.glass.hex() if copy.glass else None,
        "recalled": [each.hex() for each in copy.recalled],
    }


def shown(each: Checked) -> dict[str, Any]:
    """One record as a clinician sees it, with what was verified and no more."""
    return {
        "id": each.sent.id.hex(),
        "version": each.sent.version,
        "verified": each.verified.name.lower(),
        "unchanged_since": each.since,
        "recalled": None if each.recalled is None else each.recalled.name.lower(),
        "custodian": each.record.source.system,
        "basis": None if each.decision.basis is None else each.decision.basis.name.lower(),
        "stored": each.sent.stored.decode(),  # the record's own text: numbers keep the digits of their source
    }
