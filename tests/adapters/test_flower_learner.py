"""Learners in their own process: what is approved runs, what fails is ended, and nothing of the node's is in reach."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from commonward.adapters.flower import BUNDLED, FlowerLearner, Limits, digest_of, installed
from commonward.adapters.flower.installed import describe
from commonward.apps.samples.heart import COLUMNS, rows
from commonward.ledger.rounds.words import Rule
from commonward.records.model import DType, Model
from commonward.records.table import Column, Table, Type
from commonward.records.updates import Kind
from commonward.workflows.training.ports import LearnerFailed, LearnerNotApproved, LearnerTimedOut, Task

TASK = Task(b"s" * 16, 1, 1, Rule.FEDAVG, {"seed": 7, "steps": 3})
TABLE = Table(tuple(Column(name, Type.DECIMAL) for name in COLUMNS), tuple(rows("cleveland")[:60]))
SMALL = Table((Column("x", Type.DECIMAL),), ((1.0,), (2.0,), (4.0,)))

# A learner as the field writes them: Flower's own conventions, nothing of ours but the rows.
PLAIN = """
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from commonward.adapters.flower.site import train_rows, test_rows

app = ClientApp()

@app.train()
def train(message, context):
    new = {name: each + 0.5 for name, each in zip(message.content["arrays"],
           message.content["arrays"].to_numpy_ndarrays())}
    metrics = MetricRecord({"num-examples": len(train_rows())})
    content = RecordDict({"arrays": ArrayRecord(dict_of(new)), "metrics": metrics})
    return Message(content, reply_to=message)

def dict_of(arrays):
    from flwr.app import Array
    return {name: Array(each) for name, each in arrays.items()}

@app.evaluate()
def evaluate(message, context):
    counts = {"rows": np.array([len(test_rows())])}
    return Message(RecordDict({"counts": ArrayRecord(dict_of(counts))}), reply_to=message)
"""


@pytest.fixture(scope="module")
def learner() -> Iterator[FlowerLearner]:
    with FlowerLearner("heart_logistic", digest_of(BUNDLED, "heart_logistic")) as made:
        made.load(TABLE.take(range(40)), TABLE.take(range(40, 60)))
        yield made


def test_a_learner_names_what_it_tells_apart_or_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    (folder / "app.py").write_text("")
    about = {"about": "of a test", "columns": ["x"], "settings": {}, "uses": []}
    (folder / "learner.json").write_text(json.dumps(about))
    assert describe(tmp_path, "apart").classes == ()
    (folder / "learner.json").write_text(json.dumps({**about, "classes": ["a", "b", "c"]}))
    assert describe(tmp_path, "apart").classes == ("a", "b", "c")
    for wrong in ("abc", [1, 2], [""]):
        (folder / "learner.json").write_text(json.dumps({**about, "classes": wrong}))
        with pytest.raises(LearnerFailed, match="classes"):
            describe(tmp_path, "apart")


@pytest.fixture
def installs(tmp_path: Path) -> Iterator[Callable[..., FlowerLearner]]:
    """Installs a learner of this code and approves it."""
    made: list[FlowerLearner] = []

    def install(code: str, started: bool = True, **limits: float) -> FlowerLearner:
        folder = tmp_path / f"own_{len(made)}"
        folder.mkdir()
        about = {"about": "of a test", "columns": ["x"], "settings": {}, "uses": []}
        (folder / "learner.json").write_text(json.dumps(about))
        (folder / "app.py").write_text(code)
        asked = Limits(**limits)  # type: ignore[arg-type]
        made.append(FlowerLearner(folder.name, digest_of(tmp_path, folder.name), root=tmp_path, limits=asked))
        if started:
            made[-1].load(SMALL, SMALL.take([0]))
        return made[-1]

    yield install
    for each in made:
        each.close()


def trains(body: str, top: str = "") -> str:
    """The code of a learner whose `train` is this."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{PLAIN}\n{top}\napp = ClientApp()\n@app.train()\ndef train(message, context):\n{lines}"


BASE = Model.from_floats({"w": np.zeros(2)})


def gone(pid: int) -> bool:
    try:
        # A zombie is gone too: its parent has only not been told.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between open and read
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_bundled_learner_says_what_it_is_without_a_process() -> None:
    found = {each.name: each for each in installed()}
    assert {"heart_logistic", "heart_newton", "logistic", "statistics"} <= set(found)
    for each in found.values():
        declared = {"statistics", "regression"} & set(each.settings)  # its columns are those that a study names
        assert each.about and (each.columns or declared) and len(each.digest) == 32


def test_a_round_gives_quantised_changes_and_the_rows_they_are_made_of(learner: FlowerLearner) -> None:
    base = learner.first_model({})
    made = learner.train(base, TASK)
    assert (made.kind, made.rows) == (Kind.DELTA, 40)
    assert [(each.name, each.dtype, each.shape) for each in made.tensors] == [("coefficients", DType.Q24, (14,))]
    assert learner.train(base, TASK) == made, "a seeded round can be repeated"
    sums = learner.train(base, Task(b"s" * 16, 1, 1, Rule.SUM))
    assert (sums.kind, sums.rows) == (Kind.SUM, 1)
    assert sums.tensors[0].integers[0] == 40  # how many have an age


