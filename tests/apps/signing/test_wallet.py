"""A wallet survives being killed at every step, names what was altered, and belongs to one process."""

from pathlib import Path

import pytest

from commonward.apps.signing.sheet import BadSheet, Sheet, print_sheet, read_sheet
from commonward.apps.signing.wallet import (
    GENESIS,
    SEALED,
    BadWallet,
    KeptPatient,
    WalletFolder,
    write_atomically,
)
from commonward.apps.signing.words import Words
from commonward.ledger.ids import Handle, LedgerId
from commonward.workflows.messages import OpeningAck, OpeningDeposit, Relayed
from tests.apps.signing.signing_world import PIN, SigningWorld
from tests.consortium import permit
from tests.ledgerkit import demo_genesis, sign_genesis


class Killed(BaseException):
    pass


STEPS = ("kept", "before the relay", "after the relay", "landed is kept", "after the first opening", "acks are kept")


def dies(patient: KeptPatient, step: str) -> None:
    """Ends the process at a step: before it for what is written down, around it for what is sent."""
    gate, keep = patient.gate, patient._keep
    relay, deposit, writes, sent = gate.relay, gate.deposit, [0], [0]

    def kept(changed: object) -> None:
        if {"kept": 0, "landed is kept": 1, "acks are kept": 2}.get(step) == writes[0]:
            raise Killed
        writes[0] += 1
        keep(changed)  # type: ignore[arg-type]

    async def relayed(raw: bytes) -> Relayed:
        if step == "before the relay":
            raise Killed
        told = await relay(raw)
        if step == "after the relay":
            raise Killed
        return told

    async def deposited(told: OpeningDeposit) -> OpeningAck:
        if step == "after the first opening" and sent[0]:
            raise Killed
        sent[0] += 1
        return await deposit(told)

    patient._keep = kept
    gate.relay = relayed  # type: ignore[method-assign]
    gate.deposit = deposited  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("step", STEPS)
async def test_a_consent_killed_at_any_step_is_lost_or_stands_whole(tmp_path: Path, step: str) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada", at=("north", "south"))
        ada = world.client(wallet)
        await world.patiently(ada.learn_links())
        dies(ada, step)
        with pytest.raises(Killed):
            await world.patiently(ada.grant((permit("south"),)))

        again = world.client(wallet)
        await world.patiently(again.finish())
        if step == "kept":  # nothing had left the device
            assert again.wallet.given == ()
            return
        (given,) = again.wallet.given
        told = await world.patiently(again.deliver(given.opening.consent))
        assert told.acknowledged == {"north", "south"} and not told.waiting
        house = world.consortium.north.office
        assert house.member.reading.consent(given.opening.consent) is not None
        assert not house.openings.unopened(again.handle)
        assert len(house.member.reading.history(again.handle)) == 1


@pytest.mark.parametrize("step", STEPS)
async def test_a_withdrawal_killed_at_any_step_can_be_done_again(tmp_path: Path, step: str) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada", at=("north", "south"))
        first = world.client(wallet)
        await world.patiently(first.learn_links())
        told = await world.patiently(first.grant((permit("south"),)))
        ada = world.client(wallet)
        dies(ada, step)
        with pytest.raises(Killed):
            await world.patiently(ada.withdraw(told.consent, "no longer"))

        again = world.client(wallet)
        await world.patiently(again.finish())
        await world.patiently(again.withdraw(told.consent, "no longer"))
        house = world.consortium.north.office
        assert house.member.reading.consent(told.consent) is None
        assert not house.openings.unopened(again.handle)
        assert len(house.member.reading.history(again.handle)) == 2


async def test_an_altered_or_exchanged_wallet_is_named(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = world.wallet("ada")
        wallet.close()
        sealed = (wallet.folder / SEALED).read_bytes()
        (wallet.folder / SEALED).write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        with pytest.raises(BadWallet, match="altered"):
            WalletFolder.open(wallet.folder, PIN).read()

        (wallet.folder / SEALED).write_bytes(sealed)
        other = sign_genesis(demo_genesis(created=1_780_000_000_000)).to_bytes()  # type: ignore[arg-type]
        (wallet.folder / GENESIS).write_bytes(other)
        with pytest.raises(BadWallet, match="another ledger"):
            WalletFolder.open(wallet.folder, PIN).read()


async def test_two_programs_do_not_hold_one_wallet(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = world.wallet("ada")
        with pytest.raises(BadWallet, match="another program"):
            WalletFolder.open(wallet.folder, PIN)
        wallet.close()
        with pytest.raises(BadWallet, match="holds a wallet already"):
            world.wallet("ada")


def test_a_write_that_fails_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_slip_of_the_pen_on_the_recovery_sheet_is_found_in_its_line() -> None:
    sheet = Sheet(LedgerId(b"l" * 32), Handle(b"h" * 16), bytes(range(32)))
    text = print_sheet(sheet, Words("zh"))
    assert read_sheet(text) == sheet
    assert read_sheet(text.lower().replace("  ", " ")) == sheet
    line = next(line for line in text.splitlines() if line.startswith("KEY"))
    wrong = line[:9] + ("A" if line[9] != "A" else "B") + line[10:]
    with pytest.raises(BadSheet, match="line KEY"):
        read_sheet(text.replace(line, wrong))
    with pytest.raises(BadSheet, match="HANDLE is missing"):
        read_sheet("\n".join(each for each in text.splitlines() if not each.startswith("HANDLE")))
