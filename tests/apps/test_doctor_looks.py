"""What the doctor makes of what it sees: growth of the disk, votes, peers, time-stamping, rules to come."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonward.adapters.cometbft.home import node_id
from commonward.adapters.cometbft.rpc import Standing
from commonward.adapters.keys import MemberKeys
from commonward.apps.doctor import clocks, consensus, stamping
from commonward.apps.doctor.findings import Level
from commonward.apps.doctor.folder import rules
from commonward.apps.doctor.growth import DAY, Growth, room
from commonward.apps.doctor.known import Known
from commonward.apps.settings import Address, Settings
from commonward.ledger.encoding import Encodable, encode
from commonward.ledger.ids import Algorithm, BlockTime, Digest, MemberId, MemberKind, Purpose
from commonward.ledger.members import VALIDATORS_KEY, Key, Member, read_validators, validator_address
from commonward.ledger.state import State
from commonward.workflows.blocklog import Record

NOW = BlockTime(1_790_000_000_000)
NAMES = ("clinic", "north", "payer", "south")


def record(time: int, size: int) -> bytes:
    return Record(encode([[1, time], [b"x" * size]]), b"").to_bytes()


def test_the_days_that_the_disk_lasts_follow_from_the_last_week_of_blocks() -> None:
    growth = Growth()
    for height in range(1, 2000):
        time = NOW + height * DAY // 100
        growth.note(height, record(time, 1000 if height > 1000 else 100_000))
    last = record(NOW + 20 * DAY, 1000)
    growth.close(last)
    pace = growth.a_day(2.0)
    assert pace is not None and 150_000 < pace < 250_000, "a hundred blocks a day of a kilobyte, doubled; not the past"


def test_an_hour_of_blocks_promises_nothing_about_days() -> None:
    growth = Growth()
    growth.note(1, record(NOW, 100))
    growth.close(record(NOW + 60_000, 100))
    assert growth.a_day() is None


def test_a_disk_that_lasts_a_week_is_a_failure_however_large_it_is(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    growth = Growth(size=1 << 40, marks=[(NOW - DAY, 1), (NOW, 1 << 40)])
    (tmp_path / "ledger" / "blocks").write_bytes(b"x")
    assert room(tmp_path, Growth()).level in (Level.OK, Level.WARN, Level.FAIL)
    with (tmp_path / "ledger" / "sparse").open("wb") as large:
        large.truncate(1 << 42)
    found = room(tmp_path, growth)
    assert found.level is Level.FAIL and "enough for 0 days" in found.found


@pytest.fixture
def keys(tmp_path: Path) -> MemberKeys:
    return MemberKeys.create(tmp_path, MemberId("north"), b"a long passphrase", validate=True)


@pytest.fixture
def known(keys: MemberKeys) -> Known:
    """Four members under consensus, all with weight 1, north's keys being those on disk."""
    cells: dict[bytes, bytes] = {}
    state = State(cells.get)
    validators: list[Encodable] = []
    for name in NAMES:
        member = MemberId(name)
        origin = f"https://{name}.example"
        state.roll.add(member, Member(MemberKind.INSURER, 0, name, Digest(bytes(32)), True, 1, origin, ()), b"ca")
        for purpose in (Purpose.NODE, Purpose.VALIDATE):
            public = keys.public(purpose)[1] if name == "north" else public_of(name, purpose)
            starts, ends = BlockTime(NOW - DAY), BlockTime(NOW + 400 * DAY)
            state.roll.put_key(Key(member, purpose, Algorithm.EDDSA, public, starts, ends))
        validators.append([name, state.roll.live(member, Purpose.VALIDATE, NOW)[0].public, 1])
    state.put(VALIDATORS_KEY, encode(validators))
    return Known(state, kept=True)


def public_of(name: str, purpose: Purpose) -> bytes:
    return f"{name} {purpose.name}".encode().ljust(32, b".")


def settings(tmp_path: Path) -> Settings:
    at = Address(host="127.0.0.1", port=1)
    return Settings(data=tmp_path, member="north", listen=at, signing=at, peers={}, passphrase_file=tmp_path, p2p=at)


