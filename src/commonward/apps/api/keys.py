"""A member's own keys and staff certificates: rotation, revocation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps import rotation
from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.wiring import Node
from commonward.ledger.ids import Digest, KeyId, Purpose, parse_key_id
from commonward.records.certificates import CertificateRefused, check_staff, revocation_digest
from commonward.workflows.governing import Governing

router = APIRouter()


class Why(BaseModel):
    why: str = Field(max_length=2000)


@router.get("/keys")
async def keys(request: Request) -> list[dict[str, Any]]:
    """Every key of this member that the ledger knows."""
    node = node_of(request)
    used = {node.keys.public(purpose)[2] for purpose in Purpose if node.keys.has(purpose)}
    return [
        {
            "key": key.id.hex(),
            "purpose": key.purpose.name.lower(),
            "starts": key.starts,
            "ends": key.ends,
            "revoked": key.revoked,
            "in_use": key.id in used,
        }
        for key in Governing(node.member).own_keys()
    ]


@router.post("/keys/{purpose}/rotate")
async def rotate(request: Request, purpose: str) -> dict[str, Any]:
    """Make, register and activate the next key of a purpose; the node takes it into use when it is started again."""
    node = node_of(request)
    if purpose.upper() not in Purpose.__members__:
        raise BadWord(f"expected a purpose of {', '.join(each.name.lower() for each in Purpose)}, got {purpose[:40]!r}")
    done = await rotation.rotate(node, Governing(node.member), Purpose[purpose.upper()])
    return {"purpose": purpose, "old": done.old.hex(), "new": done.new.hex(), "index": done.index}


@router.post("/keys/{key}/revoke")
async def revoke_key(request: Request, key: str, body: Why) -> dict[str, Any]:
    """End a key of this member's now."""
    try:
        wanted: KeyId = parse_key_id(to_bytes(key, "a key id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
    landed = await Governing(node_of(request).member).revoke_key(wanted, body.why)
    return {"key": key, "index": landed.index, "at": landed.time}


@router.post("/staff/{number}/revoke")
async def revoke_staff(request: Request, number: str, body: Why) -> dict[str, Any]:
    """End a staff certificate before its time: nothing that it signs counts from then on."""
    node = node_of(request)
    certificate, end = _certificate(node, number)
    landed = await Governing(node.member).revoke_staff(certificate, end, body.why, number)
    return {"number": number, "certificate": certificate.hex(), "index": landed.index, "at": landed.time, "end": end}


def _certificate(node: Node, number: str) -> tuple[Digest, int]:
    """Digest and end of the certificate in this member's staff folder. Raises CertificateRefused."""
    der = node.staff(number).certificate
    kind = node.member.reading.kind_of(node.member.id)
    authority = node.replica.machine.view().roll.certificate(node.member.id)
    if kind is None or authority is None:
        raise CertificateRefused(f"{node.member.id} is not an active member of this ledger")
    staff = check_staff(der, authority, node.member.id, kind, node.replica.tip_time())
    return revocation_digest(der), staff.ends
