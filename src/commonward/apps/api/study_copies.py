"""Pictures of a study's cohort here that are the same or nearly: which, both to look at, and what a person found."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.studies.pictures import picture_columns
from commonward.ledger.ids import parse_study_id
from commonward.records.images.duplicates import Pair
from commonward.workflows.member_log import Event
from commonward.workflows.training.cohorts import Rows
from commonward.workflows.training.distinct import Distinct, FoundDistinct, NoSuchPair

router = APIRouter()


class Looked(BaseModel):
    """`staff`: the number of who looks, or looked."""

    staff: str


@dataclass(frozen=True, slots=True)
class _Found:
    rows: Rows
    pair: Pair

    @property
    def patients(self) -> tuple[str, str]:
        one, other = self.pair.first, self.pair.second
        named = self.rows.patients
        return (named[one], named[other]) if named else (f"row {one}", f"row {other}")


@router.get("/studies/{study}/copies")
async def copies(request: Request, study: str) -> list[dict[str, Any]]:
    """Every pair of patients with the same picture, or nearly, and whether a person found them to be two. They name
    patients: for this hospital alone."""
    distinct = Distinct(node_of(request).member)
    return [_told(each, distinct.known(each.pair)) for each in await _pairs(request, study)]


@router.post("/studies/{study}/copies/{pair}/pictures")
async def pictures(request: Request, study: str, pair: str, body: Looked) -> dict[str, Any]:
    """Both pictures, base64, for who is to look at them; the member's log keeps who asked."""
    node, found = node_of(request), await _pair(request, study, pair)
    who, (one, other) = node.staff_now(body.staff), found.patients
    node.member.log.note(
        Event.TWO_PICTURES,
        f"given out to be looked at: pair {pair}, of the patients {one} and {other}",
        who=who.number,
        staff=who.revocation,
    )
    (column, *_) = picture_columns(found.rows.table)
    cells = found.rows.table.cells(column)
    held = [base64.b64encode(bytes(cells[at])).decode() for at in (found.pair.first, found.pair.second)]  # type: ignore[arg-type]
    return {**_told(found, Distinct(node.member).known(found.pair)), "pictures": held}


@router.post("/studies/{study}/copies/{pair}/distinct")
async def distinct(request: Request, study: str, pair: str, body: Looked) -> dict[str, Any]:
    """A person looked at both and says that they are of two patients. The manifest is then made at the next pass."""
    node, found = node_of(request), await _pair(request, study, pair)
    who = node.staff_now(body.staff)
    return _told(found, Distinct(node.member).say(found.pair, found.patients, who.number, who.revocation))


async def _pairs(request: Request, study: str) -> list[_Found]:
    node = node_of(request)
    try:
        wanted = parse_study_id(to_bytes(study, "a study's id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause
    rows = await node.cohorts.rows(wanted, await node.office.studying.papers(wanted))
    return [_Found(rows, each) for each in rows.copies]


async def _pair(request: Request, study: str, pair: str) -> _Found:
    name = to_bytes(pair, "a pair's id")
    for each in await _pairs(request, study):
        if each.pair.name == name:
            return each
    raise NoSuchPair(f"no pictures of pair {pair} are held to be copies in study {study[:12]} here, or are any more")


def _told(found: _Found, known: FoundDistinct | None) -> dict[str, Any]:
    first, second = found.patients
    pair = found.pair
    return {
        "pair": pair.name.hex(), "first": first, "second": second, "bits": pair.distance, "certain": pair.certain,
        "distinct": None if known is None else {"who": known.who, "at": known.at, "bits": known.distance},
    }  # fmt: skip
