"""A patient's wallet when the members move to another ledger: it follows them there, and nobody else anywhere."""

import asyncio
from pathlib import Path

import pytest

from commonward.apps.signing.client import NobodyAnswers
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.signing.limits import Limits
from commonward.apps.signing.server import signing_app
from commonward.records.trust import TrustFile, load_trust
from tests.apps.signing.signing_world import Bridge, SigningWorld
from tests.consortium import permit
from tests.forged_successor import with_new_cosigning_keys
from tests.ledgerkit import MEMBERS
from tests.migration_world import MovedWorld, move, take_along


class Told(ReplicaHistory):
    """A member's node that gives out a trust file of its own making."""

    def __init__(self, moved: MovedWorld, name: str, trust: bytes) -> None:
        super().__init__(moved.nodes[name], moved.file.to_bytes())
        self._trust = trust

    def trust_file(self) -> bytes:
        return self._trust


async def pages_over(world: SigningWorld, moved: MovedWorld, told: bytes | None = None) -> None:
    """Every member's signing page answers for its new node; the wallets' pinned genesis stays the old one."""
    await take_along(world.consortium, moved)
    loop = asyncio.get_running_loop()
    for name in MEMBERS:
        office = world.consortium.houses[name].office
        trust = told or moved.trust(name)
        world.apps[name] = signing_app(
            office.gate, office.member, Told(moved, name, trust), genesis=moved.file.to_bytes(),
            limits=Limits(burst=100_000),
        )  # fmt: skip
        world.bridges[name] = Bridge(world.apps[name], loop)


async def test_a_wallet_follows_the_members_and_withdraws_there_what_was_given_before(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        given = await world.patiently(world.client(wallet).grant((permit("south"),)))
        old = world.gates[-1].ledger_id
        async with await move(world.consortium.engine) as moved:
            await pages_over(world, moved)
            ada = world.client(wallet)
            await world.blocking(world.gates[-1].refresh)
            assert world.gates[-1].followed == old
            assert world.gates[-1].ledger_id == moved.genesis.ledger_id
            told = await world.patiently(ada.withdraw(given.consent, "no longer"))
            assert told.acknowledged and not told.waiting
            cells = moved.nodes["south"].machine.view()
            assert cells.consents.get(given.consent) is None
            again = world.client(wallet)
            assert world.gates[-1].ledger_id == moved.genesis.ledger_id, "the wallet remembers where it followed to"
            await world.patiently(again.grant((permit("clinic"),)))
            assert world.gates[-1].followed is None, "it is said once"


async def test_a_wallet_follows_no_successor_that_too_few_of_its_members_signed(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        await world.patiently(world.client(wallet).grant((permit("south"),)))
        old = world.gates[-1].ledger_id
        async with await move(world.consortium.engine) as moved:
            forged = TrustFile(with_new_cosigning_keys(moved.file, 2).to_bytes()).to_bytes()
            await pages_over(world, moved, forged)
            world.client(wallet)
            with pytest.raises(NobodyAnswers, match="does not convince"):
                await world.blocking(world.gates[-1].refresh)
            assert world.gates[-1].ledger_id == old and world.gates[-1].followed is None
            assert world.gates[-1].doubts


async def test_a_wallet_that_followed_is_not_led_back(tmp_path: Path) -> None:
    """Members who go on with the old ledger in secret show a wallet what it has left."""
    async with SigningWorld(tmp_path) as world:
        wallet = await world.enrolled("ada")
        await world.patiently(world.client(wallet).grant((permit("south"),)))
        back = ReplicaHistory(world.consortium.engine.nodes["north"], world.genesis).trust_file()
        async with await move(world.consortium.engine) as moved:
            await pages_over(world, moved)
            world.client(wallet)
            await world.blocking(world.gates[-1].refresh)
            gate = world.gates[-1]
            assert not load_trust(back).follows(gate.ledger_id)
            assert gate.trust.follows(load_trust(back).ledger_id)
            await pages_over(world, moved, back)
            world.client(wallet)
            await world.blocking(world.gates[-1].refresh)
            assert world.gates[-1].ledger_id == moved.genesis.ledger_id
