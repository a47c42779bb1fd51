"""`commonward network migrate`: a consortium on one machine goes from its sequencer to CometBFT, history and all.

    1. nothing runs; every member's node stands at the same last block, or is brought there; all cosign the checkpoint
    2. each member gets the keys that consensus wants, and signs the genesis that goes on from that checkpoint
    3. in a folder of its own beside the old, each member's ledger becomes the new one; all arrive at one root
    4. then, and only then, every folder is switched (`switching`); the old ledger stays as it was, aside

Until 4 nothing that a node reads has changed but for a new key file. A crash in 4 is finished by running it again.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from commonward.adapters.keys import MemberKeys
from commonward.adapters.store.blocks import BlockFiles
from commonward.apps import running, switching
from commonward.apps.engines import ChainFiles
from commonward.apps.founding import CONSORTIUM, GENESIS
from commonward.apps.settings import FILE, Address, Settings, load
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.wiring import WallClock, open_keys, read_genesis
from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.genesis import Genesis, SignedGenesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.transition import Tip
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.following import FollowingReplica
from commonward.workflows.migrating import CannotMigrate, Ending, ending, member_keys, signed, successor
from commonward.workflows.ports import Clock
from commonward.workflows.replica import CannotFollow, Halted, Replica

__all__ = ["CannotMigrate", "Migrated", "migrate"]

_WANTED: Final = (Purpose.NODE, Purpose.VALIDATE)
_SEQUENCER: Final = "sequencer"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """What came of it. `resumed`: an earlier run had agreed on it, and this one finished."""

    before: bytes
    genesis: Genesis
    validators: tuple[MemberId, ...]
    size: int
    resumed: bool


async def migrate(
    directory: Path,
    *,
    pilot: bool,
    weights: Mapping[str, int],
    first_port: int,
    clock: Clock | None = None,
    progress: Progress = lambda what: None,
) -> Migrated:
    """Move the consortium in `directory`.

    Args:
        pilot: that one member alone could stop the new ledger is accepted.
        weights: new validating weights, of those that are to change.
        first_port: the first of the p2p ports; 0 for those behind the highest in use.

    Raises:
        CannotMigrate: it cannot be done, or not so; nothing has changed then.
        BadSettings, StoreError, an error of the keys: a folder is not as it must be.
    """
    up = sorted(running.processes(directory))
    if up:
        raise CannotMigrate(f"{', '.join(up)} still run: stop them with: commonward down {directory}")
    if switching.agreed(directory) is not None:
        return _finish(directory, resumed=True, progress=progress)
    clock = clock or WallClock()
    settings = _settings(directory)
    genesis = _old_genesis(settings)
    keys = {member: open_keys(each) for member, each in settings.items()}
    with _nodes(settings, genesis, keys, clock) as (nodes, logs):
        progress("bringing every node to the last block")
        await _level(nodes, logs, settings[genesis.operator].data / _SEQUENCER / "blocks")
        progress("cosigning the last checkpoint")
        end = _ended(nodes, {member: (each.data / GENESIS).read_bytes() for member, each in settings.items()})
        progress("making the keys that consensus wants")
        keys = {member: _with_wanted(its) for member, its in keys.items()}
        machine = next(iter(nodes.values())).machine
        created = BlockTime(max(clock.now(), machine.applied.time + 1))
        file = _agree(nodes, end, keys, created, pilot=pilot, weights=weights)
    progress("writing the new ledger beside the old")
    folders = [directory, *(each.data for each in settings.values())]
    try:
        _prepare(directory, settings, keys, file, clock, first_port)
    except BaseException:
        switching.drop(folders)
        raise
    switching.agree(directory, file.genesis.ledger_id.hex(), folders)
    return _finish(directory, resumed=False, progress=progress)


def _finish(directory: Path, *, resumed: bool, progress: Progress) -> Migrated:
    """Switch every folder, the directory's own files last: they say who the members are."""
    progress("switching every member's folder")
    for folder in sorted((directory / "members").iterdir()):
        if (folder / switching.NEXT).exists() or (folder / _SEQUENCER).exists():
            switching.switch(folder, leaves=(_SEQUENCER,))
    switching.switch(directory)
    switching.done(directory)
    genesis = SignedGenesis.parse((directory / GENESIS).read_bytes()).genesis
    assert genesis.imported is not None
    return Migrated(
        before=genesis.imported.ledger,
        genesis=genesis,
        validators=tuple(each.id for each in genesis.members if each.weight),
        size=genesis.imported.size,
        resumed=resumed,
    )


