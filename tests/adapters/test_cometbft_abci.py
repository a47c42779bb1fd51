"""The ABCI socket: answers in order, many checks at once, and who is hurt when a handler raises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.cometbft.abci import AbciServer, FrameError, Frames, frame
from commonward.adapters.cometbft.proto.abci_pb2 import (
    Request,
    RequestCheckTx,
    RequestCommit,
    RequestEcho,
    RequestExtendVote,
    RequestFinalizeBlock,
    RequestFlush,
    RequestInfo,
    RequestListSnapshots,
    RequestLoadSnapshotChunk,
    RequestQuery,
    Response,
    ResponseCheckTx,
    ResponseCommit,
    ResponseInfo,
)

PATIENCE = 60


class Scripted:
    """An application that does what a test says for each kind of request."""

    def __init__(self) -> None:
        self.does: dict[str, Callable[[Request], Awaitable[Response]]] = {}
        self.asked: list[str] = []

    async def answer(self, kind: str, request: Request) -> Response:
        self.asked.append(kind)
        if kind in self.does:
            return await self.does[kind](request)
        raise RuntimeError(f"nothing said about {kind}")


class Client:
    """One connection, as CometBFT's socket client speaks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = Frames()
        self._waiting: list[Response] = []

    def ask(self, *requests: Request) -> None:
        self.writer.write(b"".join(frame(each.SerializeToString()) for each in requests))

    async def next(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            while not self._waiting:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._waiting += [Response.FromString(each) for each in self._frames.feed(data)]
        return self._waiting.pop(0)


class World:
    def __init__(self, folder: Path) -> None:
        self.app = Scripted()
        self.server = AbciServer(folder / "abci.sock", self.app)
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.server.path)))
        self._clients.append(client)
        return client

    async def end(self) -> None:
        await self.server.stop()
        for each in self._clients:
            each.writer.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with TemporaryDirectory() as folder:  # short: a socket's path has at most 107 bytes
        made = World(Path(folder))
        await made.server.start()
        yield made
        await made.end()


def check(tx: bytes) -> Request:
    return Request(check_tx=RequestCheckTx(tx=tx))


# ------------------------------------------------------------------------------------------------------------- frames


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=400)), st.integers(1, 97))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], piece: int) -> None:
    stream = b"".join(map(frame, messages))
    frames, found = Frames(), []
    for at in range(0, len(stream), piece):
        found += frames.feed(stream[at : at + piece])
    assert found == messages


def test_a_frame_longer_than_we_read_is_refused_before_it_came() -> None:
    with pytest.raises(FrameError, match="at most 1000 bytes"):
        Frames(1000).feed(frame(bytes(1001))[:5])
    with pytest.raises(FrameError, match="length"):
        Frames().feed(b"\xff\xff\xff\xff\xff\xff")


async def test_who_speaks_no_abci_is_hung_up_on_and_others_are_served(world: World) -> None:
    rough, good = await world.client(), await world.client()
    rough.writer.write(b"GET / HTTP/1.1\r\n\r\n" * 20)
    with pytest.raises((EOFError, ConnectionError)):
        await rough.next()
    good.ask(Request(echo=RequestEcho(message="hello")))
    assert (await good.next()).echo.message == "hello"


def test_the_socket_is_this_members_alone(world: World) -> None:
    assert world.server.path.stat().st_mode & 0o777 == 0o600


# -------------------------------------------------------------------------------------------------------------- order


async def test_checks_are_worked_on_together_and_answered_in_order(world: World) -> None:
    """The first check waits for the last to have begun: it would hang if they were worked on one by one."""
    begun: list[bytes] = []
    all_begun = asyncio.Event()

    async def slow_first(request: Request) -> Response:
        begun.append(request.check_tx.tx)
        if len(begun) == 20:
            all_begun.set()
        await all_begun.wait()
        return Response(check_tx=ResponseCheckTx(log=request.check_tx.tx.decode()))

    world.app.does["check_tx"] = slow_first
    client = await world.client()
    client.ask(*(check(b"%d" % n) for n in range(20)), Request(flush=RequestFlush()))
    assert [(await client.next()).check_tx.log for _ in range(20)] == [str(n) for n in range(20)]
    assert (await client.next()).WhichOneof("value") == "flush"


