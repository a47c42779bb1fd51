"""A member without an inbound port, with the unit and the sshd settings of deploy/, over a real ssh and sshd.

The edge is an sshd on loopback; the node's door is a PeerServer; another member calls the edge's port.
"""

import asyncio
import getpass
import os
import shlex
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commonward.adapters.peers import PeerClient, PeerServer, PeerUnreachable, Routes
from commonward.ledger.ids import MemberId
from tests.apps.conftest import free_ports
from tests.deploy.test_deploy import DEPLOY, entries
from tests.tls_world import TlsWorld

NORTH, SOUTH = MemberId("north"), MemberId("south")
PATIENCE_S = 90.0
UNIT = DEPLOY / "systemd" / "commonward-edge@.service"
SSHD = DEPLOY / "examples" / "edge.sshd.conf"


def key(path: Path) -> str:
    """A new key; its public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@dataclass
class Edge:
    """An sshd that follows deploy/examples/edge.sshd.conf, its user being who runs this test."""

    folder: Path
    port: int
    door: int
    """The port that it may open for the node."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        host = key(self.folder / "host")
        line = key(self.folder / "edge-key")
        allowed = self.folder / "authorized_keys"
        permitted = f'restrict,port-forwarding,permitlisten="127.0.0.1:{self.door}"'
        allowed.write_text(f"{permitted} {line}")
        (self.folder / "edge-host").write_text(f"[127.0.0.1]:{self.port} {host}")
        ours = SSHD.read_text().replace("commonward-edge", getpass.getuser())
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"PasswordAuthentication no\nPermitRootLogin prohibit-password\nStrictModes no\n"
            f"AuthorizedKeysFile {allowed}\n{ours}"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.run("/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config"))
        until(lambda: listens(self.port), "sshd")

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "errors.txt").open("ab") as errors:
            self.started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors))
        return self.started[-1]

    def line(self, doors: str) -> subprocess.Popen[bytes]:
        """What the unit starts, with the files of this test."""
        (said,) = entries(UNIT)["Service.ExecStart"]
        given = {
            "${EDGE_PORT}": str(self.port),
            "${EDGE}": f"{getpass.getuser()}@127.0.0.1",
            "$DOORS": doors,
            "/etc/commonward/%i.": f"{self.folder}/",
        }
        for name, value in given.items():
            assert name in said
            said = said.replace(name, value)
        return self.run(*shlex.split(said))

    def stop(self) -> None:
        for each in self.started:
            each.kill()
            each.wait()

    @property
    def errors(self) -> str:
        return (self.folder / "errors.txt").read_text()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    first = free_ports(2)
    made = Edge(tmp_path, first, first + 1)
    try:
        await asyncio.to_thread(made.start)
        yield made
    finally:
        await asyncio.to_thread(made.stop)


async def test_a_member_without_an_inbound_port_is_reached_and_only_it_reads_what_it_is_asked(
    edge: Edge, tmp_path: Path
) -> None:
    world, routes = TlsWorld(tmp_path), Routes()

    async def echo(member: MemberId, body: bytes) -> bytes:
        return member.encode() + b":" + body

    routes.add("echo", echo)
    north, south = world.member("north"), world.member("south")
    world.trust(north, south)
    server = PeerServer(north.server, world.resolve, routes)
    inside = await server.start("127.0.0.1", 0)
    client = PeerClient(SOUTH, south.client, {NORTH: ("127.0.0.1", edge.door)}, world.resolve, connect_s=30)
    try:
        with pytest.raises(PeerUnreachable):
            await client.ask(NORTH, "echo", b"before")
        doors = f"-R 127.0.0.1:{edge.door}:127.0.0.1:{inside}"
        line = await asyncio.to_thread(edge.line, doors)
        await asyncio.to_thread(until, lambda: listens(edge.door), f"the edge's door; {edge.errors}")
        # South holds the key at the other end of its TLS against the ledger's: it is north's own, not the edge's.
        assert await client.ask(NORTH, "echo", b"hello") == b"south:hello"
        large = os.urandom(4 << 20)
        assert await client.ask(NORTH, "echo", large) == b"south:" + large

        line.kill()  # the line drops: nobody is asked, nothing is lost, and the next line opens the same door
        await asyncio.to_thread(line.wait)
        await asyncio.to_thread(until, lambda: not listens(edge.door), "the door to close")
        with pytest.raises(PeerUnreachable):
            await client.ask(NORTH, "echo", b"away")
        await asyncio.to_thread(edge.line, doors)
        await asyncio.to_thread(until, lambda: listens(edge.door), f"the door again; {edge.errors}")
        assert await client.ask(NORTH, "echo", b"again") == b"south:again"
    finally:
        await client.close()
        await server.stop()


async def test_a_stolen_line_key_opens_no_other_door_no_shell_and_nothing_at_the_edge(edge: Edge) -> None:
    def tried() -> None:
        other = free_ports(1)
        line = edge.line(f"-R 127.0.0.1:{other}:127.0.0.1:9")
        assert line.wait(PATIENCE_S) != 0, "another door was opened"
        assert not listens(other)

        outward = edge.line(f"-L 127.0.0.1:{other}:127.0.0.1:{edge.port}")
        until(lambda: listens(other), f"ssh to offer its end; {edge.errors}")
        with socket.create_connection(("127.0.0.1", other), PATIENCE_S) as reached:
            reached.settimeout(PATIENCE_S)
            assert reached.recv(1) == b"", "the edge reached into its own network for the key's holder"
        outward.kill()

        known = f"UserKnownHostsFile={edge.folder / 'edge-host'}"
        shell = subprocess.run(
            ["ssh", "-F", "none", "-T", "-p", str(edge.port), "-i", str(edge.folder / "edge-key"), "-o", known,
             "-o", "BatchMode=yes", f"{getpass.getuser()}@127.0.0.1", "echo", "inside"],
            capture_output=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert shell.returncode != 0
        assert b"inside" not in shell.stdout

    await asyncio.to_thread(tried)


def test_the_unit_forgets_no_door_and_believes_no_new_host() -> None:
    (said,) = entries(UNIT)["Service.ExecStart"]
    for wanted in ("StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes", "BatchMode=yes", "ServerAliveInterval="):
        assert wanted in said
    assert entries(UNIT)["Service.Restart"] == ["always"]
