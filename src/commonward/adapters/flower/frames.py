"""What crosses between the node and a worker: frames of our own encoding, 8 bytes of length first.

Integers, text, byte strings and lists of these: nothing that either side could be made to run.
"""

import socket
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Final

from commonward.ledger.encoding import Encodable, EncodingError, Value, decode, encode
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Model, Tensor
from commonward.workflows.training.ports import Setting, Task

__all__ = ["FrameError", "read_frame", "settings_of", "settings_value", "task_of", "task_value", "write_frame"]

MAX_FRAME: Final = 8 << 30
_CHUNK: Final = 1 << 20


class FrameError(Exception):
    """The other side ended, or sent what is no frame."""


def write_frame(link: socket.socket, value: Encodable) -> None:
    """Raises FrameError when the other side is gone, TimeoutError as the link's timeout says."""
    data = encode(value)
    try:
        link.sendall(len(data).to_bytes(8, "big"))
        link.sendall(data)
    except TimeoutError:
        raise
    except OSError as cause:
        raise FrameError(f"the other side is gone: {cause}") from cause


def read_frame(link: socket.socket, deadline: float | None = None, most: int = MAX_FRAME) -> Value:
    """The next frame.

    Args:
        deadline: `time.monotonic()` at which to give up; None waits.
        most: bytes that it may have; of a longer one nothing is read.

    Raises:
        FrameError: the other side ended, or sent no frame.
        TimeoutError: the deadline passed.
    """
    size = int.from_bytes(_exactly(link, 8, deadline), "big")
    if size > most:
        raise FrameError(f"expected at most {most} bytes, got {size}")
    try:
        return decode(_exactly(link, size, deadline))
    except EncodingError as cause:
        raise FrameError(f"expected our encoding: {cause}") from cause


def _exactly(link: socket.socket, count: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    missing = count
    while missing:
        if deadline is not None:
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError
            link.settimeout(left)
        try:
            part = link.recv(min(missing, _CHUNK))
        except TimeoutError:
            raise
        except OSError as cause:
            raise FrameError(f"the other side is gone: {cause}") from cause
        if not part:
            raise FrameError("the other side ended")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def settings_value(settings: Mapping[str, Setting]) -> list[Encodable]:
    """[[name, value], ...] by name."""
    return [[name, settings[name]] for name in sorted(settings)]


def settings_of(value: Value) -> dict[str, Setting]:
    """Raises FrameError."""
    found: dict[str, Setting] = {}
    for each in value if isinstance(value, list) else [None]:
        match each:
            case [str(name), int() | str() | bytes() as setting] if name not in found:
                found[name] = setting
            case [str(name), list(numbers)] if name not in found:
                whole = tuple(n for n in numbers if isinstance(n, int))
                if len(whole) != len(numbers):
                    raise FrameError(f"{name}: expected whole numbers")
                found[name] = whole
            case _:
                raise FrameError("expected [[name, value], ...], each name once")
    return found


def task_value(task: Task) -> list[Encodable]:
    """[study, round, attempt, rule, settings]."""
    return [task.study, task.round, task.attempt, int(task.rule), settings_value(task.settings)]


def task_of(value: Value) -> Task:
    """Raises FrameError."""
    match value:
        case [bytes(study), int(number), int(attempt), int(rule), list() as settings] if rule in set(Rule):
            return Task(study, number, attempt, Rule(rule), settings_of(settings))
    raise FrameError("expected [study, round, attempt, rule, settings]")


def tensors_value(tensors: Iterable[Tensor]) -> list[Encodable]:
    """[[name, dtype, shape, bytes], ...]."""
    return [each.to_value() for each in tensors]


def tensors_of(value: Value) -> tuple[Tensor, ...]:
    """Raises FrameError; ModelError for one that is no tensor."""
    if not isinstance(value, list):
        raise FrameError("expected a list of tensors")
    return tuple(Tensor.from_value(each) for each in value)


def model_of(value: Value) -> Model:
    """Raises FrameError and ModelError."""
    return Model(tensors_of(value))
