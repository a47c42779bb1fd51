"""A worker process: started with nothing of the node's, asked over a socket, ended when it takes too long.

It gets an environment of its own (no keys, no settings of the node), one thread, and what `confine` takes from it. It
belongs to a session of its own, so that ending it ends whatever
it started.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from commonward.adapters.flower.frames import FrameError, read_frame, write_frame
from commonward.ledger.encoding import Encodable, Value
from commonward.workflows.training.ports import LearnerFailed, LearnerTimedOut

__all__ = ["Limits", "WorkerProcess"]

# Flower reports every start of an app, and looks for newer versions, unless told not to (flwr 1.41:
# supercore/telemetry.py, supercore/update_check.py). One thread: a node's machine has other work.
_ENVIRONMENT: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}
_GRACE: Final = 10.0
_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a worker may use.

    Attributes:
        memory: bytes of data that it may allocate (RLIMIT_DATA).
        seconds: for one call, by the clock on the wall.
        start_seconds: until it is ready; Flower takes seconds to import.
        environment: variables beside those set here: `CUDA_VISIBLE_DEVICES`, say.
    """

    memory: int = 4 << 30
    seconds: float = 3600.0
    start_seconds: float = 180.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> int:
        """Bytes of an answer at most: an honest worker holds it three times, as arrays, as tensors and as a frame. It
        is the node that reads it, into memory that no limit of the worker's covers."""
        return self.memory // 4


class WorkerProcess:
    """One process, from its start to its end. Called from one thread."""

    def __init__(self, folder: Path, name: str, limits: Limits) -> None:
        """Start it on a learner whose files lie under `folder`/learners.

        Raises:
            LearnerFailed: it ended before it was ready; says what it wrote.
            LearnerTimedOut: it was not ready in time.
        """
        self._limits = limits
        self._errors = folder / "stderr.txt"
        ours, theirs = socket.socketpair()
        with theirs, self._errors.open("wb") as errors:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(  # noqa: S603 - our own module, arguments of ours
                [
                    sys.executable,
                    *("-I", "-B", "-m", "commonward.adapters.flower.worker"),
                    *(str(theirs.fileno()), str(folder), name, str(limits.memory)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env={**_ENVIRONMENT, "HOME": str(folder), "TMPDIR": str(folder), **limits.environment},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._link = ours
        self._closed = False
        self.ready: Value = self._answer(limits.start_seconds, "to be ready")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, request: Encodable, seconds: float | None = None) -> Value:
        """Send one request and wait for its answer, at most so many seconds or as the limits say.

        Raises:
            LearnerFailed: the process ended, or answered `["failed", why]`.
            LearnerTimedOut: no answer in time.
        """
        allowed = self._limits.seconds if seconds is None else seconds
        self._link.settimeout(allowed)
        try:
            write_frame(self._link, request)
        except FrameError as cause:
            raise self._over(cause) from cause
        except TimeoutError as cause:
            self.close()
            raise LearnerTimedOut(f"expected the learner to take {allowed:g} s at most") from cause
        answer = self._answer(allowed, "to answer")
        match answer:
            case ["failed", str(why)]:
                raise LearnerFailed(why)
        return answer

    def close(self) -> None:
        """End it and whatever it started, and wait until it is gone. Any number of times. It holds nothing to lose."""
        if self._closed:
            return
        self._closed = True  # once: the number may be another process's later
        self._link.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answer(self, seconds: float, what: str) -> Value:
        try:
            return read_frame(self._link, monotonic() + seconds, self._limits.answer)
        except TimeoutError as cause:
            self.close()
            raise LearnerTimedOut(f"expected the learner {what} in {seconds:g} s: ended it{self._said()}") from cause
        except FrameError as cause:
            raise self._over(cause) from cause

    def _over(self, cause: Exception) -> LearnerFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)  # its socket ended before it did: let it say with what
        self.close()
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return LearnerFailed(f"the learner's process {how} ({cause}){self._said()}")

    def _said(self) -> str:
        try:
            with self._errors.open("rb") as errors:
                errors.seek(max(0, self._errors.stat().st_size - _SHOWN))
                text = errors.read().decode(errors="replace").strip()
        except OSError:
            return ""
        return f"; it wrote: {text}" if text else ""
