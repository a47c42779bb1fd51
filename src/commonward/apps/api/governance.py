"""Deciding together, and a member's own keys: proposals, votes, rotation, revocation."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps import rotation
from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes, to_member
from commonward.apps.wiring import Node
from commonward.ledger.ids import Digest, KeyId, ProposalId, Purpose, parse_key_id, parse_proposal_id
from commonward.ledger.members import Admit, Change, Resume, SetParameter, Suspend
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import Refusal
from commonward.ledger.wire import Struct
from commonward.records.certificates import CertificateRefused, check_staff, revocation_digest
from commonward.workflows.governing import Governing

router = APIRouter()


class Wanted(BaseModel):
    """One change. `kind`: admit (with `application`, base64), suspend or resume (with `member`), parameter."""

    kind: str
    grounds: str = Field(max_length=2000)
    open_ms: int = Field(default=7 * 86_400_000, gt=0)
    member: str = ""
    application: str = Field(default="", max_length=100_000)
    parameter: str = ""
    value: int = 0


class Choice(BaseModel):
    choice: bool


class Why(BaseModel):
    why: str = Field(max_length=2000)


@router.get("/proposals")
async def proposals(request: Request) -> list[dict[str, Any]]:
    """What is open to the vote now."""
    node = node_of(request)
    return [
        {
            "proposal": each.id.hex(),
            "change": described(each.proposal.change),
            "by": each.proposal.proposer,
            "close": each.proposal.close,
            "ayes": list(each.proposal.ayes),
            "noes": list(each.proposal.noes),
            "needed": each.needed,
        }
        for each in Governing(node.member).proposals(dict(node.genesis.majorities))
    ]


@router.post("/proposals")
async def propose(request: Request, body: Wanted) -> dict[str, Any]:
    """Put a change to the vote. It does not vote by itself."""
    governing = Governing(node_of(request).member)
    proposal, landed = await governing.propose(_change(body), body.grounds, body.open_ms)
    return {"proposal": proposal.hex(), "index": landed.index, "at": landed.time}


@router.post("/proposals/{proposal}/vote")
async def vote(request: Request, proposal: str, body: Choice) -> dict[str, Any]:
    """This member's vote. `open` says whether the proposal still is: a majority carries it within the vote."""
    governing = Governing(node_of(request).member)
    wanted = _proposal(proposal)
    landed = await governing.vote(wanted, body.choice)
    return {
        "proposal": proposal,
        "choice": body.choice,
        "index": landed.index,
        "at": landed.time,
        "open": governing.is_open(wanted),
    }


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


def _proposal(text: str) -> ProposalId:
    try:
        return parse_proposal_id(to_bytes(text, "a proposal id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def _change(body: Wanted) -> Change:
    match body.kind:
        case "admit":
            try:
                return Admit.parse(base64.b64decode(body.application, validate=True))
            except (binascii.Error, Refusal, ValueError) as cause:
                raise BadWord(f"expected an application as `commonward member apply` writes it ({cause})") from cause
        case "suspend":
            return Suspend(to_member(body.member))
        case "resume":
            return Resume(to_member(body.member))
        case "parameter":
            known = ", ".join(each.name.lower() for each in Parameter)
            name = body.parameter.upper().replace("-", "_")
            if name not in Parameter.__members__:
                raise BadWord(f"expected a parameter of {known}, got {body.parameter[:60]!r}")
            return SetParameter(Parameter[name], body.value)
    raise BadWord(f"expected a change of admit, suspend, resume or parameter, got {body.kind[:40]!r}")


def described(change: Struct) -> dict[str, Any]:
    """A change in words that a person can vote on."""
    said: dict[str, Any] = {"change": type(change).__name__}
    for each in change.FIELDS:
        value = getattr(change, each.name)
        if isinstance(value, bytes):
            value = value.hex() if len(value) <= 64 else f"{len(value)} bytes"
        elif isinstance(value, tuple):
            value = [described(one) if isinstance(one, Struct) else str(one) for one in value]
        elif hasattr(value, "name"):
            value = value.name.lower()
        said[each.name] = value
    return said
