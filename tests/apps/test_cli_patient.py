"""The patient's commands, end to end: over the signing API of a consortium in memory."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from commonward.apps.cli import patient
from commonward.apps.cli.output import AWAY, REFUSED, UNUSABLE
from commonward.apps.founding import CONSORTIUM, GENESIS
from commonward.apps.signing.wallet import WalletFolder
from commonward.workflows.enrolment import midnight_after
from commonward.workflows.enrolment_request import EnrolmentRequest
from tests.apps.signing.signing_world import SigningWorld
from tests.consortium import observation, psychiatric
from tests.ledgerkit import MEMBERS

app = typer.Typer()
patient.add_to(app)


class Cli:
    """`await cli("consent", "list")`: a command of ada's, in a thread, while the members go on."""

    def __init__(self, world: SigningWorld, wallet: Path) -> None:
        self.world = world
        self.wallet = wallet
        self.pin = world.folder / "pin"
        self.pin.write_text("246810\n")

    async def run(self, *words: object) -> Result:
        arguments = [*map(str, words), "--wallet", str(self.wallet), "--pin-file", str(self.pin)]
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    async def __call__(self, *words: object, code: int = 0) -> list[dict[str, Any]]:
        ran = await self.run(*words, "--json")
        assert ran.exit_code == code, (ran.output, ran.exception)
        return [json.loads(line) for line in ran.stdout.splitlines()]


async def opened(world: SigningWorld, monkeypatch: pytest.MonkeyPatch, name: str = "ada") -> Cli:
    """The consortium's public folder, and a wallet made from it."""
    monkeypatch.setattr(WalletFolder, "gate", lambda self, _: world.gate(memory=self.memory(), remember=self.remember))
    public = world.folder / "public"
    public.mkdir(exist_ok=True)
    (public / GENESIS).write_bytes(world.genesis)
    members = {member: {"signing": f"127.0.0.1:{7000 + at}"} for at, member in enumerate(MEMBERS)}
    (public / CONSORTIUM).write_text(json.dumps({"members": members}))
    cli = Cli(world, world.folder / name)
    (made,) = await cli("patient", "new", "--consortium", public, "--page", "north")
    assert made["purpose"] == "own" and len(made["handle"]) == 32
    return cli


async def enrol(world: SigningWorld, cli: Cli, *at: str, name: str = "ada") -> EnrolmentRequest:
    """What the desk does with the request file; each of these members links."""
    request = EnrolmentRequest.parse((cli.wallet / patient.REQUEST).read_bytes())
    office = world.consortium.houses[at[0]].office
    await office.enrolment.enrol(request.handle, request.passkey(), request.sealing, "identity card", "n9")
    await world.consortium.engine.settle()
    for member in at:
        house = world.consortium.houses[member]
        house.office.enrolment.link(request.handle, house.local(name), "identity card", "n9")
    return request


class _Person:
    def __init__(self, handle: bytes) -> None:
        self.handle = handle
        self.name = "ada"


async def test_a_patient_grants_looks_and_withdraws_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SigningWorld(tmp_path) as world:
        c = world.consortium
        cli = await opened(world, monkeypatch)
        request = await enrol(world, cli, "north", "south")
        ada: Any = _Person(request.handle)
        await c.north.takes(observation("o1", "ada"), psychiatric("p1", "ada"))
        await c.north.ticks()

        (shown,) = await cli("patient", "show")
        assert shown["enrolled"] and shown["custodians"] == ["north", "south"]
        assert shown["sealing_key_kept_by"] == ["clinic", "health", "north", "shield", "south"]

        (given,) = await cli("consent", "grant", "--to", "south", "--at", "north", "--except", "mental-health", "--yes")
        assert (given["acknowledged"], given["waiting"]) == (["north", "south"], [])
        copy = await c.south.fetches(ada, "north")
        assert len(await c.south.shows(ada, copy.tag)) == 1
        await c.engine.pass_time(1000)

        (log,) = await cli("log")
        assert log["whole"] and [(mark["custodian"], mark["records"]) for mark in log["marks"]] == [("north", 1)]
        plain = await cli.run("log")
        assert "has no gap" in plain.output and "1 records" in plain.output and "treatment" in plain.output
        chinese = await cli.run("log", "--lang", "zh")
        assert "谁看过什么" in chinese.output and "治疗" in chinese.output

        (listed,) = await cli("consent", "list")
        assert listed["state"] == "open" and any("mental health" in rule for rule in listed["rules"])
        notices = await cli("notices")
        assert [each["notice"] for each in notices] == ["link", "link", "receipt"]

        await cli("consent", "withdraw", given["consent"][:8], "--reason", "moved away", "--yes")
        (listed,) = await cli("consent", "list")
        assert listed["state"] == "withdrawn"


