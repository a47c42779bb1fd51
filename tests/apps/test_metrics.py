"""What a node tells Prometheus: well formed, told whole by the handbook, and nothing of a patient or of staff."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from commonward.apps.metrics import CONTENT_TYPE, Metric, written
from tests.apps.conftest import STAFF, Patient, Processes

ROOT = Path(__file__).parents[2]
SAMPLE = re.compile(r'^(commonward_[a-z_]+)(?:\{(?:[a-z]+="[^"\n]*",?)*\})? (-?[0-9]+(?:\.[0-9]+)?)$')


def told(processes: Processes, member: str) -> str:
    transport = httpx.HTTPTransport(uds=str(processes.settings(member).socket))
    with httpx.Client(transport=transport, base_url="http://node", timeout=60.0) as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"] == CONTENT_TYPE
    return answer.text


def values(text: str) -> dict[str, float]:
    """By name with its labels; each line must be one of the three kinds that the format has."""
    found = {}
    for line in text.splitlines():
        if not line.startswith(("# HELP commonward_", "# TYPE commonward_")):
            sample = SAMPLE.match(line)
            assert sample is not None, line
            found[line.rpartition(" ")[0].removeprefix("commonward_")] = float(sample[2])
    return found


def test_each_name_stands_once_with_its_type_and_labels_are_escaped() -> None:
    text = written(
        [
            Metric("a", "One.", 1, (("x", 'q"\\\n'),)),
            Metric("b", "Two.", True),
            Metric("a", "One.", 0.25, (("x", "y"),)),
        ]
    )
    assert text.splitlines() == [
        "# HELP commonward_a One.",
        "# TYPE commonward_a gauge",
        'commonward_a{x="q\\"\\\\\\n"} 1',
        'commonward_a{x="y"} 0.250',
        "# HELP commonward_b Two.",
        "# TYPE commonward_b gauge",
        "commonward_b 1",
    ]
    assert text.endswith("\n")


def test_a_node_tells_how_it_stands_and_nothing_of_a_patient(
    processes: Processes, patients: Callable[..., Patient]
) -> None:
    patient = patients()
    text = told(processes, "north")
    found = values(text)
    assert found["height"] > 0 and found["log_size"] > 0 and found["last_block_seconds"] >= 0
    assert found["halted"] == 0 and found["dead_letters"] >= 0 and found["disk_free_bytes"] > 0
    assert 1090 < found['key_days{purpose="operate"}'] < 1100
    assert 300 < found['certificate_days{kind="tls"}'] < 400 and found['certificate_days{kind="ca"}'] > 3000
    assert 'deposits_waiting{kind="early"}' in found and 'cosigned_seconds{member="north"}' in found
    for secret in (patient.handle, patient.name, *(number for _, number in STAFF["north"])):
        assert not re.search(rf"\b{secret}\b", text)


def test_every_metric_is_in_the_handbook(processes: Processes) -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text()
    for name in values(told(processes, "south")):
        assert re.search(rf"`{re.escape(name.partition('{')[0])}[`{{]", handbook), f"docs/operations.md lacks `{name}`"
