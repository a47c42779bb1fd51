"""Evidence, exported from what this member holds: files that convince offline, and the trust file they rest on."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_consent, to_handle, to_record
from commonward.apps.founding import GENESIS
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.wiring import Node
from commonward.ledger.ids import key_id
from commonward.ledger.members import Equivocation, key_key
from commonward.records.misbehaviour import MAX_BYTES, ProofUnreadable, parse_proofs

router = APIRouter()


@router.get("/evidence/records/{record}")
async def of_record(request: Request, record: str, whole: bool = True) -> dict[str, Any]:
    """That one record of this custodian is unchanged since its anchor; `whole` puts its bytes inside."""
    node = node_of(request)
    desk, wanted = node.office.evidence, to_record(record)
    author = desk.anchored_by(wanted)
    # Who holds the trust file knows the keys of genesis; any later one is shown from the state.
    known = {key_id(key.algorithm, key.public) for member in node.genesis.members for key in member.keys}
    seen = None if author is None or author in known else await desk.shown_now([key_key(author)])
    return _answer(node, desk.of_record(wanted, whole=whole, seen=seen))


@router.get("/evidence/releases/{handle}/{n}")
async def of_release(request: Request, handle: str, n: int) -> dict[str, Any]:
    """That a release of this custodian was marked before it left, and what its mark commits to."""
    node = node_of(request)
    return _answer(node, node.office.evidence.of_release(to_handle(handle), n))


@router.get("/evidence/consents/{handle}/{consent}")
async def of_consent(request: Request, handle: str, consent: str, whole: bool = True) -> dict[str, Any]:
    """That a consent was given, and what was opened of it to this member."""
    node = node_of(request)
    return _answer(node, await node.office.evidence.of_consent(to_handle(handle), to_consent(consent), whole=whole))


@router.get("/evidence/trust")
async def trust(request: Request) -> dict[str, Any]:
    """The trust file as of now."""
    return {"trust": _base64(trust_of(node_of(request)))}


@router.get("/evidence/stamps")
async def stamps(request: Request) -> dict[str, Any]:
    """How time-stamping stands here."""
    state = node_of(request).office.stamps.state()
    return {
        "on": state.on,
        "tokens": state.count,
        "size": state.size,
        "before": state.before,
        "authority": state.name,
        "trouble": state.trouble,
    }


class Proof(BaseModel):
    """What `commonward verify --proof` wrote, as text."""

    proof: str = Field(max_length=MAX_BYTES)


@router.post("/evidence/accusations")
async def accuse(request: Request, body: Proof) -> dict[str, Any]:
    """Put proofs to the ledger that keys signed two roots for one size: their members lose their weight."""
    node = node_of(request)
    try:
        proofs = parse_proofs(body.proof.encode())
    except ProofUnreadable as cause:
        raise BadWord(str(cause)) from cause
    done = []
    for each in proofs:
        payload = Equivocation(each.key, each.first, each.second)
        key = node.replica.machine.view().roll.key(each.key)
        member = each.member if key is None else str(key.member)  # who it says it is of, is not what counts
        landed = await node.office.accusing.land(payload, f"{member} signed two roots for one size: put to the ledger")
        done.append({"member": member, "key": each.key.hex(), "index": landed.index, "at": landed.time})
    return {"accused": done}


def _answer(node: Node, evidence: bytes) -> dict[str, Any]:
    return {"evidence": _base64(evidence), "trust": _base64(trust_of(node))}


def trust_of(node: Node) -> bytes:
    """The trust file as of now."""
    return ReplicaHistory(node.replica, (node.settings.data / GENESIS).read_bytes()).trust_file()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