# ---------------------------------------------------------------------------------------------------- the old ledger


def _settings(directory: Path) -> dict[MemberId, Settings]:
    """Of every member, whose folders are all here. Raises CannotMigrate, BadSettings."""
    found = {}
    for name in sorted(running.consortium(directory)["members"]):
        folder = directory / "members" / name
        if not folder.is_dir():
            raise CannotMigrate(
                f"the folder of {name} is not in {directory / 'members'}: all are needed on one machine"
            )
        settings = load(folder)
        if settings.engine != "solo":
            raise CannotMigrate(f"{name} runs {settings.engine} already; only a solo ledger moves")
        if (folder / switching.BEFORE).exists():
            raise CannotMigrate(f"{folder / switching.BEFORE} is there from another move: put it elsewhere first")
        found[MemberId(name)] = settings
    return found


def _old_genesis(settings: Mapping[MemberId, Settings]) -> Genesis:
    found = {member: read_genesis(each) for member, each in settings.items()}
    ids = {each.ledger_id for each in found.values()}
    if len(ids) != 1:
        raise CannotMigrate("the members' folders hold geneses of different ledgers")
    return next(iter(found.values()))


@contextmanager
def _nodes(
    settings: Mapping[MemberId, Settings], genesis: Genesis, keys: Mapping[MemberId, MemberKeys], clock: Clock
) -> Iterator[tuple[dict[MemberId, FollowingReplica], list[BlockFiles]]]:
    """Every member's node, over its own stores, on no line; and their block logs."""
    with ExitStack() as stack:
        nodes, logs = {}, []
        for member, each in settings.items():
            files = ChainFiles(each.ledger_directory)
            stack.callback(files.close)
            node = FollowingReplica(
                keys=keys[member], genesis=genesis, store=files.state, log_store=files.tiles, blocks=files.blocks,
                clock=clock,
            )  # fmt: skip
            stack.callback(node.close)
            nodes[member] = node
            logs.append(files.blocks)
        yield nodes, logs


async def _level(nodes: Mapping[MemberId, FollowingReplica], logs: list[BlockFiles], sequencer: Path) -> None:
    """Nodes that lie behind take the missing blocks from the others, or from the sequencer's own log."""
    with ExitStack() as stack:
        if sequencer.exists():
            logs = [*logs, stack.enter_context(BlockFiles(sequencer))]
        longest = max(logs, key=lambda log: log.height)
        for member, node in nodes.items():
            try:
                for height in range(node.height + 1, longest.height + 1):
                    await node.offer(longest.read(height), live=False)
            except (CannotFollow, Halted) as why:
                raise CannotMigrate(f"{member} cannot take the blocks that it lacks: {why}") from why


class _Room:
    """Implements `Uplink`: what one says, all others hear at once."""

    def __init__(self, member: MemberId, nodes: Mapping[MemberId, Replica]) -> None:
        self._member = member
        self._nodes = nodes

    def carry(self, number: int, bundle: bytes) -> None:
        """Nothing is carried any more."""

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        for member, node in self._nodes.items():
            if member != self._member:
                node.hear(self._member, checkpoint.size, checkpoint.root, line.to_text())


def _ended(nodes: Mapping[MemberId, FollowingReplica], geneses: Mapping[MemberId, bytes]) -> Ending:
    """Where the ledger ended, by every member's node and signature. Raises CannotMigrate."""
    for member, node in nodes.items():
        node.attach(_Room(member, nodes))
    ends = {member: ending(node, ReplicaHistory(node, geneses[member]).trust_file()) for member, node in nodes.items()}
    first, end = next(iter(ends.items()))
    for member, other in ends.items():
        if other.imported != end.imported:
            raise CannotMigrate(
                f"{first} stands at block {end.imported.height} with root {end.imported.root.hex()}, {member} at block "
                f"{other.imported.height} with root {other.imported.root.hex()}: they must agree first; see "
                f"`commonward doctor`"
            )
    return end


# ---------------------------------------------------------------------------------------------------- the new ledger


def _with_wanted(keys: MemberKeys) -> MemberKeys:
    for purpose in _WANTED:
        if not keys.has(purpose):
            keys.stage(purpose)
            keys = keys.activate(purpose)
    return keys