async def test_a_flush_is_answered_only_after_what_came_before_it(world: World) -> None:
    go = asyncio.Event()

    async def waits(request: Request) -> Response:
        await go.wait()
        return Response(check_tx=ResponseCheckTx())

    world.app.does["check_tx"] = waits
    client = await world.client()
    client.ask(check(b"x"), Request(flush=RequestFlush()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.next()
    go.set()
    assert (await client.next()).WhichOneof("value") == "check_tx"
    assert (await client.next()).WhichOneof("value") == "flush"


async def test_more_requests_than_are_taken_at_once_all_get_their_answer(world: World) -> None:
    async def good(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(check_tx=ResponseCheckTx(log=request.check_tx.tx.decode()))

    world.app.does["check_tx"] = good
    client = await world.client()
    client.ask(*(check(b"%d" % n) for n in range(2000)))
    assert [(await client.next()).check_tx.log for _ in range(2000)] == [str(n) for n in range(2000)]


async def test_a_handshake_waits_for_a_block_that_the_old_connection_began(world: World) -> None:
    """CometBFT is killed in Commit and comes back: Info must tell of the block that is being kept, not of the one
    before it."""
    height = 6
    kept = asyncio.Event()

    async def commit(request: Request) -> Response:
        nonlocal height
        await kept.wait()
        height = 7
        return Response(commit=ResponseCommit())

    async def info(request: Request) -> Response:
        return Response(info=ResponseInfo(last_block_height=height))

    world.app.does |= {"commit": commit, "info": info}
    old = await world.client()
    old.ask(Request(commit=RequestCommit()))
    while "commit" not in world.app.asked:
        await asyncio.sleep(0.001)
    old.writer.close()
    new = await world.client()
    new.ask(Request(info=RequestInfo()))
    await asyncio.sleep(0.01)
    kept.set()
    assert (await new.next()).info.last_block_height == 7


# ------------------------------------------------------------------------------------------------------------ failing


@pytest.mark.parametrize(
    ("request_", "empty"),
    [
        (Request(query=RequestQuery(path="/p2p/filter/id/x")), "query"),
        (Request(list_snapshots=RequestListSnapshots()), "list_snapshots"),
        (Request(load_snapshot_chunk=RequestLoadSnapshotChunk(height=5)), "load_snapshot_chunk"),
        (check(b"x"), "check_tx"),
    ],
    ids=["query", "list", "load", "check"],
)
async def test_a_question_that_anybody_may_cause_never_stops_a_validator(
    world: World, request_: Request, empty: str
) -> None:
    """One joiner asking for a pruned snapshot must not take the network down."""

    async def raises(request: Request) -> Response:
        raise KeyError("no such snapshot")

    world.app.does[empty] = raises
    client = await world.client()
    client.ask(request_)
    answer = await client.next()
    assert answer.WhichOneof("value") == empty
    assert not world.server.failed.done()
    if empty == "load_snapshot_chunk":
        assert answer.load_snapshot_chunk.chunk == b""
    if empty == "query":
        assert answer.query.code != 0, "a filter that fails must not let a stranger in"
    if empty == "check_tx":
        assert answer.check_tx.code != 0


@pytest.mark.parametrize(
    "request_",
    [Request(finalize_block=RequestFinalizeBlock(height=3)), Request(commit=RequestCommit()), Request()],
    ids=["finalize", "commit", "unknown"],
)
async def test_a_failure_in_consensus_is_never_answered_and_stops_the_node(world: World, request_: Request) -> None:
    async def raises(request: Request) -> Response:
        raise OSError("disk full")

    world.app.does |= {"finalize_block": raises, "commit": raises}
    client, other = await world.client(), await world.client()
    client.ask(request_)
    with pytest.raises((EOFError, ConnectionError)):
        await client.next()
    async with asyncio.timeout(PATIENCE):
        cause = await world.server.failed
    assert "disk full" in str(cause) or "ABCI 2.0" in str(cause)
    with pytest.raises((EOFError, ConnectionError)):  # nobody else is answered either
        other.ask(Request(extend_vote=RequestExtendVote()))
        await other.next()
