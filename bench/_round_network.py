"""Blocks that a round waits for on CometBFT itself (for `bench.round`).

The five nodes of the demonstration as processes of their own, each with its CometBFT, vault, mutual TLS and learner;
four of them are sites of a heart study, which their people run by the command line. When it has ended, what each round
took is read from a node's own state and block log.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench._machine import load as busy_with
from bench.results import Result
from commonward.adapters.cometbft.process import BinaryMissing, find_binary
from commonward.adapters.store.errors import StoreError
from commonward.apps.engines import ChainFiles
from commonward.apps.settings import load
from commonward.apps.wiring import read_genesis
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import StudyId, parse_study_id
from commonward.ledger.rounds import Countersign, SubmitUpdate
from commonward.ledger.rounds.study import Round
from commonward.ledger.transactions import parse_block, parse_transaction
from commonward.ledger.transition import Machine
from commonward.workflows.blocklog import Record
from commonward.workflows.indexes import IndexedStore, Indexes

if TYPE_CHECKING:
    from tests.apps.study_world import StudyWorld

__all__ = ["Landed", "Took", "counted", "installed", "on_cometbft", "result"]

READER = "north"
TICK_MS = 2000
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Took:
    """One round, from the block that opened it (not counted) to the one that made it final.

    Attributes:
        all: every block, with empty ones: CometBFT makes one behind each change, which proves it, and others when idle.
        busy: those that hold an update or a countersignature of it.
        path: those of them that were made while all that the round waited for was a block: from when the site that was
            last with its update had signed it until it stood, and as long behind the countersignature that decided.
        seconds: between the times of the block that opened it and of the one that made it final.
    """

    all: int
    busy: int
    path: int
    seconds: float


def installed() -> bool:
    """Whether there is a CometBFT to measure on."""
    try:
        find_binary()
    except BinaryMissing:
        return False
    return True


class Landed(NamedTuple):
    """An update or a countersignature in a block. `signed`: the block that its site had executed when it signed it."""

    update: bool
    signed: int


def counted(rounds: Sequence[Round], blocks: Mapping[int, Sequence[Landed]], times: Mapping[int, int]) -> list[Took]:
    """What each final round took.

    Args:
        blocks: height -> the updates and countersignatures of the study that the block holds.
        times: height -> header time (ms).
    """
    found = []
    for each in rounds:
        if each.final is None or each.fixed is None:
            continue
        # The set waits for all; of the signatures in the block that decides, the one under way longest may be needed.
        last = max((one.signed for one in blocks[each.fixed] if one.update), default=each.height)
        deciding = min((one.signed for one in blocks[each.final] if not one.update), default=each.fixed)
        path = _busy(blocks, max(last, each.height), each.fixed) + _busy(blocks, max(deciding, each.fixed), each.final)
        seconds = (times[each.final] - times[each.height]) / 1000
        found.append(Took(each.final - each.height, _busy(blocks, each.height, each.final), path, seconds))
    return found


def _busy(blocks: Mapping[int, Sequence[Landed]], after: int, to: int) -> int:
    return sum(bool(blocks.get(at)) for at in range(after + 1, to + 1))


def on_cometbft(folder: Path, modes: Sequence[str], rounds: int, patients: int) -> dict[str, tuple[list[Took], int]]:
    """A study of each mode, one behind the other, of so many rounds with so many patients at each of the four sites:
    what each round took, and how many rounds opened in the very block that made the one before final."""
    from tests.apps.conftest import consortium_on
    from tests.apps.study_world import StudyWorld

    studies = {}
    with consortium_on("cometbft", folder / "consortium", TICK_MS) as processes:
        world = StudyWorld(processes, folder / "study", patients)
        world.prepare()
        for mode in modes:
            study = world.approved(mode=mode, rounds=rounds, waiver="true" if mode == "open" else "false")
            world.enrolled(study)
            _over(world, study)
            studies[mode] = parse_study_id(bytes.fromhex(study))
        settings = load(processes.data(READER))
    found = {}
    with _files(settings.ledger_directory) as files:
        for mode, name in studies.items():
            kept, blocks, times = _read(files, read_genesis(settings), name, rounds)
            at_once = sum(after.height == before.final for before, after in pairwise(kept))
            found[mode] = counted(kept, blocks, times), at_once
    return found


def _over(world: "StudyWorld", study: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while world.status(READER, study) not in ("complete", "closed"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the study does not end: {world.told(READER, study)}; {world.last_words()}")
        time.sleep(1)


def result(mode: str, took: Sequence[Took], at_once: int, goal: float) -> Result:
    """As a figure."""
    path, busy, whole = ([getattr(each, name) for each in took] for name in ("path", "busy", "all"))
    return Result(
        name=f"round.blocks on CometBFT, {mode}", value=median(path), unit="blocks", goal=goal, more_is_better=False,
        conditions=f"on the critical path, median of {len(took)} rounds ({min(path)} to {max(path)}): while the last "
        f"update waited to stand, and the deciding signature; {median(busy):g} ({min(busy)} to {max(busy)}) hold "
        f"something of the round, {median(whole):g} with empty ones, {median(each.seconds for each in took):.1f} s; "
        f"{at_once} of {len(took) - 1} next rounds opened in the block that ended the one before; heart study, four "
        f"sites, four validators and a follower, each its own processes with mutual TLS; {busy_with()}",
    )  # fmt: skip


@contextmanager
def _files(ledger: Path) -> Iterator[ChainFiles]:
    """Those of a node that was stopped: its process may need a moment to let go of them."""
    deadline = time.monotonic() + 60
    while True:
        try:
            files = ChainFiles(ledger)
            break
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    try:
        yield files
    finally:
        files.close()


def _read(
    files: ChainFiles, genesis: Genesis, study: StudyId, count: int
) -> tuple[list[Round], dict[int, list[Landed]], dict[int, int]]:
    """The study's rounds, and of each block between the first's opening and the last's end what it holds, and its
    time."""
    store = IndexedStore(files.state)
    index, kept = Indexes(store), Machine(genesis, store, files.tiles).view().rounds
    rounds = [found for number in range(1, count + 1) if (found := kept.round(study, number)) is not None]
    blocks: dict[int, list[Landed]] = {}
    times: dict[int, int] = {}
    for height in range(rounds[0].height, max(each.final or 0 for each in rounds) + 1):
        block = parse_block(Record.parse(files.blocks.read(height)).block, genesis.ledger_id)
        read = [parse_transaction(raw) for bundle in block.bundles for raw in bundle.transactions]
        blocks[height] = [
            Landed(isinstance(each.payload, SubmitUpdate), index.height_at(each.recent.size) or 0)
            for each in read
            if isinstance(each.payload, SubmitUpdate | Countersign) and each.payload.study == study
        ]
        times[height] = block.header.time
    return rounds, blocks, times
