"""Member to member: who may ask, what is bounded, and the attacks at this door."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from commonward.adapters.peers import (
    BadContext,
    Limits,
    PeerClient,
    PeerRefused,
    PeerServer,
    PeerUnreachable,
    Routes,
)
from commonward.ledger.ids import MemberId
from commonward.ledger.refusals import ForeignLedger
from tests.tls_world import Contexts, TlsWorld

NORTH, SOUTH, CLINIC = MemberId("north"), MemberId("south"), MemberId("clinic")


@dataclass
class Door:
    """North listens; `port` is where."""

    world: TlsWorld
    port: int
    heard: list[tuple[MemberId, bytes]]

    def client(self, who: MemberId, context: Contexts, to: MemberId = NORTH) -> PeerClient:
        return PeerClient(
            who, context.client, {to: ("127.0.0.1", self.port)}, self.world.resolve, connect_s=20, answer_s=60
        )


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    world, routes = TlsWorld(tmp_path), Routes()
    heard: list[tuple[MemberId, bytes]] = []

    async def echo(member: MemberId, body: bytes) -> bytes:
        heard.append((member, body))
        return member.encode() + b":" + body

    async def refuse(member: MemberId, body: bytes) -> bytes:
        raise ForeignLedger(b"\1" * 32, b"\2" * 32)

    async def breaks(member: MemberId, body: bytes) -> bytes:
        raise RuntimeError("patient Zhang has a record")

    async def sleeps(member: MemberId, body: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    for name, handler in {"echo": echo, "refuse": refuse, "breaks": breaks, "sleeps": sleeps}.items():
        routes.add(name, handler)
    context = world.member("north")
    for name in ("south", "clinic", "stranger"):
        world.authority(f"ca-{name}")
    world.trust(context, but="ca-stranger")
    limits = Limits(body=1000, handshake_s=20, head_s=1, body_s=1, answer_s=2, connections=8, at_once=4)
    server = PeerServer(context.server, world.resolve, routes, limits)
    port = await server.start("127.0.0.1", 0)
    yield Door(world, port, heard)
    await server.stop()


@pytest.fixture
async def south(door: Door) -> AsyncIterator[PeerClient]:
    context = door.world.member("south")
    door.world.trust(context)
    client = door.client(SOUTH, context)
    yield client
    await client.close()


async def test_a_question_arrives_under_the_asking_members_name(door: Door, south: PeerClient) -> None:
    assert await south.ask(NORTH, "echo", b"hello") == b"south:hello"
    assert door.heard == [(SOUTH, b"hello")]


async def test_many_questions_share_connections(south: PeerClient) -> None:
    for turn in range(5):
        answers = await asyncio.gather(*(south.ask(NORTH, "echo", bytes([turn, n])) for n in range(3)))
        assert answers == [b"south:" + bytes([turn, n]) for n in range(3)]


async def test_a_refusal_travels_with_its_number_and_sentence(south: PeerClient) -> None:
    with pytest.raises(PeerRefused) as refused:
        await south.ask(NORTH, "refuse", b"")
    assert refused.value.code == ForeignLedger.code
    assert "this is ledger" in refused.value.text
    assert refused.value.member == NORTH


async def test_what_no_route_names_is_refused(south: PeerClient) -> None:
    with pytest.raises(PeerRefused, match="nothing is answered"):
        await south.ask(NORTH, "records/all", b"")


async def test_our_own_failure_tells_the_asker_nothing(south: PeerClient) -> None:
    with pytest.raises(PeerUnreachable) as failed:
        await south.ask(NORTH, "breaks", b"")
    assert "Zhang" not in str(failed.value)


async def test_an_answer_that_does_not_come_is_an_error_in_time(south: PeerClient) -> None:
    with pytest.raises(PeerUnreachable, match="no answer within"):
        await south.ask(NORTH, "sleeps", b"")


async def test_an_oversized_question_is_refused_and_not_read(door: Door, south: PeerClient) -> None:
    with pytest.raises((PeerRefused, PeerUnreachable)):
        await south.ask(NORTH, "echo", b"x" * 1001)
    assert door.heard == []
    assert await south.ask(NORTH, "echo", b"x" * 1000) == b"south:" + b"x" * 1000


async def test_who_shows_no_certificate_is_not_heard(door: Door) -> None:
    nobody = door.world.context("nobody", None, None)
    door.world.trust(nobody)
    client = door.client(SOUTH, nobody)
    with pytest.raises(PeerUnreachable):
        await client.ask(NORTH, "echo", b"")
    await client.close()
    assert door.heard == []


async def test_a_certificate_of_another_authority_is_not_heard(door: Door) -> None:
    stranger = door.world.member("south", under="ca-stranger")
    door.world.trust(stranger)
    client = door.client(SOUTH, stranger)
    with pytest.raises(PeerUnreachable):
        await client.ask(NORTH, "echo", b"")
    await client.close()
    assert door.heard == []


async def test_a_certificate_of_a_members_authority_that_the_ledger_does_not_know_is_refused(door: Door) -> None:
    unknown = door.world.member("south", register=False)
    door.world.trust(unknown)
    client = door.client(SOUTH, unknown)
    with pytest.raises(PeerRefused, match="not registered"):
        await client.ask(NORTH, "echo", b"")
    await client.close()
    assert door.heard == []


async def test_a_member_who_claims_to_be_another_is_heard_under_its_own_name(door: Door) -> None:
    # The clinic's authority issues it a certificate whose subject says "south"; the ledger knows the key as clinic's.
    key, certificate = door.world.authority("ca-clinic").issue("south")
    door.world.registered[certificate.public_bytes(Encoding.DER)] = CLINIC
    context = door.world.context("clinic", key, certificate)
    door.world.trust(context)
    client = door.client(SOUTH, context)
    assert await client.ask(NORTH, "echo", b"") == b"clinic:"
    await client.close()


async def test_nothing_is_said_to_a_server_that_is_not_the_member_meant(door: Door) -> None:
    """North's address is given out as south's: the question must not reach north."""
    context = door.world.member("clinic")
    door.world.trust(context)
    client = door.client(CLINIC, context, to=SOUTH)
    with pytest.raises(PeerUnreachable, match="registered for north"):
        await client.ask(SOUTH, "echo", b"for south only")
    await client.close()
    assert door.heard == []


async def test_a_slow_loris_is_closed_and_others_are_answered(door: Door, south: PeerClient) -> None:
    context = door.world.member("clinic")
    door.world.trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context.client)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\n")
    await writer.drain()
    assert await south.ask(NORTH, "echo", b"") == b"south:"
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_body_that_trickles_is_cut_off(door: Door) -> None:
    context = door.world.member("clinic")
    door.world.trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context.client)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
    await writer.drain()
    async with asyncio.timeout(60):
        assert b" 408 " in await reader.readline()
    writer.close()
    assert door.heard == []


async def test_connections_are_bounded(door: Door, south: PeerClient) -> None:
    context = door.world.member("clinic")
    door.world.trust(context)
    many = [await asyncio.open_connection("127.0.0.1", door.port, ssl=context.client) for _ in range(12)]
    async with asyncio.timeout(60):  # silent connections are closed after head_s
        while True:
            with contextlib.suppress(PeerUnreachable):
                assert await south.ask(NORTH, "echo", b"") == b"south:"
                break
            await asyncio.sleep(0.1)
    for _, writer in many:
        writer.close()


async def test_a_member_that_is_away_is_an_error_of_ours(door: Door) -> None:
    context = door.world.member("south")
    door.world.trust(context)
    client = PeerClient(SOUTH, context.client, {NORTH: ("127.0.0.1", 1)}, door.world.resolve)
    with pytest.raises(PeerUnreachable, match="north"):
        await client.ask(NORTH, "echo", b"")
    with pytest.raises(PeerUnreachable, match="no address"):
        await client.ask(CLINIC, "echo", b"")
    await client.close()


async def test_asking_oneself_needs_no_socket(door: Door) -> None:
    async def own(member: MemberId, path: str, body: bytes) -> bytes:
        return b"own " + body

    client = PeerClient(SOUTH, door.world.member("south").client, {}, door.world.resolve, own)
    assert await client.ask(SOUTH, "echo", b"x") == b"own x"


def test_a_context_that_would_let_anyone_in_is_refused(tmp_path: Path) -> None:
    async def answer(member: MemberId, path: str, body: bytes) -> bytes:
        return b""

    loose = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    loose.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(BadContext, match="certificate"):
        PeerServer(loose, lambda _: None, answer)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(BadContext, match="TLSv1_3"):
        PeerClient(SOUTH, old, {}, lambda _: None)
