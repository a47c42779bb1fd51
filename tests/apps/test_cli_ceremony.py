"""Many found one ledger, each at home: nobody's private key travels, and nobody signs what was not agreed."""

from pathlib import Path

import pytest

from commonward.apps.ceremony import PART, parse_draft
from commonward.apps.settings import load
from commonward.apps.wiring import read_genesis
from commonward.ledger.genesis import GenesisMember, SignedGenesis
from commonward.ledger.ids import MemberKind
from tests.cli_world import Ran, commonward

NAMES = ("north", "clinic", "insurer", "authority")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "members.toml"
    path.write_text(commonward("network", "example").out)
    return path


@pytest.fixture(scope="module")
def homes(plan: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each member's folder, on its own machine as it were."""
    found = {}
    for name in NAMES:
        home = tmp_path_factory.mktemp(name)
        ran = commonward("network", "prepare", plan, home, "--member", name, "--json")
        assert ran.code == 0, ran.err
        found[name] = Path(ran.json["folder"])
    return found


def parts(homes: dict[str, Path]) -> list[Path]:
    return [homes[name] / PART for name in NAMES]


def drafted(plan: Path, homes: dict[str, Path], to: Path) -> Path:
    ran = commonward("network", "draft", plan, *parts(homes), "--to", to)
    assert ran.code == 0, ran.err
    return to


def signed(plan: Path, draft: Path, home: Path, to: Path) -> Ran:
    return commonward("network", "sign", plan, draft, "--data", home, "--to", to)


def test_four_members_found_a_ledger_and_no_private_key_travels(
    plan: Path, homes: dict[str, Path], tmp_path: Path
) -> None:
    draft = drafted(plan, homes, tmp_path / "draft")
    for name in NAMES:
        ran = signed(plan, draft, homes[name], tmp_path / f"{name}.signed")
        assert ran.code == 0 and "by telephone" in ran.out, ran.err
    ran = commonward(
        "network", "seal", plan, *(tmp_path / f"{name}.signed" for name in NAMES), "--to", tmp_path / "public"
    )
    assert ran.code == 0, ran.err
    genesis = SignedGenesis.parse((tmp_path / "public" / "genesis.cwg").read_bytes()).genesis
    assert genesis.consensus and not genesis.pilot and len(genesis.members) == 4
    (homes["north"] / "genesis.cwg").write_bytes((tmp_path / "public" / "genesis.cwg").read_bytes())
    assert read_genesis(load(homes["north"])).ledger_id == genesis.ledger_id
    secrets = {path.read_bytes() for home in homes.values() for path in (*home.glob("keys/*.pem"), home / "passphrase")}
    travelled = [*parts(homes), draft, *tmp_path.glob("*.signed"), *(tmp_path / "public").iterdir()]
    assert not any(secret in path.read_bytes() for secret in secrets for path in travelled)
    applied = commonward(
        "member", "apply", tmp_path / "new", "--member", "east:hospital:2=East", "--consortium", tmp_path / "public",
        "--listen", "node.east.example:7401", "--signing", "sign.east.example:7402", "--p2p", "node.east.example:7403",
    )  # fmt: skip
    assert applied.code == 0, applied.err


def test_a_member_does_not_sign_a_draft_that_holds_another_key_of_its_own(
    plan: Path, homes: dict[str, Path], tmp_path: Path
) -> None:
    """Who drafts puts in a part it made itself, and would act as north from then on."""
    assert commonward("network", "prepare", plan, tmp_path / "false", "--member", "north").code == 0
    false = tmp_path / "false" / "members" / "north" / PART
    ran = commonward("network", "draft", plan, false, *parts(homes)[1:], "--to", tmp_path / "draft")
    assert ran.code == 0, ran.err
    ran = signed(plan, tmp_path / "draft", homes["north"], tmp_path / "signed")
    assert ran.code == 2 and "do not sign it" in ran.err and not (tmp_path / "signed").exists()


def test_two_parts_of_one_member_are_refused(plan: Path, homes: dict[str, Path], tmp_path: Path) -> None:
    assert commonward("network", "prepare", plan, tmp_path / "false", "--member", "north").code == 0
    false = tmp_path / "false" / "members" / "north" / PART
    ran = commonward("network", "draft", plan, *parts(homes), false, "--to", tmp_path / "draft")
    assert ran.code == 2 and "two different parts of north" in ran.err


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("weight = 1", "weight = 7", "another plan"),
        ('name = "Four founders"', 'name = "Others"', "not what the plan says"),
        ("tick_ms = 60000", "tick_ms = 1000", "are not those of this program and plan"),
    ],
)
def test_a_member_does_not_sign_what_differs_from_its_plan(
    plan: Path, homes: dict[str, Path], tmp_path: Path, before: str, after: str, said: str
) -> None:
    draft = drafted(plan, homes, tmp_path / "draft")
    other = tmp_path / "other.toml"
    other.write_text(plan.read_text().replace(before, after, 1))
    ran = signed(other, draft, homes["clinic"], tmp_path / "signed")
    assert ran.code == 2 and said in ran.err


def test_a_part_that_gives_itself_more_weight_than_planned_is_refused(
    plan: Path, homes: dict[str, Path], tmp_path: Path
) -> None:
    part = GenesisMember.parse(parts(homes)[0].read_bytes())
    heavy = GenesisMember(part.id, part.name, MemberKind.AUTHORITY, 0, part.certificate, 9, part.origin, part.keys)
    (tmp_path / "heavy").write_bytes(heavy.to_bytes())
    ran = commonward("network", "draft", plan, tmp_path / "heavy", *parts(homes)[1:], "--to", tmp_path / "draft")
    assert ran.code == 2 and "north: its part says kind authority, the plan hospital" in ran.err


def test_without_everyones_signature_there_is_no_genesis(plan: Path, homes: dict[str, Path], tmp_path: Path) -> None:
    ran = commonward("network", "draft", plan, *parts(homes)[:2], "--to", tmp_path / "draft")
    assert ran.code == 2 and "no part of insurer, authority" in ran.err
    draft = drafted(plan, homes, tmp_path / "draft")
    for name in NAMES[:3]:
        assert signed(plan, draft, homes[name], tmp_path / f"{name}.signed").code == 0
    some = [tmp_path / f"{name}.signed" for name in NAMES[:3]]
    ran = commonward("network", "seal", plan, *some, "--to", tmp_path / "public")
    assert ran.code == 2 and "no signature of authority" in ran.err
    forged = parse_draft(some[0].read_bytes())
    forged.signatures.update(dict.fromkeys((each.id for each in forged.genesis.members), b"x" * 64))
    (tmp_path / "forged").write_bytes(forged.to_bytes())
    ran = commonward("network", "seal", plan, *some, tmp_path / "forged", "--to", tmp_path / "public")
    assert ran.code == 2 and "do not hold" in ran.err and not (tmp_path / "public").exists()


def test_a_draft_is_no_genesis_before_it_is_sealed(plan: Path, homes: dict[str, Path], tmp_path: Path) -> None:
    draft = drafted(plan, homes, tmp_path / "draft")
    (tmp_path / "node").mkdir(mode=0o700)
    ran = commonward("network", "seal", plan, draft, "--to", tmp_path / "public")
    assert ran.code == 2
    ran = commonward("network", "sign", plan, homes["north"] / "node.toml", "--data", homes["north"], "--to", draft)
    assert ran.code == 2 and "not a draft" in ran.err
