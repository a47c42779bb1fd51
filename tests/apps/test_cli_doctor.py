"""`commonward doctor` names each fault once, with what to do, and never ends in a traceback."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commonward.adapters.keys import CertificateAuthority
from commonward.adapters.store.state import RocksStore
from commonward.apps.api.client import ControlClient
from commonward.apps.doctor.findings import Level
from commonward.apps.doctor.lines import Head, compared
from commonward.apps.intake import CourteousVault, Intake
from commonward.apps.settings import load
from commonward.apps.wiring import WallClock, open_keys, read_genesis
from commonward.ledger.checkpoint import Checkpoint, Note, origin_of
from commonward.ledger.ids import BlockTime, Digest, Height, KeyId, MemberId, Purpose
from commonward.ledger.registry import AnchorBatch
from commonward.workflows.faults import FaultKind, OperatorFault
from tests.cli_world import Chain, begun, commonward, copied, found_pilot

Finding = dict[str, str]
OF_THE_MACHINE = ("time service", "disk")
"""What no test can arrange."""


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free now."""
    for first in range(21_000, 60_000, 50):
        held = []
        try:
            for port in range(first, first + count):
                each = socket.socket()
                held.append(each)
                each.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in held:
                each.close()
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = ("north:hospital:3=North", "payer:insurer=Payer")
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c", port=free_ports(8), members=members)


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def examined(data: Path, *more: str) -> tuple[int, list[Finding]]:
    ran = commonward("doctor", "--data", data, "--json", *more)
    assert "Traceback" not in ran.err, ran.err
    return ran.code, ran.lines


def faults(data: Path, level: str = "fail") -> dict[str, str]:
    return {each["check"]: f"{each['found']} -> {each['do']}" for each in examined(data)[1] if each["level"] == level}


def test_a_member_that_was_just_founded_lacks_only_its_processes(data: Path) -> None:
    code, findings = examined(data)
    assert code == 1
    wrong = {each["check"]: each for each in findings if each["level"] != "ok" and each["check"] not in OF_THE_MACHINE}
    assert set(wrong) == {"block log", "node", "sequencer", "peer payer"}
    assert "commonward node" in wrong["node"]["do"] and "refused" in wrong["sequencer"]["found"]
    assert all(each["do"] for each in wrong.values())
    text = commonward("doctor", "--data", data)
    assert "1 failures" in text.out and "the passphrase opens all" in text.out


def expose_passphrase(data: Path) -> None:
    (data / "passphrase").chmod(0o644)


def open_folder(data: Path) -> None:
    (data / "keys").chmod(0o755)


def another_passphrase(data: Path) -> None:
    (data / "passphrase").write_text("quite another passphrase")


def lose_a_key(data: Path) -> None:
    (data / "keys" / "cosign-1.pem").unlink()


def lose_the_tls_certificate(data: Path) -> None:
    (data / "keys" / "tls-1.crt.pem").unlink()


def ruin_the_vault(data: Path) -> None:
    (data / "vault.sqlite").write_bytes(b"no vault at all" * 1000)
    (data / "vault.sqlite").chmod(0o600)


def ruin_the_genesis(data: Path) -> None:
    genesis = data / "genesis.cwg"
    whole = genesis.read_bytes()
    genesis.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def lose_the_genesis(data: Path) -> None:
    (data / "genesis.cwg").unlink()


def misspell(data: Path) -> None:
    (data / "node.toml").write_text((data / "node.toml").read_text().replace("listen", "lisen"))


def strange_zone(data: Path) -> None:
    (data / "node.toml").write_text('time_zone = "Atlantis"\n' + (data / "node.toml").read_text())