def test_an_evaluation_is_counts_that_can_be_added(learner: FlowerLearner) -> None:
    counts = {each.name: each.integers for each in learner.evaluate(learner.first_model({}), TASK)}
    assert counts["confusion"].sum() == counts["histogram_home"].sum() == counts["rows"][0] == 20


def test_a_learner_whose_digest_was_not_approved_is_not_run(tmp_path: Path, installs) -> None:
    approved = digest_of(tmp_path, installs(PLAIN, started=False).describe().name)
    (tmp_path / "own_0" / "app.py").write_text(PLAIN + "\n# one line more")
    with pytest.raises(LearnerNotApproved, match="approved digest"):
        FlowerLearner("own_0", approved, root=tmp_path)


def test_a_file_beside_the_learner_counts_and_byte_code_does_not(tmp_path: Path, installs) -> None:
    installs(PLAIN, started=False)
    before = digest_of(tmp_path, "own_0")
    (tmp_path / "own_0" / "__pycache__").mkdir()
    (tmp_path / "own_0" / "__pycache__" / "app.pyc").write_bytes(b"\0")
    assert digest_of(tmp_path, "own_0") == before
    (tmp_path / "own_0" / "weights.bin").write_bytes(b"\0")
    assert digest_of(tmp_path, "own_0") != before
    (tmp_path / "own_0" / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(LearnerFailed, match="expected plain files, got the link"):
        digest_of(tmp_path, "own_0")


def test_an_app_written_for_any_fedavg_runs_unchanged_and_as_it_was_hashed(tmp_path: Path, installs) -> None:
    learner = installs(PLAIN)
    made = learner.train(BASE, TASK)
    assert made.rows == 3 and made.tensors[0].floats.tolist() == [0.5, 0.5]
    assert learner.evaluate(BASE, TASK)[0].integers.tolist() == [1]
    (tmp_path / "own_0" / "app.py").write_text("raise SystemExit")
    os.kill(learner.pid, signal.SIGKILL)
    wait_until(lambda: learner.pid is None)
    assert learner.train(BASE, TASK) == made, "the bytes that were hashed are run, though the files changed afterwards"


def test_a_worker_that_is_killed_is_started_again_with_its_rows(learner: FlowerLearner) -> None:
    base = learner.first_model({})
    before = learner.train(base, TASK)
    first = learner.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: learner.pid is None)
    assert learner.train(base, TASK) == before
    assert learner.pid not in (None, first)


def test_a_learner_that_takes_too_long_is_ended_with_all_it_started(installs) -> None:
    """A thread is all that it can start where the kernel refuses calls; elsewhere children end with it."""
    body = """import subprocess, sys, time
try:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stderr.write(f"started {child.pid}.")
    sys.stderr.flush()
except PermissionError:
    pass
time.sleep(600)"""
    learner = installs(trains(body), seconds=5.0)
    pid = learner.pid
    assert pid is not None
    with pytest.raises(LearnerTimedOut, match="5 s") as late:
        learner.train(BASE, TASK)
    assert learner.pid is None and gone(pid)
    for child in re.findall(r"started ([0-9]+)\.", str(late.value)):  # none on a machine that is slower than 5 s
        wait_until(partial(gone, int(child)))


def test_a_learner_that_cannot_be_imported_says_why(installs) -> None:
    with pytest.raises(LearnerFailed, match="no_such_module"):
        installs("import no_such_module")


FAULTS = {
    "raises": ('raise RuntimeError("no luck")', "RuntimeError: no luck"),
    "none": ("return None", "no message with content"),
    "empty": ("return Message(RecordDict({}), reply_to=message)", "num-examples"),
    "nan": ("return sent(message, np.array([np.nan, 0.0]))", "finite"),
    "infinite": ("return sent(message, np.array([np.inf, 0.0]))", "finite"),
    "exploding": ("return sent(message, np.array([1e6, 0.0]))", "exploded"),
    "shape": ("return sent(message, np.zeros(3))", "in their shapes"),
    "rows": ("return sent(message, np.zeros(2), rows=0)", "at least 1"),
    "pickle": ("return sent(message, np.array([print, len]))", "[Pp]ickle|[Oo]bject"),
    "memory": ("held = bytearray(4 << 30)", "MemoryError"),
    "environment": ("import json, os\nraise ValueError(json.dumps(dict(os.environ)))", "FLWR_TELEMETRY_ENABLED"),
    "dies": ('import os, sys\nsys.stderr.write("out of luck")\nsys.stderr.flush()\nos._exit(5)', "with 5.*out of luck"),
}
SENT = """
def sent(message, w, rows=1):
    content = RecordDict({"arrays": ArrayRecord(dict_of({"w": w})), "metrics": MetricRecord({"num-examples": rows})})
    return Message(content, reply_to=message)
"""


