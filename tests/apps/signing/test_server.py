"""The signing API's door: sizes, rates, headers, strangers' pages, and the keep of wrapped sealing keys."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from commonward.apps.signing import messages
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.signing.limits import Buckets, Limits
from commonward.apps.signing.lines import MemberRefused
from commonward.apps.signing.messages import KeyKept, KeyWanted
from commonward.apps.signing.server import signing_app
from commonward.apps.signing.wallet import fetch_sealing_key, keep_sealing_key
from commonward.records.trust import load_trust
from tests.apps.signing.signing_world import SigningWorld

CBOR = {"content-type": "application/cbor"}


def client(world: SigningWorld, limits: Limits | None = None) -> httpx.AsyncClient:
    office = world.consortium.north.office
    history = ReplicaHistory(world.consortium.north.node, world.genesis)
    app = signing_app(
        office.gate, office.member, history, genesis=world.genesis, limits=limits, seconds=lambda: 0.0
    )  # fmt: skip
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://north.commonward.test")


async def test_answers_cannot_be_framed_sniffed_stored_or_read_by_another_site(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world, client(world) as http:
        for answer in (await http.get(messages.CONTEXT), await http.get("/nothing/here")):
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in answer.headers and "set-cookie" not in answer.headers
        assert (await http.get(messages.GENESIS)).content == world.genesis
        load_trust((await http.get(messages.TRUST)).content)


async def test_another_sites_page_may_not_ask(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world, client(world) as http:
        assert (await http.get(messages.CONTEXT, headers={"origin": "https://portal.example"})).status_code == 403
        own = world.consortium.engine.genesis.members[0].origin
        assert (await http.get(messages.CONTEXT, headers={"origin": own})).status_code == 200
        form = {"content-type": "text/plain"}  # what a form of any site may send without asking first
        assert (await http.post(messages.MARKS, content=b"\xa0", headers=form)).status_code == 415


async def test_an_oversized_body_is_refused_unread_and_while_it_is_read(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world, client(world, Limits(body_bytes=1000)) as http:
        said = await http.post(messages.TRANSACTIONS, content=bytes(1001), headers=CBOR)
        assert said.status_code == 413 and "at most 1000" in said.json()["detail"]

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield bytes(200)

        unsaid = await http.post(messages.TRANSACTIONS, content=endless(), headers=CBOR)
        assert unsaid.status_code == 413


@pytest.mark.parametrize(
    "path",
    [messages.TRANSACTIONS, messages.ENTRIES, messages.MARKS, messages.GLASSES, messages.HANDLES, messages.CONSENTS,
     messages.OPENINGS, messages.PAPERS, messages.LINE, messages.SEALING_KEY, messages.SEALING_KEY_FETCH],
)  # fmt: skip
async def test_nonsense_is_answered_with_what_was_expected(tmp_path: Path, path: str) -> None:
    async with SigningWorld(tmp_path) as world, client(world) as http:
        for body in (b"", b"\xff\xff", b"\xa1\x18\x63\x01", b"\x81" * 300):
            said = await http.post(path, content=body, headers=CBOR)
            assert said.status_code == 400, (path, body, said.content)
            assert said.headers["content-type"] == "application/problem+json" and said.json()["detail"]


async def test_an_address_that_asks_too_often_waits(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world, client(world, Limits(burst=3)) as http:
        codes = [(await http.get(messages.GENESIS)).status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]


def test_buckets_fill_again_and_forget_the_least_recent() -> None:
    now = [0.0]
    buckets = Buckets(Limits(burst=2, per_second=1, addresses=2), lambda: now[0])
    assert [buckets.take("a", 1), buckets.take("a", 1)] == [0, 0]
    assert buckets.take("a", 1) == pytest.approx(1)
    now[0] = 1.0
    assert buckets.take("a", 1) == 0
    buckets.take("b", 1)
    buckets.take("c", 1)
    assert buckets.take("a", 2) == 0  # forgotten, so it starts anew


async def test_the_wrapped_sealing_key_is_kept_for_its_passkey_alone(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        ada = world.client(await world.enrolled("ada"))
        bob = world.client(await world.enrolled("bob"))
        gate = world.gate()
        assert len(await world.patiently(keep_sealing_key(gate, ada.signs, ada.kept))) == 5
        found = await world.patiently(fetch_sealing_key(gate, ada.signs, ada.handle))
        assert found == ada.kept.wrapped
        # Another's passkey, though it is live, neither reads nor writes for ada's handle.
        assert await world.patiently(fetch_sealing_key(gate, bob.signs, ada.handle)) is None
        forged = KeyKept(ada.kept.ledger, "north", ada.handle, gate.now(), b"x")  # type: ignore[arg-type]
        forged = replace(forged, proof=await bob.signs.possess(forged.digest()))
        with pytest.raises(MemberRefused, match="does not speak for this handle"):
            await world.blocking(lambda: gate.keep_key(forged))


async def test_an_old_or_misdirected_request_for_the_sealing_key_is_refused(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        ada = world.client(await world.enrolled("ada"))
        gate = world.gate()

        async def asked(**changes: object) -> KeyWanted:
            wanted = KeyWanted(ada.kept.ledger, "north", ada.handle, gate.now())  # type: ignore[arg-type]
            wanted = replace(wanted, **changes)  # type: ignore[arg-type]
            return replace(wanted, proof=await ada.signs.possess(wanted.digest()))

        late = await asked(at=gate.now() - 3_600_000)
        with pytest.raises(MemberRefused, match="too long ago"):
            await world.blocking(lambda: gate.fetch_key(late))
        elsewhere = replace(await asked(member="south"), member="north")  # type: ignore[arg-type]
        with pytest.raises(MemberRefused):
            await world.blocking(lambda: gate.fetch_key(elsewhere))


async def test_an_older_wrapped_key_does_not_come_back(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        ada = world.client(await world.enrolled("ada"))
        gate = world.gate()

        async def kept(wrapped: bytes, at: int) -> KeyKept:
            asked = KeyKept(ada.kept.ledger, "north", ada.handle, at, wrapped)  # type: ignore[arg-type]
            return replace(asked, proof=await ada.signs.possess(asked.digest()))

        old, new = await kept(b"old", gate.now() - 1000), await kept(b"new", gate.now())
        await world.blocking(lambda: gate.keep_key(new))
        with pytest.raises(MemberRefused, match="later one"):
            await world.blocking(lambda: gate.keep_key(old))
