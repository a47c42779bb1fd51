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
from typing import TYPE_CHECKING

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
from commonward.workflows.indexes import IndexedStore

if TYPE_CHECKING:
    from tests.apps.study_world import StudyWorld

__all__ = ["Took", "counted", "installed", "on_cometbft", "result"]

READER = "north"
TICK_MS = 2000
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Took:
    """One round, from the block that opened it (not counted) to the one that made it final.

    Attributes:
        all: every block, with empty ones: CometBFT makes one behind each change, which proves it, and others when idle.
        fixing: blocks with an update, up to the one after which the set stands.
        signing: blocks with a countersignature after it, up to the one that made the round final.
        seconds: between the times of the block that opened it and of the one that made it final.
    """

    all: int
    fixing: int
    signing: int
    seconds: float

    @property
    def busy(self) -> int:
        return self.fixing + self.signing


def installed() -> bool:
    """Whether there is a CometBFT to measure on."""
    try:
        find_binary()
    except BinaryMissing:
        return False
    return True


def counted(rounds: Sequence[Round], busy: Mapping[int, int], times: Mapping[int, int]) -> list[Took]:
    """What each final round took.

    Args:
        busy: height -> how many updates and countersignatures of the study the block holds.
        times: height -> header time (ms).
    """
    found = []
    for each in rounds:
        if each.final is None or each.fixed is None:
            continue
        fixing = sum(busy.get(at, 0) > 0 for at in range(each.height + 1, each.fixed + 1))
        signing = sum(busy.get(at, 0) > 0 for at in range(each.fixed + 1, each.final + 1))
        seconds = (times[each.final] - times[each.height]) / 1000
        found.append(Took(each.final - each.height, fixing, signing, seconds))
    return found


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
            kept, busy, times = _read(files, read_genesis(settings), name, rounds)
            at_once = sum(after.height == before.final for before, after in pairwise(kept))
            found[mode] = counted(kept, busy, times), at_once
    return found


def _over(world: "StudyWorld", study: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while world.status(READER, study) not in ("complete", "closed"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the study does not end: {world.told(READER, study)}; {world.last_words()}")
        time.sleep(1)


def result(mode: str, took: Sequence[Took], at_once: int, goal: float) -> Result:
    """As a figure: blocks with something of the study in them, between a round's opening and its end."""
    fixing, signing = ([getattr(each, name) for each in took] for name in ("fixing", "signing"))
    busy, whole = [each.busy for each in took], [each.all for each in took]
    return Result(
        name=f"round.blocks on CometBFT, {mode}", value=median(busy), unit="blocks", goal=goal, more_is_better=False,
        conditions=f"median of {len(took)} rounds ({min(busy)} to {max(busy)}) from its opening to its end, without "
        f"those that hold nothing of it: {median(fixing):g} with updates until the set stood, {median(signing):g} "
        f"with countersignatures; {median(whole):g} with empty ones, {median(each.seconds for each in took):.1f} s; "
        f"{at_once} of {len(took) - 1} next rounds opened in the block that ended the one before; heart study, four "
        f"sites, four validators and a follower, each its own processes with mutual TLS",
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
) -> tuple[list[Round], dict[int, int], dict[int, int]]:
    """The study's rounds, and of each block between the first's opening and the last's end what it holds, and its
    time."""
    kept = Machine(genesis, IndexedStore(files.state), files.tiles).view().rounds
    rounds = [found for number in range(1, count + 1) if (found := kept.round(study, number)) is not None]
    busy: dict[int, int] = {}
    times: dict[int, int] = {}
    for height in range(rounds[0].height, max(each.final or 0 for each in rounds) + 1):
        block = parse_block(Record.parse(files.blocks.read(height)).block, genesis.ledger_id)
        payloads = [parse_transaction(raw).payload for bundle in block.bundles for raw in bundle.transactions]
        busy[height] = sum(isinstance(each, SubmitUpdate | Countersign) and each.study == study for each in payloads)
        times[height] = block.header.time
    return rounds, busy, times
