"""How the node stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from commonward.apps.announcing import ending_of
from commonward.apps.api.words import BadWord
from commonward.apps.metrics import CONTENT_TYPE, metrics_of, written
from commonward.apps.wiring import Node
from commonward.ledger.ids import MemberId

router = APIRouter()


def node_of(request: Request) -> Node:
    node = request.app.state.node
    assert isinstance(node, Node)
    return node


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """Height, root, who cosigned last, what waits."""
    node = node_of(request)
    proven = node.replica.proven()
    size, root = node.replica.recent()
    return {
        "member": node.member.id,
        "engine": node.settings.engine,
        "line": asdict(node.line()),
        "ledger": node.replica.ledger_id.hex(),
        "height": node.replica.height,
        "size": size,
        "root": root.hex(),
        "header_time": node.replica.tip_time(),
        "up_ms": node.up_ms(),
        "last_block_ms": node.last_block_ms(),
        "connected": node.replica.connected,
        "live": node.replica.proven_live(),
        "proven": None
        if proven is None
        else {"size": proven.size, "height": proven.height, "fresh": proven.fresh, "members": list(proven.members)},
        "cosigners": _cosigners(node),
        "fault": None if node.replica.fault is None else str(node.replica.fault),
        "accused": {member: str(fault) for member, fault in node.replica.accused.items()},
        "records": node.vault.last_number(),
        "dead_letters": node.vault.count("dead-letters"),
        "recalls_waiting": sum(1 for _, recall in node.office.recalls.recalls.every() if not recall.ack),
        "glasses_open": len(node.office.glass.open()),
        "ending": ending_of(node),
    }


@router.get("/metrics")
async def metrics(request: Request) -> PlainTextResponse:
    """How the node stands, in numbers, as Prometheus reads them."""
    return PlainTextResponse(written(metrics_of(node_of(request))), media_type=CONTENT_TYPE)


def _cosigners(node: Node) -> list[dict[str, Any]]:
    """Who may cosign now, with what weight, and when each last did as far as this node has heard."""
    heard = node.replica.heard()
    return [
        {"member": each.member, "weight": each.weight, "cosigned_at": heard.get(each.member)}
        for each in node.replica.authority.cosigners
    ]


@router.get("/root")
async def root_at(request: Request, size: int) -> dict[str, Any]:
    """This node's root of the log at a size it has reached: what another must have there too."""
    log = node_of(request).replica.machine.log
    reached, _ = node_of(request).replica.recent()
    if not 0 <= size <= reached:
        raise BadWord(f"size: expected 0 to {reached}, which this node has reached, got {size}")
    return {"size": size, "root": log.root(size).hex()}


@router.get("/members")
async def members(request: Request) -> list[dict[str, Any]]:
    """The roll as the ledger has it now."""
    node = node_of(request)
    roll = node.replica.machine.view().roll
    weights = {each.member: each.weight for each in node.replica.authority.cosigners}
    found = []
    for name in sorted(roll.active()):
        each = roll.get(MemberId(name))
        assert each is not None
        found.append(
            {
                "member": name,
                "name": each.name,
                "kind": each.kind.name.lower(),
                "tier": each.tier,
                "weight": weights.get(name, 0),
                "origin": each.origin,
            }
        )
    return found


@router.get("/uses")
async def uses(request: Request, first: int = 1, limit: int = 200) -> list[dict[str, Any]]:
    """The member's own log, its chain checked as it is read."""
    found: list[dict[str, Any]] = []
    for number, at, entry in node_of(request).member.log.entries(first):
        if len(found) >= limit:
            break
        found.append(
            {
                "number": number,
                "at": at,
                "event": entry.event.name.lower(),
                "who": entry.who,
                "detail": entry.detail,
                "handle": entry.handle.hex() if entry.handle else None,
            }
        )
    return found