async def test_a_release_that_a_custodian_hides_makes_the_log_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SigningWorld(tmp_path) as world:
        c = world.consortium
        cli = await opened(world, monkeypatch)
        request = await enrol(world, cli, "north", "south")
        ada: Any = _Person(request.handle)
        await c.north.takes(observation("o1", "ada"))
        await c.north.ticks()
        await cli("consent", "grant", "--to", "south", "--yes")
        await c.south.fetches(ada, "north")
        await c.engine.pass_time(1000)
        monkeypatch.setattr(c.north.office.releases, "line", lambda *_: [])

        ran = await cli.run("log")
        assert ran.exit_code == REFUSED
        assert "does not add up" in ran.output and "hidden" in ran.output


async def test_nothing_is_signed_that_nobody_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        await enrol(world, cli, "north")
        ran = await cli.run("consent", "grant", "--to", "south")
        assert ran.exit_code == REFUSED and "--yes" in ran.output
        assert await cli("consent", "list") == []


async def test_wrong_words_say_what_was_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        await enrol(world, cli, "north")
        for words, expected in (
            (("consent", "grant", "--to", "nobody", "--yes"), "clinic, health, north"),
            (("consent", "grant", "--to", "south", "--except", "dreams", "--yes"), "mental-health"),
            (("consent", "grant", "--to", "south", "--purpose", "FUN", "--yes"), "HPAYMT"),
            (("consent", "withdraw", "feedbeef"), "consent list"),
            (("log", "--lang", "fr"), "en or zh"),
        ):
            ran = await cli.run(*words)
            assert ran.exit_code == UNUSABLE and expected in ran.output, ran.output


async def test_a_wrong_pin_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        cli.pin.write_text("999999")
        ran = await cli.run("patient", "show")
        assert ran.exit_code == UNUSABLE and "PIN" in ran.output


async def test_with_all_members_away_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        for bridge in world.bridges.values():
            bridge.cut = True
        ran = await cli.run("consent", "hold", "--yes")
        assert ran.exit_code == AWAY and "north does not answer" in ran.output


async def test_a_wallet_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        assert stat.S_IMODE(cli.wallet.stat().st_mode) == 0o700
        for path in cli.wallet.iterdir():
            if path.name != ".lock":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_the_recovery_sheet_opens_a_new_wallet_for_the_same_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SigningWorld(tmp_path) as world:
        cli = await opened(world, monkeypatch)
        old = await enrol(world, cli, "north")
        sheet = await cli.run("patient", "sheet")
        typed = tmp_path / "sheet.txt"
        typed.write_text(sheet.output)
        new = Cli(world, tmp_path / "ada-2")
        (made,) = await new("patient", "new", "--consortium", tmp_path / "public", "--sheet", typed)
        request = EnrolmentRequest.parse((new.wallet / patient.REQUEST).read_bytes())
        assert made["purpose"] == "recovery" and request.handle == old.handle
        assert request.sealing == old.sealing and request.credential != old.credential

        clinic, south = world.consortium.clinic.office.enrolment, world.consortium.south.office.enrolment
        second = south.cosign_recovery(request.handle, request.passkey(), world.consortium.engine.clock.now() + 60_000)
        await clinic.start_recovery(request.handle, request.passkey(), request.sealing, "identity card", "n9", second)
        await world.consortium.engine.pass_time(1000)
        notices = await cli("notices")
        assert [each["member"] for each in notices if each["notice"] == "recovery"] == ["clinic"]
        await cli("recovery", "stop", "--yes")
        assert not [each for each in await cli("notices") if each["notice"] == "recovery"]


async def test_a_mandate_is_given_used_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SigningWorld(tmp_path) as world:
        c = world.consortium
        cli = await opened(world, monkeypatch)
        own = await enrol(world, cli, "north")
        son = Cli(world, tmp_path / "son")
        (made,) = await son("patient", "new", "--consortium", tmp_path / "public", "--represent", own.handle.hex())
        assert made["purpose"] == "representative"
        request = EnrolmentRequest.parse((son.wallet / patient.REQUEST).read_bytes())
        await c.north.office.enrolment.mandate(
            request.handle, request.passkey(), request.sealing, midnight_after(c.engine.clock.now(), 30),
            "all of it", "court paper", "n9",
        )  # fmt: skip
        await c.engine.pass_time(1000)
        (held,) = await son("consent", "hold", "--reason", "a doubt", "--yes")
        notices = await cli("notices")
        assert [each["passkey"] for each in notices if each["notice"] == "mandate"] == [made["passkey"]]
        await cli("mandate", "end", "--yes")
        assert not [each for each in await cli("notices") if each["notice"] == "mandate"]
        assert (await son.run("consent", "withdraw", held["consent"], "--yes")).exit_code == REFUSED
