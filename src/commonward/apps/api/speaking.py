"""Who may speak for a handle besides its first passkey: mandates and recoveries, at a member's desk."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.status import node_of
from commonward.apps.api.words import BadWord
from commonward.ledger.consent import Cosigned
from commonward.ledger.possession import PasskeyPurpose
from commonward.workflows.enrolment import midnight_after
from commonward.workflows.enrolment_request import EnrolmentRequest

router = APIRouter()

_COSIGNATURE_LASTS_MS = 24 * 3_600_000


class Speaks(BaseModel):
    """`request`: base64 of the request that the new passkey's wallet wrote."""

    request: str = Field(max_length=20_000)
    words: str = Field(max_length=500)
    staff: str

    def parsed(self, purpose: PasskeyPurpose) -> EnrolmentRequest:
        """Raises BadWord, MessageError."""
        try:
            raw = base64.b64decode(self.request, validate=True)
        except ValueError as cause:
            raise BadWord(f"expected a request in base64: {cause}") from cause
        found = EnrolmentRequest.parse(raw)
        if found.purpose is not purpose:
            raise BadWord(f"expected a request made for {purpose.name.lower()}, got {found.purpose.name.lower()}")
        return found


class Mandate(Speaks):
    scope: str = Field(max_length=500)
    days: int = Field(default=365, ge=1, le=3660)


class Recover(Speaks):
    """`second`: base64 of what a second member's desk signed."""

    second: str | None = Field(default=None, max_length=2_000)


@router.post("/patients/mandate")
async def mandate(request: Request, body: Mandate) -> dict[str, Any]:
    """Let a representative's passkey speak for a handle, after seeing the evidence for it."""
    node = node_of(request)
    wanted = body.parsed(PasskeyPurpose.REPRESENTATIVE)
    end = midnight_after(node.member.now(), body.days)
    staff = node.staff_number(body.staff)
    landed = await node.office.enrolment.mandate(
        wanted.handle, wanted.passkey(), wanted.sealing, end, body.scope, body.words, staff
    )
    return {"handle": wanted.handle.hex(), "passkey": wanted.passkey().author.hex(), "index": landed.index, "end": end}


@router.post("/patients/recover/cosign")
async def cosign(request: Request, body: Speaks) -> dict[str, Any]:
    """As second member: sign, after this desk's own identity check, that this passkey may recover the handle."""
    node = node_of(request)
    wanted = body.parsed(PasskeyPurpose.RECOVERY)
    node.staff_number(body.staff)
    until = node.member.now() + _COSIGNATURE_LASTS_MS
    signed = node.office.enrolment.cosign_recovery(wanted.handle, wanted.passkey(), until)
    return {"handle": wanted.handle.hex(), "until": until, "second": base64.b64encode(signed.to_bytes()).decode()}


@router.post("/patients/recover")
async def recover(request: Request, body: Recover) -> dict[str, Any]:
    """Start a recovery: it takes effect after a wait, unless any old passkey of the handle objects."""
    node = node_of(request)
    wanted = body.parsed(PasskeyPurpose.RECOVERY)
    try:
        second = None if body.second is None else Cosigned.parse(base64.b64decode(body.second, validate=True))
    except ValueError as cause:
        raise BadWord(f"expected a second member's signature as `recovery cosign` writes it: {cause}") from cause
    landed = await node.office.enrolment.start_recovery(
        wanted.handle, wanted.passkey(), wanted.sealing, body.words, node.staff_number(body.staff), second
    )
    return {"handle": wanted.handle.hex(), "index": landed.index, "at": landed.time}
