"""Hosts of a test: network namespaces on two bridges that one link joins, so that cutting it parts the hosts in two.

    with Hosts(["north", "south"], ["clinic", "authority"]) as hosts:
        hosts.address("north")             such as 10.93.7.1; this process reaches the first side at any time
        hosts.run("north", [...])          a process on that host
        hosts.cut(); hosts.mend()

Needs root and `ip` (Debian's iproute2, which `make test` installs). Names carry the process id: tests run side by side.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Hosts:
    """Two sides of hosts."""

    def __init__(self, first: Sequence[str], second: Sequence[str]) -> None:
        assert shutil.which("ip"), "expected the program `ip`: install Debian's iproute2 (make test does)"
        assert os.geteuid() == 0, "expected to run as root: network namespaces cannot be made otherwise"
        self._mark = f"{os.getpid() % 0xFFFFF:05x}"
        self._net = f"10.{64 + (os.getpid() >> 8) % 128}.{os.getpid() % 256}"
        self._sides = (tuple(first), tuple(second))
        self._names = [*first, *second]

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def address(self, name: str) -> str:
        return f"{self._net}.{self._names.index(name) + 1}"

    def _make(self) -> None:
        bridges = [f"cw{self._mark}b{side}" for side in (0, 1)]
        for bridge in bridges:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        _ip("link", "add", self._link, "type", "veth", "peer", "name", f"cw{self._mark}l1")
        for end, bridge in zip((self._link, f"cw{self._mark}l1"), bridges, strict=True):
            _ip("link", "set", end, "master", bridge)
            _ip("link", "set", end, "up")
        _ip("addr", "add", f"{self._net}.254/24", "dev", bridges[0])
        for side, bridge in zip(self._sides, bridges, strict=True):
            for name in side:
                space, outer = self._space(name), f"cw{self._mark}v{self._names.index(name)}"
                _ip("netns", "add", space)
                _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
                _ip("link", "set", outer, "master", bridge)
                _ip("link", "set", outer, "up")
                _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
                _ip("-n", space, "link", "set", "eth0", "up")
                _ip("-n", space, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)
        for device in (self._link, f"cw{self._mark}b0", f"cw{self._mark}b1"):
            subprocess.run(["ip", "link", "del", device], capture_output=True, check=False)

    @property
    def _link(self) -> str:
        return f"cw{self._mark}l0"

    def _space(self, name: str) -> str:
        return f"cw{self._mark}-{self._names.index(name)}"

    def cut(self) -> None:
        """The two sides hear nothing of each other."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        _ip("link", "set", self._link, "up")

    def run(self, name: str, words: Sequence[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """A process on a host. Its pid is the program's own: `ip netns exec` becomes it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self._space(name), *words],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
