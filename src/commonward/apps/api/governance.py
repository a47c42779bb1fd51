"""Deciding together: what is open to the vote, what needs how many, and this member's own proposals and votes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.changes import Wanted, Words, certificates, described, to_change, written
from commonward.apps.wiring import Node
from commonward.ledger.encoding import decode
from commonward.ledger.ids import ProposalId, parse_proposal_id
from commonward.ledger.members.changes import CHANGE
from commonward.ledger.versions import VERSIONS, lacking, scheduled
from commonward.workflows.governing import Governing, Standing

router = APIRouter()


class Asked(Wanted):
    """A change, why, and for how long the vote is to be open."""

    grounds: str = Field(max_length=2000)
    open_ms: int = Field(default=7 * 86_400_000, gt=0)


class Choice(BaseModel):
    choice: bool


class Written(BaseModel):
    """A change in the ledger's own bytes, as `/proposals/{proposal}` gives them."""

    change: str = Field(max_length=100_000)


class NotOpen(LookupError):
    """No such proposal is open: it has carried, or its time is over."""


@router.get("/proposals")
async def proposals(request: Request) -> list[dict[str, Any]]:
    """What is open to the vote now."""
    node = node_of(request)
    return [_told(node, each) for each in Governing(node.member).proposals(node.genesis.constitution)]


@router.get("/proposals/{proposal}")
async def proposal(request: Request, proposal: str) -> dict[str, Any]:
    """One that is open, whole: each field of its change, each certificate read, and its bytes."""
    node = node_of(request)
    found = Governing(node.member).proposal(_proposal(proposal), node.genesis.constitution)
    if found is None:
        raise NotOpen(f"no proposal {proposal[:40]} is open; `commonward governance list` shows those that are")
    change = found.proposal.change
    return {
        **_told(node, found),
        "change": described(change, whole=True),
        "certificates": certificates(change),
        "bytes": written(change).hex(),
    }


@router.post("/proposals")
async def propose(request: Request, body: Asked) -> dict[str, Any]:
    """Put a change to the vote. It does not vote by itself."""
    node = node_of(request)
    change = to_change(body, node.replica.machine.view().roll)
    proposal, landed = await Governing(node.member).propose(change, body.grounds, body.open_ms)
    return {"proposal": proposal.hex(), "index": landed.index, "at": landed.time, "words": _words(node).of(change)}


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


@router.post("/changes/stands")
async def stands(request: Request, body: Written) -> dict[str, Any]:
    """Whether the state is as this change would have made it."""
    node = node_of(request)
    try:
        change = CHANGE.read(decode(to_bytes(body.change, "a change")))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
    return {"stands": Governing(node.member).stands(change, node.genesis.constitution)}


@router.get("/rules")
async def rules(request: Request) -> dict[str, Any]:
    """What each kind of change needs, who may propose it, and which versions of the rules are to come."""
    node = node_of(request)
    view, height = node.replica.machine.view(), node.replica.height
    return {
        "members": len(view.roll.active()),
        "changes": [
            {
                "kind": bar.kind.name.lower(),
                "majority": f"{bar.majority.numerator}/{bar.majority.denominator}",
                "needed": bar.needed,
                "proposers": [each.name.lower() for each in bar.proposers],
            }
            for bar in Governing(node.member).bars(node.genesis.constitution)
        ],
        "version": view.adopted.version_at(height + 1),
        "known": sorted(VERSIONS),
        "scheduled": [{"height": at, "version": version} for at, version in scheduled(view, height)],
        "lacking": [{"height": at, "version": version} for at, version in lacking(view, height)],
        "tables": {name: digest.hex() for name, digest in view.adopted.tables().items()},
    }


def _words(node: Node) -> Words:
    return Words(node.replica.machine.view(), node.genesis.constitution)


def _told(node: Node, standing: Standing) -> dict[str, Any]:
    change, majority = standing.proposal.change, standing.majority
    return {
        "proposal": standing.id.hex(),
        "words": _words(node).of(change),
        "change": described(change),
        "by": standing.proposal.proposer,
        "close": standing.proposal.close,
        "majority": f"{majority.numerator}/{majority.denominator}",
        "needed": standing.needed,
        "ayes": list(standing.ayes),
        "noes": list(standing.noes),
        "missing": list(standing.missing),
        "voted": standing.voted,
        "lost": standing.lost,
    }


def _proposal(text: str) -> ProposalId:
    try:
        return parse_proposal_id(to_bytes(text, "a proposal id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
