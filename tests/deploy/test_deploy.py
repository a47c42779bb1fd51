"""What deploy/ starts exists, is closed off as it says, and can be read by who will read it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from commonward.apps.settings import load
from tests.docs.commands import fault

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
OURS = [unit for unit in SERVICES if "/bin/commonward " in unit.read_text()]
"""Those that run a command of ours; the line to an edge is ssh."""
SERVERS = [unit for unit in OURS if "backup" not in unit.name]


def entries(unit: Path) -> dict[str, list[str]]:
    """Section.Key -> values, in the order they stand."""
    found: dict[str, list[str]] = {}
    section = ""
    for row in unit.read_text().splitlines():
        if row.startswith("["):
            section = row.strip("[]")
        elif row and not row.startswith("#"):
            key, equals, value = row.partition("=")
            assert equals, f"{unit.name}: {row!r} is no KEY=VALUE"
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def started(unit: Path) -> str:
    """The command line of ours that a unit runs, its specifiers resolved."""
    (line,) = entries(unit)["Service.ExecStart"]
    inner = re.fullmatch(r"/bin/sh -c 'exec (.*)'", line)
    line = (inner[1] if inner else line).replace("/opt/commonward/bin/", "").replace("%i", "north")
    return re.sub(r"\$\$\([^)]*\)", "NOW", line)


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.name)
def test_every_command_of_a_unit_exists_with_its_flags(unit: Path) -> None:
    assert not fault(started(unit))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_every_unit_is_closed_off(unit: Path) -> None:
    said = entries(unit)
    for key, value in {
        "User": "commonward",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectoryMode": "0700",
        "UMask": "0077",
    }.items():
        assert said[f"Service.{key}"] == [value], f"{unit.name}: {key}"
    assert set(said["Service.RestrictAddressFamilies"][0].split()) <= {"AF_UNIX", "AF_INET", "AF_INET6"}


@pytest.mark.parametrize("unit", SERVERS, ids=lambda unit: unit.name)
def test_a_server_is_started_again_and_gets_its_passphrase_from_outside_its_data(unit: Path) -> None:
    said = entries(unit)
    assert said["Service.Restart"] == ["on-failure"] and said["Service.KillMode"] == ["mixed"]
    assert said["Service.LoadCredential"] == ["passphrase:/etc/commonward/%i.passphrase"]
    assert "COMMONWARD_PASSPHRASE_FILE=%d/passphrase" in said["Service.Environment"]


def test_systemd_reads_the_units_without_a_word(tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "expected the program `systemd-analyze`: make test installs it"
    for unit in UNITS:  # programs that are not installed here would be named as missing
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/commonward/bin/commonward", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(f"./{unit.name}" for unit in UNITS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [row for row in verified.stderr.splitlines() if "commonward" in row]
    assert not said, "\n".join(said)


def services() -> dict[str, str]:
    """Each service of the compose file, its lines. Read as text: the two services are all that the file may grow to."""
    text = (DEPLOY / "compose.yaml").read_text()
    body = re.search(r"^services:\n(.*?)^\S", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    parts = re.split(r"^  ([a-z]+):\n", body[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_compose_starts_commands_that_exist_and_publishes_what_the_examples_listen_at() -> None:
    published = set()
    for name, service in services().items():
        assert "<<: *member" in service, name
        command = re.search(r"command: \[(.*)\]", service)
        assert command is not None
        assert not fault("commonward " + command[1].replace(",", "")), name
        published |= {int(port) for port in re.findall(r':(\d+)"$', service, re.MULTILINE)}
    listened = set()
    for example in (DEPLOY / "examples").glob("*.toml"):
        said = tomllib.loads(example.read_text())
        listened |= {
            int(said[key].rpartition(":")[2]) for key in ("listen", "signing", "p2p", "sequencer") if key in said
        }
    assert published == listened


@pytest.mark.parametrize(
    "row",
    [
        "  read_only: true",
        "  cap_drop: [ALL]",
        '  security_opt: ["no-new-privileges:true"]',
        '  user: "10001:10001"',
        "  secrets: [passphrase]",
        "    dockerfile: deploy/Dockerfile",
        "    context: ..",
    ],
)
def test_every_container_is_closed_off(row: str) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    common = text[text.index("x-member:") : text.index("services:")]
    assert row in common.splitlines()


@pytest.mark.parametrize("engine", ["solo", "cometbft"])
def test_the_example_settings_can_be_loaded(engine: str, tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "examples" / f"node.{engine}.toml", tmp_path / "node.toml")
    settings = load(tmp_path, {})
    assert settings.engine == engine and len(settings.peers) == 3


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    rows = [row for row in text.splitlines() if row.strip() and not row.startswith("#")]
    return [(row.split(None, 1)[0], row.split(None, 1)[1]) for row in rows]


def test_the_image_is_built_from_what_is_here_and_runs_as_nobody_special() -> None:
    found = instructions()
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), f"COPY {source}"
        if word in ("CMD", "HEALTHCHECK"):
            listed = re.search(r"\[(.*)\]", rest)
            assert listed is not None
            words = [each.strip(' "') for each in listed[1].split(",")]
            assert not fault(" ".join(words if words[0] == "commonward" else ["commonward", *words]))
    assert [rest for word, rest in found if word == "USER"] == ["commonward"]
    pinned = re.search(r"^COMETBFT := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pinned is not None and f"ARG COMETBFT={pinned[1]}" in (DEPLOY / "Dockerfile").read_text()


def test_a_process_that_meets_new_members_at_a_signal_is_reloaded_by_it() -> None:
    for name in ("commonward-node@.service", "commonward-sequencer@.service"):
        (reload,) = entries(DEPLOY / "systemd" / name)["Service.ExecReload"]
        assert reload == "/bin/kill -HUP $MAINPID", name


def test_a_node_may_close_its_learners_off() -> None:
    """@system-service does not hold Landlock's calls: without them a learner could read what the node can read."""
    (allowed,) = entries(DEPLOY / "systemd" / "commonward-node@.service")["Service.SystemCallFilter"]
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(allowed.split())


def test_learning_from_photographs_opens_what_pytorch_needs_and_no_more() -> None:
    said = entries(DEPLOY / "examples" / "photographs.conf")
    assert said == {
        "Service.MemoryDenyWriteExecute": ["no"],
        "Service.PrivateDevices": ["no"],
        "Service.DeviceAllow": ["char-nvidia* rw"],
    }


def test_every_set_of_requirements_that_the_docs_name_is_there() -> None:
    named = set(re.findall(r"requirements/(\w+\.txt)", (ROOT / "docs" / "operations.md").read_text()))
    assert {"base.txt", "learning.txt", "vision.txt"} <= named
    assert all((ROOT / "requirements" / each).is_file() for each in named)
