"""The signing API: what any member serves to any patient's page, over TLS, without an account.

    page -> transaction, opening, question -> this member's gate -> ledger and peers
         <- outcome, entry, state, each with its proof <-

It carries and shows; it decides nothing and signs nothing. A page believes what is proven under the genesis it pinned
(`proven`), so a lying member can withhold and delay, and the page then asks another. Handles and tags are in bodies,
never in paths; nothing of a request is logged.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from commonward.apps.signing import messages
from commonward.apps.signing.limits import Guard, Limits
from commonward.apps.signing.messages import (
    MAX_CONSENTS,
    MAX_TAGS,
    Carried,
    ConsentsWanted,
    EntryProof,
    EntryShown,
    EntryWanted,
    Fact,
    HandleWanted,
    KeyFound,
    KeyKept,
    KeyWanted,
    MarksShown,
    StateShown,
    TagsWanted,
    TagWanted,
)
from commonward.apps.signing.proven import Recorder, read_handle, read_members
from commonward.apps.signing.sealing_keys import SealingKeys
from commonward.ledger.consent import Consents
from commonward.ledger.refusals import Malformed, Refusal
from commonward.ledger.rules import Cells
from commonward.workflows.deposits import DepositRefused
from commonward.workflows.gate import PatientGate
from commonward.workflows.mailbox import NotYours
from commonward.workflows.member import Member
from commonward.workflows.messages import Noted, OpeningDeposit, Papers, PapersWanted
from commonward.workflows.ports import Entry, LedgerAway, PeerAway, Proven, VaultFull
from commonward.workflows.wire import Message, MessageError

__all__ = ["History", "signing_app"]

CBOR: Final = "application/cbor"
_COSTS: Final = {messages.TRANSACTIONS: 20, messages.OPENINGS: 5, messages.SEALING_KEY: 20}
_CARRY_WAIT_MS: Final = 5_000

M = TypeVar("M", bound=Message)


class History(Protocol):
    """What the member's node knows beyond `ports.Ledger`: how trust and log grew."""

    def trust_file(self) -> bytes:
        """The trust file as of now, genesis and every change of authority."""
        ...

    def prove_consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """RFC 9162 proof that the log of `old` leaves is the beginning of the log of `new`."""
        ...


