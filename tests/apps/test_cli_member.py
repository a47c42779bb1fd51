"""`commonward member`, `staff` and `uses`."""

import sqlite3
from pathlib import Path

import pytest

from commonward.adapters.keys import StaffKey
from commonward.apps.intake import Intake
from commonward.apps.settings import load
from commonward.apps.wiring import WallClock, read_genesis
from commonward.ledger.ids import MemberKind
from commonward.records.certificates import check_staff
from commonward.workflows.member_log import Event
from tests.cli_world import commonward, copied, found_pilot


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = ("north:hospital:3=North [red]Hospital", "payer:insurer=Payer")
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c", members=members)


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def test_members_are_listed_from_genesis_when_the_node_is_away(data: Path) -> None:
    rows = commonward("member", "list", "--data", data, "--json").lines
    assert [(row["member"], row["kind"], row["tier"], row["operator"]) for row in rows] == [
        ("north", "hospital", 3, True),
        ("payer", "insurer", 0, False),
    ]
    assert rows[0]["as_of"] == "genesis"
    text = commonward("member", "list", "--data", data)
    assert "North [red]Hospital" in text.out and "this node, operates the sequencer" in text.out
    assert "at genesis" in text.err


def test_a_member_is_shown_with_its_keys(data: Path) -> None:
    shown = commonward("member", "show", "payer", "--data", data, "--json").json
    assert {key["purpose"] for key in shown["keys"]} == {"operate", "carry", "cosign", "node", "tls", "hpke"}
    assert "sequence" in commonward("member", "show", "--data", data).out
    absent = commonward("member", "show", "east", "--data", data)
    assert absent.code == 2 and "north, payer" in absent.err


def test_a_directory_that_is_none_of_a_member_says_what_makes_one(tmp_path: Path) -> None:
    ran = commonward("member", "list", "--data", tmp_path)
    assert ran.code == 2 and "commonward init" in ran.err


def test_staff_are_issued_a_day_that_other_members_accept(data: Path) -> None:
    made = commonward(
        "staff", "issue", "--data", data, "--role", "clinician", "--department", "cardiology", "--number", "N7",
        "--json",
    )  # fmt: skip
    assert made.code == 0 and made.json["file"].endswith("staff/N7.pem")
    settings = load(data)
    key = StaffKey.open(data / "staff" / "N7.pem", settings.passphrase())
    genesis = commonward("member", "show", "north", "--data", data, "--json").json
    member = read_genesis(settings).member("north")
    staff = check_staff(key.certificate, member.certificate, "north", MemberKind.HOSPITAL, WallClock().now())
    assert (staff.role, staff.department, staff.number) == ("clinician", "cardiology", "N7")
    assert made.json["revocation"] == staff.revocation.hex() and genesis["kind"] == "hospital"
    (row,) = commonward("staff", "list", "--data", data, "--json").lines
    assert row["valid"] and row["number"] == "N7"


@pytest.mark.parametrize(
    ("role", "department", "number", "hours", "said"),
    [
        ("boss", "c", "N1", "8", "clinician"),
        ("claims-officer", "c", "N1", "8", "clinician"),
        ("nurse", "c", "../N1", "8", "letters and digits"),
        ("nurse", "c", "N 1", "8", "letters and digits"),
        ("nurse", "", "N1", "8", "department"),
        ("nurse", "c", "N1", "25", "at most 24"),
        ("nurse", "c", "N1", "0", "at most 24"),
    ],
)
def test_what_other_members_would_refuse_is_not_issued(
    data: Path, role: str, department: str, number: str, hours: str, said: str
) -> None:
    ran = commonward(
        "staff", "issue", "--data", data, "--role", role, "--department", department, "--number", number,
        "--hours", hours,
    )  # fmt: skip
    assert ran.code == 2 and said in ran.err.replace("\n", " ")
    assert not list((data / "staff").iterdir())


def test_staff_files_that_are_none_are_named_and_the_rest_listed(data: Path) -> None:
    issue = ("staff", "issue", "--data", data, "--role", "nurse", "--department", "ward 3", "--number")
    commonward(*issue, "N1")
    commonward(*issue, "N2")
    (data / "staff" / "N2.pem").chmod(0o644)
    (data / "staff" / "N3.pem").write_text("nothing")
    (data / "staff" / "N3.pem").chmod(0o600)
    rows = {Path(row["file"]).name: row for row in commonward("staff", "list", "--data", data, "--json").lines}
    assert rows["N1.pem"]["valid"] and "chmod 600" in rows["N2.pem"]["why"] and "PEM" in rows["N3.pem"]["why"]


def test_the_members_log_is_read_with_its_chain_checked(data: Path) -> None:
    with Intake(load(data)) as intake:
        for number in range(5):
            intake.log.note(Event.DISPLAYED if number % 2 else Event.FLAGGED, f"entry [bold]{number}", who="N1")
    rows = commonward("uses", "--data", data, "--json").lines
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5] and rows[1]["event"] == "displayed"
    assert len(commonward("uses", "--data", data, "--json", "--last", "2").lines) == 2
    assert len(commonward("uses", "--data", data, "--json", "--event", "flagged").lines) == 3
    assert "entry [bold]0" in commonward("uses", "--data", data).out
    assert commonward("uses", "--data", data, "--event", "slept").code == 2


def test_an_altered_log_is_named(data: Path) -> None:
    with Intake(load(data)) as intake:
        for _ in range(3):
            intake.log.note(Event.DISPLAYED, "seen", who="N1")
    with sqlite3.connect(data / "vault.sqlite") as vault:
        vault.execute("delete from log where number = 2")
    ran = commonward("uses", "--data", data)
    assert ran.code == 2 and "breaks at entry 2" in ran.err
