"""A solo consortium on disk moves to CometBFT: every folder or none, and nothing of the old ledger is lost."""

import json
import shutil
from functools import lru_cache
from pathlib import Path

import pytest

from commonward.adapters.keys import member as key_files
from commonward.adapters.keys.pkcs8 import PrivateKey, decrypt_key
from commonward.adapters.store.blocks import BlockFiles
from commonward.apps import switching
from commonward.apps.engines import ChainFiles
from commonward.apps.migrating import chained
from commonward.apps.settings import Address, load
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.syncing import read_line
from commonward.apps.wiring import WallClock, open_keys, read_genesis
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import Digest, MemberId, Purpose
from commonward.ledger.registry import AnchorBatch
from commonward.records.trust import load_trust
from commonward.workflows.agreeing import AgreeingReplica
from tests.cli_world import Chain, Ran, commonward, found_pilot

MEMBERS = ("north", "south", "clinic", "east", "west")
_PLANS = [f"{name}:hospital:{number % 3 + 1}" for number, name in enumerate(MEMBERS)]
BLOCKS = 3


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five members; only the operator's node has seen all blocks."""
    directory = tmp_path_factory.mktemp("migrate") / "c"
    chain = Chain(found_pilot(directory, port=17_470, members=_PLANS))
    for _ in range(BLOCKS):
        chain.block(AnchorBatch(chain.machine.applied.time // 1000, Digest(bytes(32))))
    return directory


@pytest.fixture(autouse=True)
def keys_open_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file costs a fifth of a second to open, on purpose; the same bytes give the same key."""
    monkeypatch.setattr(key_files, "decrypt_key", lambda data, words, path: _decrypted(data, words))


@lru_cache(maxsize=1024)
def _decrypted(data: bytes, words: bytes) -> PrivateKey:
    return decrypt_key(data, words, Path("a key of this test"))


@pytest.fixture
def directory(founded: Path, tmp_path: Path) -> Path:
    shutil.copytree(founded, tmp_path / "c")
    return tmp_path / "c"


def moved(directory: Path, *more: object) -> Ran:
    ran = commonward("network", "migrate", directory, "--json", *more)
    assert "Traceback" not in ran.err, ran.err
    return ran


def opened(folder: Path) -> tuple[tuple[int, bytes, bytes], bytes]:
    """Where a member's node stands over what is in its folder now, and the trust file that it gives out."""
    settings = load(folder, {})
    files = ChainFiles(settings.ledger_directory)
    try:
        node = AgreeingReplica(
            keys=open_keys(settings), genesis=read_genesis(settings), store=files.state, log_store=files.tiles,
            blocks=files.blocks, clock=WallClock(),
        )  # fmt: skip
        tip = node.machine.tip
        first = node.entries(0, 10)
        assert [each.height for each in first] == list(range(1, BLOCKS + 1)), "what stood before is found"
        assert node.info() == (0, node.info()[1])
        trust = ReplicaHistory(node, (folder / "genesis.cwg").read_bytes()).trust_file()
        node.close()
        return (tip.size, tip.root, tip.state_root), trust
    finally:
        files.close()


def listed(directory: Path) -> dict[str, bytes]:
    """What a node would read, in every folder: not the keys, of which one may have been added."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name in ("node.toml", "genesis.cwg", "consortium.json")
    }


def test_every_member_goes_on_under_one_new_genesis_with_its_whole_log(directory: Path) -> None:
    before = SignedGenesis.parse((directory / "genesis.cwg").read_bytes()).genesis
    said = moved(directory).json
    genesis = SignedGenesis.parse((directory / "genesis.cwg").read_bytes()).genesis
    assert said["ledger"] == genesis.ledger_id.hex() and said["before"] == before.ledger_id.hex()
    assert genesis.consensus and not genesis.pilot and genesis.line == before.ledger_id
    # Members, and newcomers who take the public file, have the whole line that a history is proven by.
    files = [directory / "genesis.cwg", *directory.glob("members/*/genesis.cwg")]
    assert len(files) > 3 and all(read_line(file, genesis).geneses == (before, genesis) for file in files)
    assert sorted(said["validators"]) == sorted(MEMBERS)
    stand, trusts = set(), set()
    for member in MEMBERS:
        folder = directory / "members" / member
        settings = load(folder, {})
        assert settings.engine == "cometbft" and settings.sequencer is None
        assert set(settings.p2p_peers) == set(MEMBERS) - {member}
        assert open_keys(settings).has(Purpose.VALIDATE)
        assert not (folder / switching.NEXT).exists()
        kept = folder / switching.BEFORE
        with BlockFiles(kept / "ledger" / "blocks") as blocks:
            assert blocks.height == BLOCKS
        assert SignedGenesis.parse((kept / "genesis.cwg").read_bytes()).genesis == before
        at, trust = opened(folder)
        stand.add(at)
        trusts.add(load_trust(trust).fingerprint)
    assert len(stand) == 1 and len(trusts) == 1
    assert load_trust(trust).follows(before.ledger_id)
    consortium = json.loads((directory / "consortium.json").read_text())
    assert consortium["engine"] == "cometbft" and "sequencer" not in consortium
    ports = [each["p2p"] for each in consortium["members"].values()]
    assert len(set(ports)) == len(MEMBERS)
    assert (directory / switching.BEFORE / "consortium.json").exists()
    assert not (directory / switching.MOVING).exists()
    read = commonward("ledger", "read", "--data", directory / "members" / "south", "--json")
    assert read.code == 0, "whoever reads it executes the old ledger, and goes on"
    assert sum('"AnchorBatch"' in line for line in read.out.splitlines()) >= BLOCKS


def test_it_refuses_where_one_member_alone_could_stop_the_ledger_unless_it_is_a_pilot(directory: Path) -> None:
    before = listed(directory)
    ran = moved(directory, "--weight", "west=0", "--weight", "east=0")
    assert ran.code == 1 and "--pilot" in ran.err
    assert listed(directory) == before
    ran = moved(directory, "--weight", "west=0", "--weight", "east=0", "--pilot")
    assert ran.code == 0, ran.err
    assert ran.json["pilot"] is True and sorted(ran.json["validators"]) == ["clinic", "north", "south"]


def test_it_refuses_a_ledger_that_has_moved_already_or_a_member_whose_folder_is_elsewhere(directory: Path) -> None:
    shutil.move(directory / "members" / "west", directory / "west")
    ran = moved(directory)
    assert ran.code == 1 and "west" in ran.err
    shutil.move(directory / "west", directory / "members" / "west")
    assert moved(directory).code == 0
    ran = moved(directory)
    assert ran.code == 1 and "cometbft already" in ran.err


def test_a_member_that_was_given_another_history_stops_the_move(directory: Path) -> None:
    folder = directory / "members" / "north"
    other = Chain(folder)
    other.path = directory / "other"
    other.block(AnchorBatch(other.machine.applied.time // 1000, Digest(bytes([7]) * 32)))
    with BlockFiles(other.path) as false, BlockFiles(directory / "members" / "south" / "ledger" / "blocks") as blocks:
        blocks.append(1, false.read(1))
    before = listed(directory)
    ran = moved(directory)
    assert ran.code == 1, ran.out
    assert "south" in ran.err
    assert listed(directory) == before


class Killed(BaseException):
    """Stands for kill -9: no code of ours may catch it."""


def test_cut_short_in_the_middle_it_is_finished_by_running_it_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each single step: `test_switching`."""
    done = 0
    rename = Path.rename

    def dying(self: Path, target: Path) -> Path:
        nonlocal done
        if switching.agreed(directory) is not None:
            if done == 8:
                raise Killed
            done += 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(Killed):
        moved(directory)
    monkeypatch.setattr(Path, "rename", rename)
    agreed = switching.agreed(directory)
    assert agreed is not None
    said = moved(directory).json
    assert said["ledger"] == agreed and said["resumed"] is True
    assert len({opened(directory / "members" / member)[0] for member in MEMBERS}) == 1
    for member in MEMBERS:
        assert (directory / "members" / member / switching.BEFORE / "ledger").is_dir()


def test_cut_short_before_all_agreed_nothing_has_changed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listed(directory)

    def dying(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(switching, "agree", dying)
    with pytest.raises(Killed):
        moved(directory)
    monkeypatch.undo()
    kept = {name: data for name, data in listed(directory).items() if "/next/" not in f"/{name}"}
    assert kept == before
    assert moved(directory).code == 0


def test_settings_keep_what_their_owner_wrote() -> None:
    text = 'member = "n"\n# ours\nengine = "solo"\nsequencer = "h:1"\ngrace_ms = 5\n\n[peers]\ns = "h:2"\n'
    new = chained(text, Address(host="h", port=9), {MemberId("s"): Address(host="h", port=8)})
    assert new == (
        'member = "n"\n# ours\ngrace_ms = 5\nengine = "cometbft"\np2p = "h:9"\n\n[peers]\ns = "h:2"\n\n'
        '[p2p_peers]\ns = "h:8"\n'
    )