def signing_app(
    gate: PatientGate,
    member: Member,
    history: History,
    *,
    genesis: bytes,
    limits: Limits | None = None,
    seconds: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The application that a member serves at its signing address; run it on the node's own event loop.

    Args:
        gate: this member's `workflows.gate.Gate`.
        genesis: the genesis file's bytes.
        seconds: a clock that only goes forward, for the rate limits.
    """
    app = FastAPI(title="Commonward signing API", docs_url=None, redoc_url=None, openapi_url=None)
    limits = limits or Limits(costs=_COSTS)
    desk = _Window(gate, member, history)
    _problems(app)

    @app.get(messages.GENESIS)
    async def get_genesis() -> Response:
        return Response(genesis, media_type=CBOR)

    @app.get(messages.TRUST)
    async def get_trust() -> Response:
        return Response(history.trust_file(), media_type="text/plain")

    @app.get(messages.CONTEXT)
    async def get_context(since: Annotated[int, Query(ge=0, lt=1 << 62)] = 0) -> Response:
        return _answer(await desk.members(since))

    @app.post(messages.TRANSACTIONS)
    async def post_transaction(request: Request) -> Response:
        return _answer(await desk.carry(await request.body()))

    @app.post(messages.ENTRIES)
    async def post_entry(request: Request) -> Response:
        index = EntryWanted.parse(await request.body()).index
        return _answer(await desk.shown(gate.entry(index) if 0 <= index < 1 << 62 else None))

    @app.post(messages.MARKS)
    async def post_mark(request: Request) -> Response:
        wanted = TagsWanted.parse(await request.body()).tags
        if len(wanted) > MAX_TAGS:
            raise MessageError(f"expected at most {MAX_TAGS} tags, got {len(wanted)}")
        return _answer(await desk.marks(wanted))

    @app.post(messages.GLASSES)
    async def post_glass(request: Request) -> Response:
        wanted = TagWanted.parse(await request.body())
        return _answer(await desk.shown(gate.broken_glass(wanted.tag, wanted.member)))

    @app.post(messages.HANDLES)
    async def post_handle(request: Request) -> Response:
        handle = HandleWanted.parse(await request.body()).handle
        return _answer(await desk.state(lambda cells, _: read_handle(cells, handle)))

    @app.post(messages.CONSENTS)
    async def post_consents(request: Request) -> Response:
        wanted = ConsentsWanted.parse(await request.body()).consents
        if len(wanted) > MAX_CONSENTS:
            raise MessageError(f"expected at most {MAX_CONSENTS} consents, got {len(wanted)}")

        def read(cells: Cells, _: int) -> None:
            for consent in wanted:
                Consents(cells).get(consent)

        return _answer(await desk.state(read))

    @app.post(messages.OPENINGS)
    async def post_opening(request: Request) -> Response:
        return _answer(await gate.deposit(OpeningDeposit.parse(await request.body())))

    @app.post(messages.PAPERS)
    async def post_papers(request: Request) -> Response:
        return _answer(await desk.papers(await request.body(), gate.papers))

    @app.post(messages.LINE)
    async def post_line(request: Request) -> Response:
        return _answer(await desk.papers(await request.body(), gate.marks))

    keys = SealingKeys(member)

    @app.post(messages.SEALING_KEY)
    async def post_sealing_key(request: Request) -> Response:
        keys.keep(KeyKept.parse(await request.body()))
        return _answer(Noted())

    @app.post(messages.SEALING_KEY_FETCH)
    async def post_sealing_key_fetch(request: Request) -> Response:
        return _answer(KeyFound(keys.fetch(KeyWanted.parse(await request.body()))))

    app.add_middleware(Guard, limits=limits, seconds=seconds, origins=member.reading.signing_origins)
    return app


class _Window:
    """Answers about the ledger, each put together with its proof."""

    def __init__(self, gate: PatientGate, member: Member, history: History) -> None:
        self._gate = gate
        self._member = member
        self._history = history
        self._facts: tuple[int, tuple[Fact, ...]] = (-1, ())  # of the members, at one size of the log

    def _prove(self, read: Callable[[Cells, int], object]) -> tuple[Fact, ...]:
        ledger = self._member.ports.ledger
        recorder = Recorder(ledger.get)
        read(recorder, ledger.tip_time())
        facts = []
        for key, value in recorder.read.items():
            proof = ledger.prove_state(key)
            if proof is None:
                raise LedgerAway("this node cannot prove its state now")
            facts.append(Fact(key, proof, value))
        return tuple(facts)

    async def members(self, since: int) -> StateShown:
        """Everybody's page asks this first, so what it proves is kept until the next block. Raises LedgerAway."""
        size, _ = self._member.ports.ledger.recent()
        if self._facts[0] != size:
            self._facts = (size, self._prove(read_members))
        return await self._stands(self._facts[1], since)

    async def state(self, read: Callable[[Cells, int], object]) -> StateShown:
        """What `read` reads, proven. Raises LedgerAway."""
        return await self._stands(self._prove(read), 0)

    async def _stands(self, facts: tuple[Fact, ...], since: int) -> StateShown:
        """Facts of this node's last block, once a quorum has cosigned it. Nothing may be awaited before this is."""
        ledger = self._member.ports.ledger
        size, _ = ledger.recent()
        leaf = ledger.leaf(size - 1)
        if leaf is None:
            raise LedgerAway("this node has no block yet")
        proven = await ledger.cosigned(size, self._member.practice.cosign_wait_ms)
        consistency = self._history.prove_consistency(since, proven.size) if 0 < since < proven.size else ()
        path = ledger.prove_inclusion(size - 1, proven.size)
        return StateShown(proven.note, size - 1, leaf, path, facts, consistency)

    def _proven(self) -> Proven:
        proven = self._member.ports.ledger.proven()
        if proven is None:
            raise LedgerAway("no quorum has cosigned a checkpoint yet")
        return proven

    async def carry(self, raw: bytes) -> Carried:
        relayed = await self._gate.relay(raw)
        if relayed.index < 0:
            return Carried(relayed)
        entry = self._gate.entry(relayed.index)
        if entry is None:
            return Carried(relayed)
        try:
            proven = await self._member.ports.ledger.cosigned(relayed.index + 1, _CARRY_WAIT_MS)
        except LedgerAway:  # it landed; its proof can be asked for later
            return Carried(relayed)
        return Carried(relayed, self._proof(entry, proven))

    async def shown(self, entry: Entry | None) -> EntryShown:
        if entry is None:
            return EntryShown(self._proven().note)
        proven = await self._member.ports.ledger.cosigned(entry.index + 1, self._member.practice.cosign_wait_ms)
        return EntryShown(proven.note, self._proof(entry, proven))

    async def marks(self, wanted: Sequence[TagWanted]) -> MarksShown:
        shown = (self._gate.mark(each.tag, each.member) for each in dict.fromkeys(wanted))
        found = [entry for entry in shown if entry is not None]
        if not found:
            return MarksShown(self._proven().note)
        ledger = self._member.ports.ledger
        proven = await ledger.cosigned(max(entry.index for entry in found) + 1, self._member.practice.cosign_wait_ms)
        return MarksShown(proven.note, tuple(self._proof(entry, proven) for entry in found))

    def _proof(self, entry: Entry, proven: Proven) -> EntryProof:
        path = self._member.ports.ledger.prove_inclusion(entry.index, proven.size)
        return EntryProof(entry.index, entry.raw, entry.height, entry.time, entry.code, path, proven.note)

    async def papers(self, body: bytes, ask: Callable[[PapersWanted], Awaitable[Papers]]) -> Papers:
        return await ask(PapersWanted.parse(body))


def _answer(message: Message) -> Response:
    return Response(message.to_bytes(), media_type=CBOR)


def _problems(app: FastAPI) -> None:
    """Errors as RFC 9457 has them: what was expected and got. Never a trace, never a body."""

    def said(status: int, title: str) -> Callable[[Request, Exception], JSONResponse]:
        def handler(_: Request, cause: Exception) -> JSONResponse:
            fields = {"status": status, "title": title, "detail": str(cause)}
            return JSONResponse(fields, status, media_type="application/problem+json")

        return handler

    app.add_exception_handler(MessageError, said(400, "not what is expected here"))
    app.add_exception_handler(ValueError, said(400, "not what is expected here"))
    app.add_exception_handler(Malformed, said(400, "not a transaction"))
    app.add_exception_handler(Refusal, said(400, "not taken"))
    app.add_exception_handler(NotYours, said(403, "not yours"))
    app.add_exception_handler(LedgerAway, said(503, "the ledger is away"))
    app.add_exception_handler(PeerAway, said(503, "that member is away"))
    app.add_exception_handler(DepositRefused, said(503, "this opening is not kept here"))
    app.add_exception_handler(VaultFull, said(507, "nothing more can be kept"))
