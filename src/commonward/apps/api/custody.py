"""The custodian's side: enrolment and links, releases, erasure, holds, recalls."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_ground, to_handle, to_record
from commonward.apps.wiring import Node
from commonward.workflows.enrolment_request import EnrolmentRequest
from commonward.workflows.erasure import HoldPaper
from commonward.workflows.ingest import local_patient
from commonward.workflows.member_log import Event

router = APIRouter()


class Enrol(BaseModel):
    """`request`: base64 of the enrolment request that the patient's wallet wrote."""

    request: str = Field(max_length=20_000)
    words: str = Field(max_length=500)
    staff: str


class Link(BaseModel):
    """`system` and `patient`: who the records call this person."""

    handle: str
    system: str
    patient: str
    words: str = Field(max_length=500)
    staff: str
    without_records: bool = False


class Unlink(BaseModel):
    handle: str
    words: str = Field(max_length=500)
    staff: str


class NobodyByThatName(Exception):
    """No record held here names such a patient."""


class Same(BaseModel):
    system: str
    patient: str
    other_system: str
    other_patient: str
    why: str = Field(max_length=500)


class Erase(BaseModel):
    record: str
    ground: str = "patient_request"
    words: str = Field(max_length=500)
    staff: str


class LegalHold(BaseModel):
    name: str = Field(max_length=100)
    records: list[str] = []
    until: int | None = None


@router.post("/patients/enrol")
async def enrol(request: Request, body: Enrol) -> dict[str, Any]:
    """Bind a patient's first passkey to a handle, after the identity check in person."""
    node = node_of(request)
    try:
        wanted = EnrolmentRequest.parse(base64.b64decode(body.request, validate=True))
        passkey = wanted.passkey()
    except ValueError as cause:
        raise BadWord(f"this is no enrolment request as `commonward patient new` writes it: {cause}") from cause
    landed = await node.office.enrolment.enrol(
        wanted.handle, passkey, wanted.sealing, body.words, node.staff_number(body.staff)
    )
    return {"handle": wanted.handle.hex(), "digest": landed.digest.hex(), "index": landed.index, "at": landed.time}


def _named(node: Node, system: str, patient: str) -> bytes:
    """A patient as ingest names them. A FHIR reference is shortened to its id; other names stand as they are."""
    reference = patient.startswith(("Patient/", "urn:uuid:", "https://", "http://"))
    return node.member.identity.patient(system, local_patient(patient) if reference else patient)


@router.post("/patients/link")
async def link(request: Request, body: Link) -> dict[str, Any]:
    """From now on the handle stands for a local patient.

    A name that no record bears is most likely mistyped, and a link to the wrong person is worse than none: it is
    refused unless the desk says that the records are still to come.
    """
    node = node_of(request)
    patient = _named(node, body.system, body.patient)
    held = len(node.vault.current_records(sorted(node.member.identity.everyone(patient))))
    if not held and not body.without_records:
        raise NobodyByThatName(
            f"no record here of system {body.system!r} names a patient {body.patient!r}: check both (the system is "
            "what ingest was told, or fhir or hl7v2), or say --without-records if they are still to come"
        )
    made = node.office.enrolment.link(to_handle(body.handle), patient, body.words, node.staff_number(body.staff))
    return {"handle": body.handle, "records": held, "at": made.at}


@router.post("/patients/unlink")
async def unlink(request: Request, body: Unlink) -> dict[str, Any]:
    """The handle stands for nobody here any more: for a link that was a mistake, or a patient who leaves."""
    node = node_of(request)
    who = node.staff_number(body.staff)
    handle = to_handle(body.handle)
    with node.vault.transaction():
        node.member.identity.unlink(handle)
        node.member.log.note(Event.LINKED, f"a handle was unlinked: {body.words}", who=who, handle=handle)
    return {"handle": body.handle, "unlinked": True}


@router.post("/patients/merge")
async def merge(request: Request, body: Same) -> dict[str, Any]:
    """Two local names are one person: a link that can be taken back; no record is rewritten."""
    node = node_of(request)
    identity = node.member.identity
    left, right = _named(node, body.system, body.patient), _named(node, body.other_system, body.other_patient)
    return {"merged": identity.merge(left, right, body.why).id.hex()}


@router.post("/patients/unmerge")
async def unmerge(request: Request, body: Same) -> dict[str, Any]:
    """Take a merge back; what left a handle's patient is recalled from whoever got it."""
    node = node_of(request)
    identity = node.member.identity
    left, right = _named(node, body.system, body.patient), _named(node, body.other_system, body.other_patient)
    before = {handle: identity.patients_of(handle) for handle in identity.handles_of(left)}
    identity.unmerge(left, right, body.why)
    told = sum(node.office.recalls.moved(handle, names) for handle, names in before.items())
    return {"unmerged": True, "recalled_from": told}


@router.get("/patients/records")
async def records(request: Request, handle: str) -> list[dict[str, Any]]:
    """What this custodian holds of a linked patient: ids, kinds and anchors, for its own staff."""
    node = node_of(request)
    found = []
    for held in node.office.holdings.of(to_handle(handle)):
        anchor = node.office.holdings.anchor(held)
        found.append(
            {
                "id": held.id.hex(),
                "type": held.record.resource_type,
                "source_id": held.record.id,
                "version": held.version,
                "sound": node.office.holdings.is_sound(held),
                "anchored_at_index": None if anchor is None else anchor.index,
            }
        )
    return found


@router.get("/releases")
async def releases(request: Request, handle: str) -> list[dict[str, Any]]:
    """Marks of this custodian for a handle, by number."""
    node = node_of(request)
    return [
        {"n": row.n, "tag": row.tag.hex(), "state": row.state.name.lower()}
        for row in node.vault.marks(to_handle(handle))
    ]


@router.get("/recalls")
async def recalls(request: Request) -> list[dict[str, Any]]:
    """Notices of this custodian to whoever received a record that was corrected, wrong, moved or erased."""
    return [
        {
            "to": recall.to,
            "fault": recall.notice.fault.name.lower(),
            "records": [each.hex() for each in recall.notice.records],
            "at": recall.notice.at,
            "acknowledged": bool(recall.ack),
        }
        for _, recall in node_of(request).office.recalls.recalls.every()
    ]


@router.post("/erasures")
async def erase(request: Request, body: Erase) -> dict[str, Any]:
    """Destroy a record's salt and key where retention and holds allow it, tell recipients, and mark it."""
    node = node_of(request)
    paper = await node.office.erasures.erase(
        to_record(body.record), to_ground(body.ground), body.words, node.staff_number(body.staff)
    )
    return {"record": body.record, "mark_index": paper.index, "at": paper.at}


@router.post("/holds")
async def hold(request: Request, body: LegalHold) -> dict[str, Any]:
    """A legal hold: nothing it names is erased until it is lifted by name. No records named: all."""
    node_of(request).office.erasures.hold(
        HoldPaper(body.name, (), tuple(to_record(each) for each in body.records), body.until)
    )
    return {"hold": body.name}


@router.get("/holds")
async def holds(request: Request) -> list[dict[str, Any]]:
    """Every legal hold; no records named: all."""
    return [
        {"hold": each.name, "records": [record.hex() for record in each.records], "until": each.until}
        for each in node_of(request).office.erasures.holds()
    ]


@router.delete("/holds/{name:path}")
async def lift(request: Request, name: str) -> dict[str, Any]:
    node_of(request).office.erasures.lift(name)
    return {"lifted": name}