def chained(data: Path) -> Chain:
    chain = Chain(data)
    for _ in range(2):
        chain.block(AnchorBatch(chain.machine.applied.time // 1000, Digest(bytes(32))))
    return chain


def alter_a_block(data: Path) -> None:
    (file,) = chained(data).path.glob("blocks-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])


def live_in_the_past(data: Path) -> None:
    chain = chained(data)
    chain.machine._standing = chain.machine._standing._replace(
        applied=chain.machine.applied._replace(time=BlockTime(WallClock().now() + 120_000))
    )
    chain.block(AnchorBatch(chain.machine.applied.time // 1000, Digest(bytes(32))))


def shorten_the_tls_certificate(data: Path) -> None:
    certify(data, days=10)


def certify(data: Path, days: int) -> None:
    settings = load(data)
    keys = open_keys(settings)
    ca = CertificateAuthority.open(data / "ca", settings.passphrase())
    algorithm, public, _ = keys.public(Purpose.TLS)
    starts = BlockTime(WallClock().now() + 60_000)
    member = MemberId(settings.member)
    keys.install_tls(ca.issue_tls(member, algorithm, public, hosts=["localhost"], starts=starts, days=days))


def make_a_key_of_its_own(data: Path) -> None:
    keys = open_keys(load(data))
    keys.stage(Purpose.COSIGN)
    keys.activate(Purpose.COSIGN)


def claim_another_engine(data: Path) -> None:
    rows = [row for row in (data / "node.toml").read_text().splitlines() if not row.startswith("engine")]
    text = 'engine = "cometbft"\n' + "\n".join(rows).replace("sequencer =", "p2p =") + "\n[p2p_peers]\n"
    (data / "node.toml").write_text(text)


def forget_a_peer(data: Path) -> None:
    text = (data / "node.toml").read_text()
    (data / "node.toml").write_text("\n".join(row for row in text.splitlines() if not row.startswith("payer")))


def be_somebody_else(data: Path) -> None:
    (data / "node.toml").write_text((data / "node.toml").read_text().replace('"north"', '"norht"', 1))


def keep_a_peer_that_is_none(data: Path) -> None:
    (data / "node.toml").write_text((data / "node.toml").read_text() + 'stranger = "127.0.0.1:9"\n')


def leave_a_dead_letter(data: Path) -> None:
    (data / "bad.json").write_bytes(b"nothing")
    commonward("ingest", "--data", data, data / "bad.json")


@pytest.mark.parametrize(
    ("broken", "level", "check", "said"),
    [
        (expose_passphrase, "fail", "files", "chmod 600"),
        (open_folder, "fail", "files", "chmod 700"),
        (another_passphrase, "fail", "keys", "passphrase does not open"),
        (lose_a_key, "fail", "keys", "cosign-1.pem"),
        (lose_the_tls_certificate, "fail", "TLS certificate", "tls-1.crt.pem"),
        (ruin_the_vault, "fail", "vault", "restore the last good copy"),
        (ruin_the_genesis, "fail", "genesis", "its members signed"),
        (lose_the_genesis, "fail", "genesis", "copy"),
        (misspell, "fail", "settings", "unknown entry 'lisen'"),
        (strange_zone, "fail", "settings", "time_zone"),
        (alter_a_block, "fail", "block log", "block 1"),
        (live_in_the_past, "fail", "clock", "NTP"),
        (shorten_the_tls_certificate, "warn", "TLS certificate", "ends in 10 days"),
        (leave_a_dead_letter, "warn", "dead letters", "dead-letters list"),
        (make_a_key_of_its_own, "warn", "keys", "no such cosign key of north"),
        (claim_another_engine, "fail", "genesis", "engine: expected 'solo'"),
        (be_somebody_else, "warn", "member", "knows no norht"),
        (forget_a_peer, "warn", "peers", "payer is a member and has no address here"),
        (keep_a_peer_that_is_none, "warn", "peers", "stranger has an address here"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_fault_is_named_with_what_to_do(
    data: Path, broken: Callable[[Path], None], level: str, check: str, said: str
) -> None:
    broken(data)
    found = faults(data, level)
    assert check in found, found
    assert said in found[check]


def test_a_port_that_another_program_holds_is_named(data: Path) -> None:
    with socket.socket() as other:
        address = load(data).listen
        other.bind((address.host, address.port))
        other.listen()
        assert str(address) in faults(data)["port"]


def test_a_stranger_at_the_sequencers_address_is_no_sequencer(data: Path) -> None:
    with socket.socket() as other:
        address = load(data).sequencer
        assert address is not None
        other.bind((address.host, address.port))
        other.listen()
        assert "no answer" in faults(data)["sequencer"]


def test_an_operators_fault_is_named_and_its_proof_saved(data: Path, tmp_path: Path) -> None:
    fault = OperatorFault(
        FaultKind.FORK, MemberId("north"), KeyId(bytes(32)), Height(7), b"a", b"b", b"", "signed two roots for size 9"
    )
    (data / "ledger").mkdir(exist_ok=True)
    store = RocksStore(data / "ledger" / "state")
    store.write({b"if": fault.to_bytes()})
    store.close()
    ran = commonward("doctor", "--data", data, "--proof", tmp_path / "proof")
    assert ran.code == 1 and "signed two roots for size 9" in ran.out
    assert OperatorFault.parse((tmp_path / "proof").read_bytes()) == fault
    assert commonward("doctor", "--data", data, "--proof", tmp_path / "proof").code == 2


def test_deep_executes_the_ledger_again(data: Path) -> None:
    chained(data)
    found = {each["check"]: each["found"] for each in examined(data, "--deep")[1]}
    assert found["ledger"].startswith("2 transactions executed again")
    assert found["block log"].startswith("2 blocks")


def hold_others_checkpoints_against_the_node(data: Path) -> None:
    """What a member signed for another root than ours is named and kept; one that is ahead is waited for."""
    settings = load(data)
    genesis = read_genesis(settings)
    origin, payer = origin_of(genesis.ledger_id), MemberId("payer")

    def shown(size: int, root: bytes, origin: str = origin) -> list[tuple[Level, str, bool]]:
        note = Note(Checkpoint(origin, size, Digest(root)), ())
        found = compared(settings, genesis, {payer: Head(note)})
        return [(each.level, f"{each.check}: {each.found}", bool(proof)) for each, proof in found]

    first = bytes.fromhex(ControlClient(settings).get("/root", size=1)["root"])
    assert shown(1, first)[0] == (Level.OK, "roots: same as of payer, each at the size it shows", False)
    level, words, proof = shown(1, bytes(32))[0]
    assert level is Level.FAIL and f"payer stands by root {bytes(32).hex()} for size 1" in words and proof
    assert shown(1, first, "commonward/0000000000000000")[0][0] is Level.FAIL
    assert shown(10**9, bytes(32))[-1][1].startswith("lag: ")
    assert shown(10**9, bytes(32))[-1][0] is not Level.OK


def test_a_running_node_and_its_sequencer_are_in_order(data: Path) -> None:
    processes = [begun("sequencer", data), begun("node", data)]
    try:
        deadline = time.monotonic() + 120
        wrong: list[Finding] = []
        while time.monotonic() < deadline:
            code, findings = examined(data)
            assert all(process.poll() is None for process in processes)
            wrong = [each for each in findings if each["level"] == "fail"]
            if code == 0 and any(each["check"] == "block log" and each["level"] == "ok" for each in findings):
                break
            time.sleep(0.3)
        assert not wrong, wrong
        checks = {each["check"]: each for each in findings if each["level"] == "ok"}
        assert "answers; height" in checks["node"]["found"]
        assert "listening" in checks["port"]["found"] and "north, in" in checks["sequencer"]["found"]
        assert "lag" not in {each["check"] for each in findings if each["level"] != "ok"}
        assert "version 1" in checks["rules"]["found"] and "SQLite" in checks["program"]["found"]
        # Two members of equal weight, one of them away: no two thirds cosign, and that shows.
        assert any("not proven live" in each["found"] for each in findings)
        hold_others_checkpoints_against_the_node(data)
        with Intake(load(data)) as intake:  # beside the node
            assert isinstance(intake.vault, CourteousVault) and intake.vault.last_number() == 0
        row = commonward("member", "list", "--data", data, "--json").lines[0]
        assert row["as_of"] == "now"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate(timeout=120)
