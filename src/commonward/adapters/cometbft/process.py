"""CometBFT's process: started, watched, started again when it dies, and never left behind.

It must not outlive the node that started it: it would go on voting with nobody to execute, and the next start would
meet its locks. The kernel sees to that (PR_SET_PDEATHSIG), however this process ends. The signal is bound to the
thread that started the child, so children are started from the event loop's thread, which lives as long as the
process does.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

__all__ = ["VERSION", "BinaryMissing", "Child", "find_binary"]

VERSION: Final = "0.38.25"
"""The version that is pinned; `COMMONWARD_COMETBFT` names another binary."""

_PR_SET_PDEATHSIG: Final = 1
_LOG_BYTES: Final = 16 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)  # looked up before any fork: nothing may be loaded in between

_log = structlog.get_logger(__name__)


class BinaryMissing(RuntimeError):
    """No CometBFT to start."""


def find_binary(name: str = "") -> Path:
    """The CometBFT to run: `name`, else one of the pinned version that make installed, else one on the PATH.

    Raises BinaryMissing.
    """
    if name:
        found = shutil.which(name)
        if found is None:
            raise BinaryMissing(f"COMMONWARD_COMETBFT names {name}, which is no program; run `make cometbft`, or unset")
        return Path(found)
    for folder in Path(__file__).resolve().parents:
        made = folder / ".tools" / f"cometbft-{VERSION}" / "cometbft"
        if made.exists():
            return made
    on_path = shutil.which("cometbft")
    if on_path is None:
        raise BinaryMissing(
            f"CometBFT {VERSION} is not installed: run `make cometbft`, or set COMMONWARD_COMETBFT to its binary"
        )
    return Path(on_path)


def _with_parent(parent: int) -> Callable[[], None]:
    """Runs in the child between fork and exec."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died in between: no signal will come
            os._exit(1)

    return prepare


class Child:
    """One CometBFT over a home."""

    def __init__(self, binary: Path, home: Path, collector: int = 400) -> None:
        """`collector`: GOGC; memory is traded for processor time."""
        self._binary = binary
        self._home = home
        self._collector = collector
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    async def start(self) -> None:
        """Raises OSError."""
        self.bound_log()
        # GOMAXPROCS stays as it is: with one, throughput collapsed to a twentieth.
        environ = {**os.environ, "GOGC": str(self._collector), "CMTHOME": str(self._home)}
        with (self._home / "cometbft.log").open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                str(self._binary), "start", "--home", str(self._home),
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._home, env=environ,
                preexec_fn=_with_parent(os.getpid()),
            )  # fmt: skip

    def bound_log(self) -> None:
        """Turn its log over when it has grown. CometBFT appends to the same file, so it is copied and emptied."""
        log = self._home / "cometbft.log"
        with contextlib.suppress(OSError):
            if log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(log, self._home / "cometbft.log.1")
                os.truncate(log, 0)

    async def wait(self) -> int:
        assert self._process is not None, "wait comes after start"
        return await self._process.wait()

    async def stop(self, patience_s: float = 10.0) -> None:
        """Ask it to end, then end it."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for who must mend it."""
        with contextlib.suppress(OSError), (self._home / "cometbft.log").open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""
