"""The control API's server: FastAPI over a Unix socket of mode 0600 in the member's data directory.

Whoever may open the socket is the member itself. Who acts inside the member is said by staff certificates: requests,
displays, reviews are signed in one person's name, and the member's log says so.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from commonward.adapters.keys import KeyFileExposed, KeyFileMissing, KeyFileUnreadable
from commonward.apps.api import (
    care,
    custody,
    evidence,
    governance,
    keys,
    speaking,
    status,
    studies,
    study_copies,
    study_judging,
    study_own,
    study_statistics,
)
from commonward.apps.api.words import BadWord
from commonward.apps.settings import BadSettings
from commonward.apps.studies.file import BadStudyFile
from commonward.apps.wiring import Node
from commonward.records.certificates import CertificateRefused
from commonward.workflows.breakglass import GlassRefused
from commonward.workflows.copies import WrongDelivery
from commonward.workflows.erasure import NotErasable
from commonward.workflows.evidence import NoEvidence
from commonward.workflows.identity import IdentityError
from commonward.workflows.ports import LedgerAway, PeerAway, VaultFull
from commonward.workflows.requests import DisplayRefused, RequestRefused
from commonward.workflows.research_consents import NoSuchForm
from commonward.workflows.sealing import Altered
from commonward.workflows.study_papers import WrongPapers
from commonward.workflows.studying import NoSuchStudy, PapersMissing
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.training.cohorts import CohortFailed
from commonward.workflows.training.distinct import NoSuchPair, OnePicture
from commonward.workflows.training.held_out import NotHeldOut
from commonward.workflows.training.ports import LearnerError
from commonward.workflows.training.site import Waits
from commonward.workflows.wire import MessageError

# What went wrong -> HTTP status: refused by a rule 409, unusable input 422, the world away 503, no room 507.
_STATUS: dict[type[Exception], int] = {
    RequestRefused: 409,
    DisplayRefused: 409,
    WrongDelivery: 409,
    GlassRefused: 409,
    NotErasable: 409,
    IdentityError: 409,
    custody.NobodyByThatName: 409,
    CertificateRefused: 409,
    NoEvidence: 409,
    Altered: 409,
    LedgerRefused: 409,
    MessageError: 422,
    governance.NotOpen: 404,
    BadWord: 422,
    BadStudyFile: 422,
    NoSuchStudy: 404,
    studies.NoResult: 409,
    Waits: 409,
    NoSuchPair: 404,
    OnePicture: 409,
    NotHeldOut: 409,
    NoSuchForm: 404,
    WrongPapers: 409,
    CohortFailed: 409,
    LearnerError: 409,
    PapersMissing: 503,
    BadSettings: 422,
    KeyFileMissing: 422,
    KeyFileExposed: 422,
    KeyFileUnreadable: 422,
    LedgerAway: 503,
    PeerAway: 503,
    VaultFull: 507,
}


def control_app(node: Node) -> FastAPI:
    """All routes over one node."""
    app = FastAPI(title="Commonward control API", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.node = node
    for group in (
        status,
        care,
        custody,
        evidence,
        governance,
        keys,
        speaking,
        studies,
        study_copies,
        study_own,
        study_judging,
        study_statistics,
    ):
        app.include_router(group.router)
    for kind, code in _STATUS.items():
        app.add_exception_handler(kind, _handler(code))
    app.add_exception_handler(KeyError, _handler(404))
    app.add_exception_handler(RequestValidationError, _unusable)
    return app


async def _unusable(request: Request, why: Exception) -> JSONResponse:
    """Which field is wrong, and how; not what was in it: it may be a patient's, and as long as anybody likes."""
    faults = why.errors() if isinstance(why, RequestValidationError) else []
    said = [f"{'.'.join(map(str, each['loc'][1:])) or 'the request'}: {each['msg']}" for each in faults[:5]]
    return JSONResponse({"error": "Unusable", "detail": "; ".join(said)}, status_code=422)


def _handler(code: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handle(request: Request, why: Exception) -> JSONResponse:
        text = str(why.args[0]) if isinstance(why, KeyError) and why.args else str(why)
        return JSONResponse({"error": type(why).__name__, "detail": text}, status_code=code)

    return handle


def private_socket(path: Path) -> socket.socket:
    """A listening socket that only its owner may open. A stale one of a killed node is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)  # the directory is 0700: nobody could open it in between
    listener.listen(16)
    return listener


class ControlServer:
    """Serves the control API in the node's own loop."""

    def __init__(self, node: Node) -> None:
        self._path = node.settings.socket
        config = uvicorn.Config(control_app(node), log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)

    async def run(self) -> None:
        """Serve until cancelled."""
        listener = private_socket(self._path)
        try:
            # Signals are the node's business: `_serve` is what `serve` runs inside its own signal handlers.
            await self._server._serve(sockets=[listener])
        finally:
            self._path.unlink(missing_ok=True)
