"""What a learner could do to its node beside reading its files, tried for real in a worker."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonward.adapters.flower import FlowerLearner, digest_of
from commonward.workflows.training.ports import LearnerFailed

SECCOMP = Path("/proc/sys/kernel/seccomp/actions_avail")

APP = """
import ctypes, mmap, os, resource, socket, subprocess
from flwr.clientapp import ClientApp

VICTIM, SOCKET, THEIRS, SHARED = {victim}, {socket!r}, {theirs!r}, {shared!r}
app = ClientApp()
libc = ctypes.CDLL(None, use_errno=True)

def told():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(SOCKET)

def datagram():
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"x", SOCKET)

def ring():
    if libc.syscall(425, 1, ctypes.create_string_buffer(200)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")

def away():
    if os.fork() == 0:
        os.setsid()
        os._exit(0)

ATTACKS = {{
    "connect": told,
    "datagram": datagram,
    "internet": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "io_uring": ring,
    "fork": away,
    "start": lambda: subprocess.run(["/bin/true"]),
    "signal": lambda: os.kill(VICTIM, 0),
    "limit": lambda: resource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (64, 64)),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, VICTIM, 19),
    "processors": lambda: os.sched_setaffinity(VICTIM, [0]),
    "mode": lambda: os.chmod(THEIRS, 0o666),
    "owner": lambda: os.chown(THEIRS, os.getuid(), os.getgid()),
    "unlimited": lambda: mmap.mmap(-1, 1 << 20),
    "memory-file": lambda: os.memfd_create("x"),
    "shared": lambda: open(SHARED, "w").write("a row"),
}}

@app.query("first")
def first(message, context):
    done = []
    for name, attack in ATTACKS.items():
        try:
            attack()
            done.append(name)
        except OSError:
            pass
    raise ValueError("done: " + " ".join(done))
"""


@pytest.fixture
def victim() -> Iterator[int]:
    """A process of the node's user."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"), reason="Linux's")
def test_a_learner_reaches_no_socket_no_process_and_no_mode_of_a_file_of_the_nodes_user(
    tmp_path: Path, victim: int
) -> None:
    """The control API is a socket at a path that asks nobody who they are: who connects to it is the member."""
    folder, listening, theirs = tmp_path / "bad", tmp_path / "node.sock", tmp_path / "passphrase"
    folder.mkdir()
    theirs.write_text("of the node")
    theirs.chmod(0o600)
    shared = Path("/dev/shm") / f"commonward-{os.getpid()}-{tmp_path.name}"
    (folder / "learner.json").write_text(json.dumps({"about": "bad", "columns": [], "settings": {}, "uses": []}))
    code = APP.format(victim=victim, socket=str(listening), theirs=str(theirs), shared=str(shared))
    (folder / "app.py").write_text(code)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
        server.listen()
        with FlowerLearner("bad", digest_of(tmp_path, "bad"), root=tmp_path) as learner:
            assert learner.calls_refused or not SECCOMP.exists(), "this kernel takes filters"
            if not learner.calls_refused:
                pytest.skip("this kernel takes no seccomp filter: learners are told to be confined by less")
            with pytest.raises(LearnerFailed, match="done:") as failed:
                learner.first_model({})
            _, files = learner.confined
    done = set(str(failed.value).rpartition("done:")[2].split())
    if not files:  # no Landlock: files are open to it, and that is told
        shared.unlink(missing_ok=True)
        done.discard("shared")
    assert not done
    assert theirs.stat().st_mode & 0o777 == 0o600
    assert not shared.exists()