def _agree(
    nodes: Mapping[MemberId, FollowingReplica],
    end: Ending,
    keys: Mapping[MemberId, MemberKeys],
    created: BlockTime,
    *,
    pilot: bool,
    weights: Mapping[str, int],
) -> SignedGenesis:
    machine = next(iter(nodes.values())).machine
    active = machine.view().roll.active()
    unknown = sorted(set(weights) - set(active))
    if unknown:
        raise CannotMigrate(f"--weight: {unknown[0]} is no active member")
    new = {member: weights.get(member, machine.view().roll.must(member).weight) for member in active}
    alone = _alone(list(new.values()))
    if alone and not pilot:
        raise CannotMigrate(
            "expected at least four members with weight, none with a third of it: fewer, and one alone can stop the "
            "ledger. Change weights with --weight MEMBER=N, or say --pilot if that is what you want"
        )
    signers = [(member, keys[member]) for member in active if member in keys]
    genesis = successor(
        machine,
        end.imported,
        {member: member_keys(machine, member, its, created) for member, its in signers},
        created,
        pilot=alone,
        weights=new,
    )
    return signed(genesis, end.before, signers)


def _alone(weights: list[int]) -> bool:
    """Whether one member alone could stop the ledger."""
    voting = [each for each in weights if each]
    return len(voting) < 4 or any(3 * each >= sum(voting) for each in voting)


def _prepare(
    directory: Path,
    settings: Mapping[MemberId, Settings],
    keys: Mapping[MemberId, MemberKeys],
    file: SignedGenesis,
    clock: Clock,
    first_port: int,
) -> None:
    """Everything new, beside the old. Raises CannotMigrate where the members do not arrive at one root."""
    doors = _doors(settings, first_port)
    tips: dict[MemberId, Tip] = {}
    for member, each in settings.items():
        place = switching.prepare(each.data)
        (place / GENESIS).write_bytes(file.to_bytes())
        peers = {other: at for other, at in doors.items() if other != member}
        (place / FILE).write_text(chained((each.data / FILE).read_text(), doors[member], peers))
        load(place, {})  # raises BadSettings: better now than at the first start
        shutil.copytree(each.ledger_directory, place / "ledger")
        files = ChainFiles(place / "ledger")
        try:
            node = AgreeingReplica(
                keys=keys[member], genesis=file.genesis, store=files.state, log_store=files.tiles, blocks=files.blocks,
                clock=clock,
            )  # fmt: skip
            tips[member] = node.machine.tip
            node.close()
        finally:
            files.close()
    if len(set(tips.values())) != 1:
        raise CannotMigrate(f"the members do not arrive at one state: {tips}; nothing has changed; please report this")
    place = switching.prepare(directory)
    (place / GENESIS).write_bytes(file.to_bytes())
    told = _described(running.consortium(directory), file.genesis, doors)
    (place / CONSORTIUM).write_text(json.dumps(told, indent=2) + "\n")


def _doors(settings: Mapping[MemberId, Settings], first_port: int) -> dict[MemberId, Address]:
    """Where each member's CometBFT will listen: on the host of its node, one port each."""
    used = [door.port for each in settings.values() for door in (each.listen, each.signing, each.sequencer) if door]
    first = first_port or running.free_ports(len(settings), first=max(used) + 1)
    return {
        member: Address(host=each.listen.host, port=first + place)
        for place, (member, each) in enumerate(settings.items())
    }


def chained(text: str, p2p: Address, peers: Mapping[MemberId, Address]) -> str:
    """The settings of a solo node for CometBFT: the entries of the engine exchanged, everything else as it was."""
    said = tomllib.loads(text)
    head, table, rest = text.partition("\n[")
    kept = [line for line in head.splitlines() if not re.match(r"\s*(engine|sequencer)\s*=", line)]
    assert "p2p" not in said, "a solo node's settings name no p2p"
    lines = [*kept, 'engine = "cometbft"', f'p2p = "{p2p}"', ""]
    others = "".join(f'{member} = "{at}"\n' for member, at in sorted(peers.items()))
    return "\n".join(lines) + table + rest.rstrip("\n") + f"\n\n[p2p_peers]\n{others}"


def _described(before: dict[str, Any], genesis: Genesis, doors: Mapping[MemberId, Address]) -> dict[str, Any]:
    told = {name: value for name, value in before.items() if name not in ("operator", _SEQUENCER)}
    weights = {each.id: each.weight for each in genesis.members}
    told["engine"] = "cometbft"
    told["members"] = {
        name: {**each, "weight": weights.get(MemberId(name), 0), "p2p": str(doors[MemberId(name)])}
        for name, each in before["members"].items()
    }
    return told
