"""A consortium in memory whose members serve the signing API, and patients who come in over it with software passkeys.

The members live on the test's loop; a patient's client blocks, so it runs in a thread with a loop of its own
(`await world.patiently(...)`), and its requests are handed over to the test's loop. Lines are cut, and members lie, by
`world.lines[member]`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from fastapi import FastAPI

from commonward.apps.settings import Address
from commonward.apps.signing.client import Memory, RemoteGate
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.signing.limits import Limits
from commonward.apps.signing.lines import Line
from commonward.apps.signing.server import signing_app
from commonward.apps.signing.signer import Shown
from commonward.apps.signing.wallet import KeptPatient, Site, WalletFolder
from commonward.apps.signing.words import Words
from commonward.ledger.ids import MemberId
from commonward.workflows.memory import CountedEntropy
from tests.consortium import Consortium
from tests.ledgerkit import MEMBERS, sign_genesis

T = TypeVar("T")
PIN = b"246810"

Bend = Callable[[httpx.Request, bytes], "bytes | httpx.Response | Exception"]


class Bridge(httpx.BaseTransport):
    """Hands requests of a patient's thread to a member's app on the test's loop. `bend` alters what comes back."""

    def __init__(self, app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = httpx.ASGITransport(app)
        self._loop = loop
        self.cut = False
        self.bend: dict[str, Bend] = {}
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.cut:
            raise httpx.ConnectError("cut")
        status, headers, content = asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(30)
        bend = self.bend.get(request.url.path)
        if bend is not None and status == 200:
            bent = bend(request, content)
            if isinstance(bent, Exception):
                raise bent
            if isinstance(bent, httpx.Response):
                return bent
            content = bent
        return httpx.Response(status, content=content, headers={"content-type": headers.get("content-type", "")})

    async def _ask(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        inner = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        response = await self._inner.handle_async_request(inner)
        return response.status_code, response.headers, await response.aread()


class SigningWorld:
    """Use as an async context."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.consortium = Consortium()
        self.apps: dict[str, FastAPI] = {}
        self.bridges: dict[str, Bridge] = {}
        self.shown: list[Shown] = []
        self.gates: list[RemoteGate] = []

    async def __aenter__(self) -> Self:
        await self.consortium.__aenter__()
        await self.consortium.all_tick()  # the first block: before it there is nothing to show
        self.genesis = sign_genesis(self.consortium.engine.genesis).to_bytes()
        loop = asyncio.get_running_loop()
        for name in MEMBERS:
            office = self.consortium.houses[name].office
            self.apps[name] = signing_app(
                office.gate, office.member, ReplicaHistory(self.consortium.engine.nodes[name], self.genesis),
                genesis=self.genesis, limits=Limits(burst=100_000),
            )  # fmt: skip
            self.bridges[name] = Bridge(self.apps[name], loop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.consortium.__aexit__(kind, error, at)

    def gate(
        self, *names: str, memory: Memory | None = None, remember: Callable[[Memory], None] = lambda _: None
    ) -> RemoteGate:
        """Over these members, in this order (all, north first)."""
        lines = {MemberId(name): self.line(name) for name in names or ("north", "south", "clinic", "shield", "health")}
        clock = self.consortium.engine.clock
        return RemoteGate(lines, clock, self.genesis, memory=memory, remember=remember)

    def line(self, name: str) -> Line:
        client = httpx.Client(transport=self.bridges[name], base_url=f"https://{name}.commonward.test")
        return Line(MemberId(name), client)

    def site(self, page: str = "north") -> Site:
        addresses = {MemberId(name): Address(host="127.0.0.1", port=7000 + at) for at, name in enumerate(MEMBERS)}
        return Site(page=MemberId(page), addresses=addresses)

    def wallet(self, name: str, **more: Any) -> WalletFolder:
        return WalletFolder.create(
            self.folder / name, self.genesis, self.site(), PIN, CountedEntropy(f"wallet {name}"), **more
        )

    def client(self, wallet: WalletFolder, *names: str) -> KeptPatient:
        """The patient's client over a wallet, remembering as the CLI's does."""
        gate = self.gate(*names, memory=wallet.memory(), remember=wallet.remember)
        entropy = CountedEntropy(f"client {wallet.folder.name} {len(self.gates)}")
        self.gates.append(gate)
        return wallet.patient(gate, self.shown.append, Words(), entropy)

    async def enrolled(self, name: str, at: tuple[str, ...] = ("north",)) -> WalletFolder:
        """A wallet whose passkey was bound at the first of these members and linked at all of them."""
        wallet = self.wallet(name)
        request = await wallet.request(Words())
        first = self.consortium.houses[at[0]].office
        await first.enrolment.enrol(request.handle, request.passkey(), request.sealing, "identity card", "n9")
        await self.consortium.engine.settle()
        for member in at:
            house = self.consortium.houses[member]
            house.office.enrolment.link(request.handle, house.local(name), "identity card", "n9")
        return wallet

    async def patiently(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a patient's doing in a thread with its own loop, while the members go on here."""
        return await asyncio.to_thread(asyncio.run, work)

    async def blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)