def fails(learner: FlowerLearner, fault: str) -> str:
    task = Task(b"s" * 16, 1, 1, Rule.FEDAVG, {"fault": fault})
    with pytest.raises(LearnerFailed, match=FAULTS[fault][1]) as failed:
        learner.train(BASE, task)
    return str(failed.value)


def test_whatever_a_learner_does_wrong_is_its_own_failure(installs, monkeypatch) -> None:
    monkeypatch.setenv("COMMONWARD_SECRET", "hush")
    cases = "\n".join(
        f'if message.content["config"]["fault"] == "{name}":\n' + "\n".join(f"    {line}" for line in body.splitlines())
        for name, (body, _) in FAULTS.items()
    )
    learner = installs(trains(cases, SENT), memory=2 << 30)
    for fault in FAULTS:
        if fault not in ("environment", "dies"):
            fails(learner, fault)
            assert learner.pid is not None, "a learner that raised goes on living"
    text = fails(learner, "environment")
    seen = json.loads(text[text.index("{") :])
    assert "COMMONWARD_SECRET" not in seen, "a worker has none of the node's environment"
    assert seen["FLWR_TELEMETRY_ENABLED"] == "0" and seen["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    fails(learner, "dies")
    assert learner.pid is None


def test_an_answer_larger_than_a_worker_can_honestly_hold_is_not_read_into_the_nodes_memory(installs) -> None:
    body = """import os, sys
os.write(int(sys.argv[1]), (8 << 30).to_bytes(8, "big") + bytes(1000))
return None"""
    learner = installs(trains(body), memory=2 << 30)
    with pytest.raises(LearnerFailed, match=f"expected at most {(2 << 30) // 4} bytes, got {8 << 30}"):
        learner.train(BASE, TASK)
    assert learner.pid is None


def test_a_learner_reaches_no_file_no_network_and_no_process_of_the_node(installs, tmp_path) -> None:
    """Where the kernel has Landlock; elsewhere it runs as the node's user and can read its files: a limit, told."""
    secret = tmp_path / "key"
    secret.write_text("a file of the node's user")
    body = f"""import os, socket
found = []
def attempt(name, deed):
    try:
        deed()
        found.append(name)
    except OSError:
        pass
attempt("read", lambda: open({str(secret)!r}).read())
attempt("write", lambda: open({str(secret)!r}, "a").write("x"))
attempt("list", lambda: os.listdir({str(tmp_path)!r}))
attempt("signal", lambda: os.kill({os.getpid()}, 0))
attempt("environment", lambda: open("/proc/{os.getpid()}/environ").read())
attempt("own", lambda: open("own.txt", "w").write("x"))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", {{port}}), 5))
raise ValueError(" ".join(found))"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        learner = installs(trains(body.replace("{port}", str(server.getsockname()[1]))))
        with pytest.raises(LearnerFailed) as failed:
            learner.train(BASE, TASK)
        network, files = learner.confined
    reached = set(str(failed.value).rpartition("ValueError: ")[2].split())
    assert "own" in reached, "its own folder is its own"
    if network:
        assert "connect" not in reached
    if files:
        assert not reached & {"read", "write", "list", "environment"}
    else:
        assert "read" in reached


def test_a_study_cannot_pay_for_fewer_patients_than_its_steps_take(learner: FlowerLearner) -> None:
    """A declared rate lowers the charge: who takes all rows must refuse one."""
    cheap = Task(b"s" * 16, 1, 1, Rule.FEDAVG, {"noise": 1_000_000, "steps": 1, "rate": 10_000_000})
    with pytest.raises(LearnerFailed, match=r"expected a rate of 10\^9"):
        learner.train(learner.first_model({}), cheap)


def test_noise_cannot_be_seeded(learner: FlowerLearner) -> None:
    private = Task(b"s" * 16, 1, 1, Rule.FEDAVG, {"noise": 1_000_000, "steps": 1, "seed": 1})
    with pytest.raises(LearnerFailed, match="no seed with noise"):
        learner.train(learner.first_model({}), private)
    fresh = Task(b"s" * 16, 1, 1, Rule.FEDAVG, {"noise": 1_000_000, "steps": 1})
    base = learner.first_model({})
    assert learner.train(base, fresh) != learner.train(base, fresh), "noise is drawn anew each time"


def test_a_node_that_is_killed_leaves_no_worker_behind() -> None:
    code = """
import sys, time
from commonward.adapters.flower import BUNDLED, FlowerLearner, digest_of
learner = FlowerLearner("heart_newton", digest_of(BUNDLED, "heart_newton"))
learner.first_model({})
print(learner.pid, flush=True)
time.sleep(600)
"""
    node = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        worker = int(node.stdout.readline())
        assert not gone(worker)
    finally:
        node.kill()
        node.wait()
    wait_until(lambda: gone(worker))