def seen(known: Known, absent: dict[str, int] | None = None, peers: tuple[str, ...] = NAMES) -> consensus.Seen:
    """Ten blocks; `absent`: from how many of the last ones a validator's vote is missing."""
    validators = read_validators(known.state)
    votes = tuple(
        {validator_address(each.public): at < 10 - (absent or {}).get(each.member, 0) for each in validators}
        for at in range(10)
    )
    nodes = {name: known.roll.live(MemberId(name), Purpose.NODE, NOW)[0].public for name in NAMES}
    connected = tuple(node_id(nodes[name]) if name in nodes else name for name in peers if name != "north")
    return consensus.Seen(Standing(100, False, 1, connected), votes)


def said(known: Known, keys: MemberKeys, tmp_path: Path, looked: consensus.Seen) -> dict[str, tuple[Level, str]]:
    found = [
        *consensus._voting(settings(tmp_path), known, keys, looked),
        *consensus._peers(settings(tmp_path), known, looked.standing, NOW),
    ]
    return {each.check: (each.level, each.found) for each in found}


def test_validators_that_all_vote_and_peers_that_are_all_there_are_well(
    known: Known, keys: MemberKeys, tmp_path: Path
) -> None:
    found = said(known, keys, tmp_path, seen(known))
    assert all(level is Level.OK for level, _ in found.values()), found
    assert found["validator"][1] == "north has power 1 of 4; its vote is in the last 10 blocks"


def test_a_validator_whose_votes_reach_no_block_is_told_so(known: Known, keys: MemberKeys, tmp_path: Path) -> None:
    assert said(known, keys, tmp_path, seen(known, {"north": 10}))["validator"][0] is Level.FAIL
    level, words = said(known, keys, tmp_path, seen(known, {"north": 3}))["validator"]
    assert level is Level.WARN and "7 of the last 10 blocks" in words


def test_silent_validators_are_named_with_the_weight_that_is_lost(
    known: Known, keys: MemberKeys, tmp_path: Path
) -> None:
    level, words = said(known, keys, tmp_path, seen(known, {"south": 10}))["validators"]
    assert level is Level.WARN and words == "no vote lately from south, 1 of 4 of the power"
    _, words = said(known, keys, tmp_path, seen(known, {"south": 10, "payer": 10}))["validators"]
    assert "payer, south, 2 of 4 of the power; a third or more" in words


def test_a_validator_that_votes_with_an_old_key_is_told_to_restart(
    known: Known, keys: MemberKeys, tmp_path: Path
) -> None:
    keys.stage(Purpose.VALIDATE)
    newer = keys.activate(Purpose.VALIDATE)
    level, words = said(known, newer, tmp_path, seen(known))["validator"]
    assert level is Level.FAIL and "another key than the one in use" in words


def test_a_missing_peer_and_a_stranger_are_named(known: Known, keys: MemberKeys, tmp_path: Path) -> None:
    level, words = said(known, keys, tmp_path, seen(known, peers=("clinic", "south")))["p2p peers"]
    assert level is Level.WARN and words == "connected to clinic, south, not to payer"
    assert said(known, keys, tmp_path, seen(known, peers=()))["p2p peers"][0] is Level.FAIL
    level, words = said(known, keys, tmp_path, seen(known, peers=(*NAMES, "f" * 40)))["p2p peers"]
    assert level is not Level.FAIL
    found = list(consensus._peers(settings(tmp_path), known, seen(known, peers=(*NAMES, "f" * 40)).standing, NOW))
    assert any("no active member's node key" in each.found for each in found)


def test_rules_that_this_program_does_not_know_are_told_before_they_rule(known: Known) -> None:
    known.state.adopted.schedule(0, 1)
    assert rules(known, 10).level is Level.OK
    known.state.adopted.schedule(5000, 99)
    found = rules(known, 10)
    assert found.level is Level.WARN and "99 from block 5,000" in found.found and "stops there" in found.do
    assert rules(known, 5000).level is Level.FAIL


@pytest.fixture
def stamper() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.path == "/broken" else 405)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_time_stamping_authority_that_does_not_answer_is_a_warning(stamper: str) -> None:
    assert stamping.authority(stamper).level is Level.OK
    assert stamping.authority(stamper + "/broken").level is Level.WARN
    assert stamping.authority("http://127.0.0.1:9/tsa").level is Level.WARN
    assert stamping.authority("no address").level is Level.WARN


def test_the_kernel_is_asked_whether_the_clock_is_kept_right() -> None:
    found = clocks.kept()
    assert found is None or found.check == "time service"
