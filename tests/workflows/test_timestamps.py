"""Time stamps of a member: asked for seldom, judged before they are kept, and nothing waits for them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from commonward.apps.verify import CONVINCES, verify_file
from commonward.records.evidence import Evidence
from commonward.records.timestamps import TokenUnreadable, build_request, token_of
from commonward.workflows.timestamps import RETRY_MS, AuthorityAway, Stamping, TimeStamps
from tests.consortium import Consortium, observation, permit
from tests.ledgerkit import START
from tests.migration_world import move, take_along
from tests.tsa_world import Issuer, Tsa, der, tst_info
from tests.workflows.test_evidence import trust

DAYS = timedelta(days=3)
THEN = datetime.fromtimestamp(START // 1000, UTC)
EVERY = 3_600_000


class Stepped:
    """An authority whose clock is the consortium's. `bend` changes what it answers, or raises."""

    def __init__(self, c: Consortium, tsa: Tsa) -> None:
        self.c, self.tsa = c, tsa
        self.asked: list[bytes] = []
        self.bend: Callable[[bytes], bytes] = self.good
        self.behind = timedelta(0)

    async def stamp(self, request: bytes) -> bytes:
        self.asked.append(request)
        return self.bend(request)

    def good(self, request: bytes) -> bytes:
        """Granted: a token over the imprint and with the nonce of this request."""
        imprint, nonce = asked_for(request)
        at = datetime.fromtimestamp(self.c.engine.clock.now() // 1000, UTC) - self.behind
        return granted(self.tsa.signed(tst_info(imprint, at, nonce)))


def granted(token: bytes) -> bytes:
    return der(0x30, der(0x30, der(0x02, b"\0")), token)


def asked_for(request: bytes) -> tuple[bytes, int]:
    """Imprint and nonce of a request that `build_request` made."""
    start = request.index(b"\x05\x00\x04\x20") + 4
    rest = request[start + 32 :]
    return request[start : start + 32], int.from_bytes(rest[2 : 2 + rest[1]], "big")


@pytest.fixture(scope="module")
def root() -> Issuer:
    return Issuer.new("Stamp Office Root")


@pytest.fixture(scope="module")
def tsa(root: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa.new(tmp_path_factory.mktemp("tsa"), issuer=root, starts=THEN - DAYS, ends=THEN + DAYS)


def at_north(c: Consortium, tsa: Tsa, every_ms: int = EVERY) -> tuple[TimeStamps, Stepped]:
    authority = Stepped(c, tsa)
    return TimeStamps(c.north.office.member, Stamping(authority, tsa.chain, every_ms)), authority


async def grows(c: Consortium, n: int = 1) -> None:
    await c.north.takes(observation(f"grows {n}", "ada"))
    await c.north.ticks()
    await c.engine.settle()


async def test_evidence_carries_the_earliest_token_that_covers_it_and_convinces(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, _ = at_north(c, tsa)
        first = await stamps.tick()
        assert first is not None
        await c.engine.pass_time(EVERY)
        await grows(c, 2)
        second = await stamps.tick()
        assert second is not None and second.size > first.size
        await grows(c, 3)
        (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
        file = c.north.office.evidence.of_record(row.id)
        stamp = Evidence.parse(file).stamp
        assert stamp is not None and stamp.token == first.token
        report = verify_file(file, trust(c), authorities=tsa.chain)
        assert report.exit_code == CONVINCES, report
        assert any("as the time-stamping authority Stamp Office says" in note for note in report.notes)


async def test_a_consent_shown_as_of_now_carries_the_token_of_then(tsa: Tsa) -> None:
    """What is shown of the state is later than any token; the token covers the consent itself all the same."""
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await ada.grants(permit("south"))
        await grows(c)
        stamps, _ = at_north(c, tsa)
        assert await stamps.tick() is not None
        await grows(c, 2)
        consent = ada.client.wallet.given[0].opening.consent
        file = await c.north.office.evidence.of_consent(ada.handle, consent)
        report = verify_file(file, trust(c), authorities=tsa.chain)
        assert report.exit_code == CONVINCES and Evidence.parse(file).stamp is not None, report


async def test_a_token_from_before_a_move_to_consensus_dates_evidence_made_after_it(tsa: Tsa) -> None:
    """It is over a checkpoint under the old ledger's name, which the new one's log continues."""
    async with Consortium() as c:
        await grows(c)
        stamps, _ = at_north(c, tsa)
        assert await stamps.tick() is not None
        await c.engine.pass_time(EVERY)
        async with await move(c.engine) as moved:
            await take_along(c, moved)
            (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
            file = c.north.office.evidence.of_record(row.id)
            report = verify_file(file, moved.trust(), authorities=tsa.chain)
            assert report.exit_code == CONVINCES, report
            assert any("as the time-stamping authority Stamp Office says" in note for note in report.notes)
            assert any("nobody orders alone" in note for note in report.notes)
            after, _ = at_north(c, tsa)
            paper = await after.tick()
            assert paper is not None and paper.size == moved.nodes["north"].machine.tip.size


async def test_before_a_token_covers_it_evidence_goes_without(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, _ = at_north(c, tsa)
        assert await stamps.tick() is not None
        await grows(c, 2)
        rows = c.north.vault.current_records([c.north.local("ada")])
        files = [c.north.office.evidence.of_record(row.id) for _, row in rows]
        assert sorted(Evidence.parse(file).stamp is None for file in files) == [False, True]
        assert all(verify_file(file, trust(c), authorities=tsa.chain).exit_code == CONVINCES for file in files)


async def test_the_authority_is_asked_once_in_a_while_and_only_when_the_ledger_grew(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, authority = at_north(c, tsa)
        assert await stamps.tick() is not None
        await grows(c, 2)
        assert await stamps.tick() is None, "the interval is not over"
        restarted, again = at_north(c, tsa)
        assert await restarted.tick() is None, "nor after a restart"
        await c.engine.pass_time(EVERY)
        assert await restarted.tick() is not None
        await c.engine.pass_time(EVERY)
        assert await restarted.tick() is None, "nothing new to stamp"
        assert (len(authority.asked), len(again.asked)) == (1, 1)
        assert restarted.state().count == 2 and restarted.state().trouble == ""


async def test_without_an_authority_nobody_is_asked() -> None:
    async with Consortium() as c:
        await grows(c)
        assert await c.north.office.stamps.tick() is None
        assert not c.north.office.stamps.state().on


async def test_a_dead_authority_costs_nothing_and_is_asked_again_ever_more_seldom(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, authority = at_north(c, tsa)

        def dead(_: bytes) -> bytes:
            raise AuthorityAway("connection refused")

        authority.bend = dead
        assert await stamps.tick() is None
        assert stamps.state().trouble == "connection refused"
        assert await stamps.tick() is None and len(authority.asked) == 1, "not at every tick"
        await c.engine.pass_time(RETRY_MS)
        assert await stamps.tick() is None and len(authority.asked) == 2
        await c.engine.pass_time(RETRY_MS)
        assert await stamps.tick() is None and len(authority.asked) == 2, "two minutes after the second failure"
        (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
        assert verify_file(c.north.office.evidence.of_record(row.id), trust(c)).exit_code == CONVINCES
        authority.bend = authority.good
        await c.engine.pass_time(RETRY_MS)
        assert await stamps.tick() is not None
        assert stamps.state().trouble == ""


async def refused(c: Consortium, stamps: TimeStamps) -> str:
    assert await stamps.tick() is None
    assert stamps.state().count == 0, "nothing is kept"
    (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
    assert Evidence.parse(c.north.office.evidence.of_record(row.id)).stamp is None
    return stamps.state().trouble


async def test_what_is_no_token_for_this_question_is_not_kept(tsa: Tsa, root: Issuer, tmp_path: Path) -> None:
    """A replayed answer, another checkpoint's token, an altered one, one of an authority that we do not believe, of a
    certificate that had expired or is for something else, a refusal, junk."""

    def made(name: str, **more: object) -> Tsa:
        given: dict[str, object] = {"issuer": root, "starts": THEN - DAYS, "ends": THEN + DAYS, **more}
        return Tsa.new(tmp_path / name, **given)  # type: ignore[arg-type]

    async with Consortium() as c:
        await grows(c)

        async def said(bend: Callable[[Stepped, bytes], bytes], by: Tsa = tsa) -> str:
            stamps, authority = at_north(c, tsa)
            authority.tsa = by
            authority.bend = lambda request: bend(authority, request)
            return await refused(c, stamps)

        asked_before = build_request(b"x", 7)
        assert "something else" in await said(lambda a, r: a.good(asked_before))
        imprint_alone = lambda a, r: a.good(r[: r.index(b"\x05\x00\x04\x20") + 36] + der(2, b"\x07"))  # noqa: E731
        assert "nonce" in await said(imprint_alone)
        assert "its signature does not hold" in await said(lambda a, r: flipped(a.good(r)))
        stranger = made("stranger", issuer=Issuer.new("Their Own Root"))
        assert "does not hold" in await said(lambda a, r: a.good(r), stranger)
        expired = made("expired", ends=THEN - timedelta(days=1))
        assert "expired" in await said(lambda a, r: a.good(r), expired)
        server = made("server", purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))
        assert "time-stamping alone" in await said(lambda a, r: a.good(r), server)
        assert "rejected" in await said(lambda a, r: der(0x30, der(0x30, der(2, b"\x02"))))
        assert "expected" in await said(lambda a, r: b"<html>blocked by the proxy</html>")
        assert "expected" in await said(lambda a, r: b"")


def flipped(answer: bytes) -> bytes:
    at = answer.index(THEN.strftime("%Y%m%d").encode()) + 13  # the last digit of its seconds
    return answer[:at] + bytes((answer[at] ^ 1,)) + answer[at + 1 :]


async def test_a_token_older_than_its_block_is_not_kept_for_it_would_spoil_the_evidence(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, authority = at_north(c, tsa)
        authority.behind = timedelta(minutes=10)
        assert "one of the clocks is wrong" in await refused(c, stamps)


async def test_a_full_disk_loses_a_token_and_nothing_else(tsa: Tsa) -> None:
    async with Consortium() as c:
        await grows(c)
        stamps, _ = at_north(c, tsa)
        c.north.vault.cue.fail_next("put")
        assert "full" in (await refused(c, stamps)).lower() or stamps.state().trouble
        await c.engine.pass_time(RETRY_MS)
        assert await stamps.tick() is not None


async def test_a_token_of_a_log_that_ours_does_not_continue_stays_out_of_evidence(tsa: Tsa) -> None:
    """A vault restored from elsewhere: better no token than one that makes good evidence fail."""
    async with Consortium() as c:
        await grows(c)
        stamps, _ = at_north(c, tsa)
        paper = await stamps.tick()
        assert paper is not None
        alien = replace(paper, root=type(paper.root)(bytes(32)))
        stamps._papers.put(paper.size.to_bytes(8, "big"), alien, b"stamps")
        (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
        file = c.north.office.evidence.of_record(row.id)
        assert Evidence.parse(file).stamp is None
        assert verify_file(file, trust(c)).exit_code == CONVINCES


def test_certificates_that_judge_nothing_are_refused_at_start() -> None:
    class Nobody:
        async def stamp(self, request: bytes) -> bytes:
            return b""

    with pytest.raises(TokenUnreadable):
        Stamping(Nobody(), b"hello")
    with pytest.raises(TokenUnreadable):
        token_of(b"")
