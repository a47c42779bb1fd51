"""The Learner port, by a Flower ClientApp in a worker process."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from commonward.adapters.flower.frames import (
    FrameError,
    model_of,
    settings_value,
    task_value,
    tensors_of,
    tensors_value,
)
from commonward.adapters.flower.installed import BUNDLED, describe, digest_of_files, files_of
from commonward.adapters.flower.process import Limits, WorkerProcess
from commonward.ledger.encoding import Digest, Encodable, Value
from commonward.records.images.reading import Reading
from commonward.records.model import DType, Model, ModelError, Tensor, check_sorted
from commonward.records.table import Table
from commonward.records.updates import Kind
from commonward.workflows.training.ports import (
    Description,
    LearnerError,
    LearnerFailed,
    LearnerNotApproved,
    Setting,
    Task,
    Trained,
)

T = TypeVar("T")


class FlowerLearner:
    """One installed learner, as `workflows.training.ports.Learner` promises.

    A process is started when it is first needed, lives from call to call (its rows are read once), and is started anew
    after it failed, was killed, or took too long; then it is given its rows again.
    """

    def __init__(self, name: str, approved: Digest, *, root: Path = BUNDLED, limits: Limits | None = None) -> None:
        """Read the learner's files.

        Args:
            name: of its folder.
            approved: the digest that this site's people approved.
            root: where learners are installed.

        Raises:
            LearnerNotApproved: what is installed has another digest.
            LearnerFailed: nothing of that name is installed.
        """
        self._name, self._root = name, root
        self._limits = limits or Limits()
        self._files = files_of(root, name)
        found = digest_of_files(self._files)
        if found != approved:
            raise LearnerNotApproved(
                f"expected the learner {name} with the approved digest {approved.hex()}, got {found.hex()} in "
                f"{root / name}: install what was approved, or approve what is installed"
            )
        self._description = describe(root, name)
        if self._description.digest != approved:
            raise LearnerNotApproved(f"the files of the learner {name} changed while they were read")
        self._folder: Path | None = None
        self._process: WorkerProcess | None = None
        self._rows: tuple[bytes, bytes] | None = None

    def __enter__(self) -> "FlowerLearner":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def describe(self) -> Description:
        """What is installed."""
        return self._description

    def load(self, train: Table, test: Table) -> None:
        """Keep the rows and give them to the process. Raises LearnerError."""
        self._rows = (train.to_bytes(), test.to_bytes())
        if self._process is None or not self._process.alive:
            self._running()
        else:
            self._process.ask(["load", *self._rows], self._limits.start_seconds)

    def first_model(self, settings: Mapping[str, Setting]) -> Model:
        """Raises LearnerError."""
        return self._expect(self._ask(["first", settings_value(settings)]), model_of, "model")

    def train(self, base: Model, task: Task) -> Trained:
        """Raises LearnerError."""
        request: Encodable = ["train", tensors_value(base), task_value(task)]
        return self._expect(self._ask(request), _trained, "trained")

    def evaluate(self, model: Model, task: Task) -> tuple[Tensor, ...]:
        """Raises LearnerError."""
        request: Encodable = ["evaluate", tensors_value(model), task_value(task)]
        return self._expect(self._ask(request), _counts, "counts")

    def read(self, model: Model, photograph: bytes) -> Reading:
        """What a model says of one photograph's file (JPEG or PNG). Raises LearnerError."""
        request: Encodable = ["read", tensors_value(model), photograph]
        return self._expect(self._ask(request), Reading.from_value, "reading")

    def close(self) -> None:
        """End the process and remove its folder."""
        self._end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None when none runs."""
        return self._process.pid if self._process is not None and self._process.alive else None

    @property
    def confined(self) -> tuple[bool, bool]:
        """Whether the running process has no network, and no files but its own: as far as this kernel allows."""
        match self._running().ready:
            case ["ready", int(network), int(files), int()]:
                return bool(network), bool(files)
        return False, False

    @property
    def calls_refused(self) -> bool:
        """Whether the kernel refuses the running process what `syscalls` names."""
        match self._running().ready:
            case ["ready", int(), int(), int(calls)]:
                return bool(calls)
        return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, request: Encodable) -> Value:
        return self._running().ask(request)

    def _running(self) -> WorkerProcess:
        if self._process is not None and self._process.alive:
            return self._process
        self._end()
        process = self._process = WorkerProcess(self._staged(), self._name, self._limits)
        if self._rows is not None:
            process.ask(["load", *self._rows], self._limits.start_seconds)
        return process

    def _staged(self) -> Path:
        """A copy of the bytes that were hashed: what is run is what was approved, whatever happens to the files."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="commonward-learner-"))
        learners = self._folder / "learners"
        shutil.rmtree(learners, ignore_errors=True)
        for path, data in self._files.items():
            place = learners / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return self._folder

    def _expect(self, answer: Value, read: Callable[[Value], T], label: str) -> T:
        """What an answer says, judged as a stranger's. A process that answers nonsense is ended."""
        try:
            match answer:
                case [str(kind), value] if kind == label:
                    return read(value)
            raise FrameError(f"expected [{label!r}, ...]")
        except (FrameError, ModelError, LearnerError, ValueError) as cause:
            with contextlib.suppress(LearnerError):
                self._end()
            raise LearnerFailed(f"the learner {self._name} gave no usable answer: {cause}") from cause


def _trained(value: Value) -> Trained:
    match value:
        case [str(kind), int(rows), list() as tensors] if kind in set(Kind) and rows >= 1:
            return Trained(Kind(kind), rows, _sorted(tensors, DType.Q24 if kind == Kind.DELTA else DType.I64))
    raise FrameError("expected [kind, rows, tensors]")


def _counts(value: Value) -> tuple[Tensor, ...]:
    return _sorted(value, DType.I64)


def _sorted(value: Value, dtype: DType) -> tuple[Tensor, ...]:
    tensors = tensors_of(value)
    check_sorted(tensors)
    if other := [each.name for each in tensors if each.dtype is not dtype]:
        raise FrameError(f"expected {dtype.value}, got another type in {other[0]}")
    return tensors
