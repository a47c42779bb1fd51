"""kill -9 at every named step of every workflow, in real processes: nothing is lost, and nothing is there twice.

One consortium serves all kills. For each step that the source names, the process that reaches it kills itself there
with SIGKILL, is started again, and what was asked must end as if nothing had happened. The last test looks at
everything together: vaults, ledger, the patient's log, and each node's root against a replay of its blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import commonward.workflows
from commonward.apps.api.client import NodeAway, NodeRefused
from commonward.apps.engines import ChainFiles
from commonward.apps.wiring import WallClock, open_keys
from commonward.ledger.audit import BreakGlass, Erased, LogRoot, Receipt, Release
from commonward.ledger.consent import Enrol
from commonward.ledger.ids import Handle, Purpose
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.state import MemoryStore
from commonward.workflows.anchoring import EXTRA_BITS
from commonward.workflows.breakglass import GlassPaper
from commonward.workflows.following import FollowingReplica
from commonward.workflows.log_roots import RootPaper
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Delivery, Fault
from commonward.workflows.ports import MarkRow, MarkState
from commonward.workflows.reading import transaction_of
from commonward.workflows.recall import Recall
from commonward.workflows.sealing import Drawer
from tests.consortium import permit
from tests.scenarios.real import Real, Someone, blood_count, until

WORKFLOWS = Path(commonward.workflows.__file__).parent
SUBMITTED = ("signed", "landed")
"""What `Submitter.land` names its two steps after the name it was given."""


def steps_in_source() -> set[str]:
    """Every name that `reach` is called with. A name put together elsewhere than in `Submitter.land` fails."""
    found: set[str] = set()
    for path in WORKFLOWS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "reach":
                (name,) = node.args
                if isinstance(name, ast.Constant):
                    found.add(str(name.value))
                else:
                    written = ast.unparse(name)
                    assert path.name == "submitting.py" and any(
                        written == f"f'{{step}}.{end}' if step else 'submit.{end}'" for end in SUBMITTED
                    ), f"{path.name}: a step is named {written}: teach this test to know its names"
            elif node.func.attr == "land" and path.name != "submitting.py":
                given = [each.value for each in node.keywords if each.arg == "step"]
                assert all(isinstance(each, ast.Constant) for each in given), f"{path.name}: {ast.unparse(node)}"
                name_given = ast.literal_eval(given[0]) if given else "submit"
                found |= {f"{name_given}.{end}" for end in SUBMITTED}
    return found


class Ward:
    """What the scenarios share: one consortium, one patient whose records travel, and numbers for what is new."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.north, self.south = real.look("north"), real.look("south")
        self._numbers = count(1)
        self.killed: list[str] = []
        real.takes("north", real.file("first", blood_count("o1", "ada"), blood_count("o2", "ada")))
        self.ada = real.patient("ada")
        self.ada.grants(permit("south"))
        until(lambda: self.north.batches() and self.all_anchored(), "the first records are anchored")

    def new(self, word: str) -> str:
        return f"{word}{next(self._numbers)}"

    def all_anchored(self) -> bool:
        batch = self.north.vault.batch_of(self.north.vault.last_number())
        return batch is not None and batch.index >= 0

    def killed_at(self, member: str, step: str, process: str = "") -> None:
        """It died there; it is started again."""
        self.real.died(member, step, process)
        self.killed.append(step)
        if not process:
            self.real.start(member)

    def fails(self, ask: Callable[[], object]) -> None:
        """What is asked of a member that dies meanwhile, or of one whose peer does, is not answered."""
        with pytest.raises((NodeAway, NodeRefused)):
            ask()

    def a_patient(self, *members: str) -> tuple[Someone, str]:
        """A new one with a record of her own, which these members were released."""
        name = self.new("p")
        record = self.new("r")
        self.real.takes("north", self.real.file(record, blood_count(record, name)))
        someone = self.real.patient(name)
        someone.grants(permit("south", "clinic"))
        until(self.all_anchored, "her record is anchored")
        if "south" in members:
            self.real.fetch(someone, self.new("visit "))
        return someone, record

    def one_more_copy(self, someone: Someone, before: set[bytes]) -> None:
        """One copy came, receipted once, of the bytes that the custodian reserved; its patient sees one more use."""

        def arrived() -> bytes | None:
            new = {tag for tag, copy in self.south.copies(someone.handle).items() if copy.receipt} - before
            return new.pop() if len(new) == 1 else None

        tag = until(arrived, "one copy, with its receipt")
        copies = self.south.copies(someone.handle)
        assert set(copies) == before | {tag}
        row = next(each for each in self.north.marks(someone.handle) if each.tag == tag)
        assert row.delivery == copies[tag].delivery
        log = someone.log()
        assert log.whole, log.troubles
        assert [mark.facts.n for mark in log.marks] == list(range(1, len(copies) + 1))
        assert sorted(receipt.tag for receipt in log.receipts) == sorted(copies)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with Real(tmp_path_factory.mktemp("real") / "consortium") as real:
        real.start("sequencer", "north", "south")
        real.agree("north", "south", "clinic")
        yield Ward(real)


# --- ingest ---------------------------------------------------------------------------------------


def kill_ingest(ward: Ward, step: str) -> None:
    before = set(ward.north.records())
    name = ward.new("file")
    file = ward.real.file(name, *(blood_count(f"{name}-{n}", "many") for n in range(40)))
    ward.real.arm("north", step)
    ward.real.tell("ingest", "north", file)
    ward.killed_at("north", step, "ingest-north")
    taken = set(ward.north.records())
    assert before <= taken and len(taken - before) in (0, 40), "a chunk is there whole or not at all"
    assert (len(taken - before) == 40) == (step == "ingest.stored"), "what was committed before the kill stays"
    ward.real.takes("north", file)
    ward.real.takes("north", file)
    now = ward.north.records()
    assert before <= set(now) and len(now) == len(before) + 40
    assert len({row.fingerprint for _, row in now.values()}) == len(now)


# --- anchors --------------------------------------------------------------------------------------


def kill_anchor(ward: Ward, step: str) -> None:
    name = ward.new("a")
    ward.real.arm("north", step)
    ward.real.takes("north", ward.real.file(name, blood_count(name, "many")))
    ward.real.died("north", step)
    ward.killed.append(step)
    planned = {batch.tick: batch for batch in ward.north.batches()}
    ward.real.start("north")
    until(ward.all_anchored, "the new record is anchored")
    check_batches(ward)
    now = {batch.tick: batch for batch in ward.north.batches()}
    for tick, batch in planned.items():  # the same root, not another one
        assert (now[tick].first, now[tick].last, now[tick].root) == (batch.first, batch.last, batch.root)


def check_batches(ward: Ward) -> None:
    """Every record in one batch; every batch that landed once on the ledger, and nothing else of ours there."""
    batches = ward.north.batches()
    expected = 1
    for batch in batches:
        if batch.last >= batch.first:
            assert batch.first == expected, "batches follow each other"
            expected = batch.last + 1
    standing = {entry.index: transaction_of(entry).payload for entry in ward.real.on_ledger(AnchorBatch.KIND, "north")}
    landed = {batch.index: batch for batch in batches if batch.index >= 0}
    # What landed while we looked, or just before a kill, is noted in a moment: only the last may be unknown.
    assert len(set(standing) - set(landed)) <= 1 and len(landed) >= 1
    for index, batch in landed.items():
        if index not in standing:
            continue  # landed after the ledger was read
        payload = standing[index]
        assert isinstance(payload, AnchorBatch)
        assert (payload.tick, payload.extra or 0) == (batch.tick >> EXTRA_BITS, batch.tick & (1 << EXTRA_BITS) - 1)
        assert payload.root == batch.root
    assert not ward.real.on_ledger(AnchorBatch.KIND, "north", refused=True)


def kill_log_root(ward: Ward, step: str) -> None:
    papers = Drawer(ward.north.vault, ward.north.sealing, "log-roots", RootPaper)
    ward.real.arm("north", step)
    ward.killed_at("north", step)
    at = papers.get(b"last")
    assert at is not None

    def later() -> bool:
        last = papers.get(b"last")
        return last is not None and last.tick > at.tick and last.index >= 0

    until(later, "a later root of the log has landed")
    found = [transaction_of(entry).payload for entry in ward.real.on_ledger(LogRoot.KIND, "north")]
    ticks = [payload.tick for payload in found if isinstance(payload, LogRoot)]
    assert len(ticks) == len(set(ticks)) and at.tick in ticks
    assert not ward.real.on_ledger(LogRoot.KIND, "north", refused=True)


# --- release, at the custodian --------------------------------------------------------------------


def kill_release(ward: Ward, step: str) -> None:
    ada = ward.ada
    before, marks = set(ward.south.copies(ada.handle)), ward.north.marks(ada.handle)
    ward.real.arm("north", step)
    ward.fails(lambda: ward.real.fetch(ada, ward.new("visit ")))
    ward.real.died("north", step)
    ward.killed.append(step)
    reserved = ward.north.marks(ada.handle)[len(marks) :]
    assert bool(reserved) == (step not in ("release.decided", "release.before-reserve"))
    ward.real.start("north")
    ward.one_more_copy(ada, before)
    (row,) = ward.north.marks(ada.handle)[len(marks) :]
    assert row.n == len(marks) + 1
    for was in reserved:  # a resend is the same number, tag and bytes
        assert (was.n, was.tag, was.request, was.delivery) == (row.n, row.tag, row.request, row.delivery)
    assert len(standing_releases(ward, row)) == 1


def standing_releases(ward: Ward, row: MarkRow) -> list[int]:
    found = []
    for entry in ward.real.on_ledger(Release.KIND, "north"):
        payload = transaction_of(entry).payload
        assert isinstance(payload, Release)
        if payload.tag == row.tag:
            found.append(entry.index)
    return found


def kill_void(ward: Ward, step: str) -> None:
    """A consent withdrawn between reserving and marking: the number is made void, once, also when that is killed."""
    someone, _ = ward.a_patient()
    ward.real.arm("north", "release.reserved")
    ward.fails(lambda: ward.real.fetch(someone, ward.new("visit ")))
    ward.real.died("north", "release.reserved")
    (given,) = someone.client.wallet.given
    ward.real.run(someone.client.withdraw(given.opening.consent, "no longer"))
    ward.real.arm("north", step)
    ward.real.tell("start", "north")
    ward.killed_at("north", step)

    def void() -> MarkRow | None:
        (row,) = ward.north.marks(someone.handle)
        return row if row.state is MarkState.VOID else None

    row = until(void, "the number is void")
    assert not row.delivery and len(standing_releases(ward, row)) == 1
    assert not ward.south.copies(someone.handle)
    log = someone.log()
    assert log.whole and [mark.state.name for mark in log.marks] == ["VOID"], log.troubles


# --- request, at the requester --------------------------------------------------------------------


def kill_request(ward: Ward, step: str) -> None:
    ada = ward.ada
    before, marks = set(ward.south.copies(ada.handle)), ward.north.marks(ada.handle)
    ward.real.arm("south", step)
    ward.fails(lambda: ward.real.fetch(ada, ward.new("visit ")))
    ward.killed_at("south", step)
    ward.one_more_copy(ada, before)
    (row,) = ward.north.marks(ada.handle)[len(marks) :]
    receipts = [
        payload for entry in ward.real.on_ledger(Receipt.KIND, "south")
        if isinstance(payload := transaction_of(entry).payload, Receipt)
    ]  # fmt: skip
    assert len(receipts) == len({receipt.tag for receipt in receipts})
    assert len(standing_releases(ward, row)) == 1


def kill_display(ward: Ward, step: str) -> None:
    if not ward.south.copies(ward.ada.handle):
        ward.real.fetch(ward.ada, "visit 0")
    tag = next(iter(ward.south.copies(ward.ada.handle))).hex()

    def show() -> list[object]:
        shown = ward.real.controls["south"].post(f"/copies/{tag}/display", {"encounter": "visit 0", "staff": "n1"})
        assert isinstance(shown, list)
        return shown

    def displayed() -> int:
        return sum(entry.event is Event.DISPLAYED for entry in ward.south.log())

    before = displayed()
    ward.real.arm("south", step)
    ward.fails(show)
    ward.killed_at("south", step)
    assert displayed() == before + 1, "it was written down before it could be seen, once"
    assert len(until(lambda: _when_live(show), "it is shown")) == 2
    assert displayed() == before + 2


def _when_live(ask: Callable[[], list[object]]) -> list[object] | None:
    """None while the node has not heard the others' cosignatures again."""
    try:
        return ask()
    except NodeRefused as why:
        assert "not shown to be live" in str(why), why
        return None


# --- broken glass, recalls, erasure, enrolment ----------------------------------------------------


def kill_glass(ward: Ward, step: str) -> None:
    papers = Drawer(ward.south.vault, ward.south.sealing, "glasses", GlassPaper)
    before, standing = {tag for tag, _ in papers.every()}, len(ward.real.on_ledger(BreakGlass.KIND, "south"))
    notes = sum(entry.event is Event.GLASS_BROKEN for entry in ward.south.log())
    reason = ward.new("unconscious ")
    body = {
        "encounter": ward.new("emergency "), "handle": ward.ada.handle.hex(), "custodian": "north", "staff": "n1",
        "reason": reason,
    }  # fmt: skip
    ward.real.arm("south", step)
    ward.fails(lambda: ward.real.controls["south"].post("/glass", body))
    ward.killed_at("south", step)

    def marked() -> GlassPaper | None:
        new = [paper for tag, paper in papers.every() if tag not in before]
        return new[0] if len(new) == 1 and new[0].index >= 0 else None

    paper = until(marked, "one broken glass, marked")
    assert paper.notice.reason == reason and paper.late is None
    entries = ward.real.on_ledger(BreakGlass.KIND, "south")
    assert len(entries) == standing + 1 and entries[-1].index == paper.index
    assert sum(entry.event is Event.GLASS_BROKEN for entry in ward.south.log()) == notes + 1
    assert [glass.reason for glass in ward.ada.log().glasses].count(reason) == 1


def faults(ward: Ward, handle: Handle) -> list[Fault]:
    return [fault for copy in ward.south.copies(handle).values() for fault in copy.faults]


def told(ward: Ward, handle: Handle) -> str:
    """What south holds and wrote down, for the message of a failure."""
    copies = [(copy.index, bool(copy.receipt), copy.later, copy.faults) for copy in ward.south.copies(handle).values()]
    return f"{copies} {[(entry.event.name, entry.detail) for entry in ward.south.log() if entry.handle == handle]}"


def acknowledged(ward: Ward) -> bool:
    recalls = list(Drawer(ward.north.vault, ward.north.sealing, "recalls", Recall).every())
    return bool(recalls) and all(recall.ack for _, recall in recalls)


def kill_recall(ward: Ward, step: str) -> None:
    someone, record = ward.a_patient("south")
    member = "south" if step == "recall.before-marked" else "north"
    ward.real.arm(member, step)
    correction = blood_count(record, someone.name, "9.99", status="corrected")
    ward.real.takes("north", ward.real.file(ward.new("correction"), correction))
    ward.killed_at(member, step)
    until(lambda: faults(ward, someone.handle) and acknowledged(ward), "the recall is told and acknowledged")
    assert faults(ward, someone.handle) == [Fault.CORRECTED], told(ward, someone.handle)
    recalled = [entry for entry in ward.south.log() if entry.event is Event.RECALLED and entry.handle == someone.handle]
    assert len(recalled) == 1
    recalls = Drawer(ward.north.vault, ward.north.sealing, "recalls", Recall)
    about = [recall for _, recall in recalls.every() if set(recall.notice.records) & sent_to(ward, someone)]
    assert [recall.to for recall in about] == ["south"]


def sent_to(ward: Ward, someone: Someone) -> set[bytes]:
    return {record for row in ward.north.marks(someone.handle) for record in ward.north.paper(row).records}


def kill_erasure(ward: Ward, step: str) -> None:
    someone, _ = ward.a_patient("south")
    (record,) = sent_to(ward, someone)
    before = len(ward.real.on_ledger(Erased.KIND, "north"))
    body = {"record": record.hex(), "ground": "court_order", "words": "order 3", "staff": "n9"}
    ward.real.arm("north", step)
    ward.fails(lambda: ward.real.controls["north"].post("/erasures", body))
    ward.real.died("north", step)
    ward.killed.append(step)
    row = ward.north.records()[record][1]
    assert bool(row.wrapped) == (step == "erasure.intended"), "no mark for something that still opens"
    ward.real.start("north")
    until(lambda: len(ward.real.on_ledger(Erased.KIND, "north")) > before, "the erasure is marked")
    until(lambda: not ward.south.copies(someone.handle), "who received it is told, and lets go of its copy")
    _, row = ward.north.records()[record]
    assert (row.sealed, row.wrapped) == (b"", b"") and row.fingerprint
    theirs = [entry.event for entry in ward.south.log() if entry.handle == someone.handle]
    assert theirs.count(Event.RECALLED) == theirs.count(Event.ERASED) == 1, told(ward, someone.handle)
    assert len(ward.real.on_ledger(Erased.KIND, "north")) == before + 1
    assert sum(entry.event is Event.ERASED for entry in ward.north.log()) == before + 1


def kill_enrolment(ward: Ward, step: str) -> None:
    """The desk asks again after the kill, with the same paper: one passkey, bound once."""
    someone = ward.real.someone(ward.new("p"))
    ward.real.arm("north", step)
    ward.fails(lambda: ward.real.enrols(someone))
    ward.killed_at("north", step)
    first = ward.real.enrols(someone)
    entries = [entry for entry in ward.real.on_ledger(Enrol.KIND) if _handle_of(entry) == someone.handle]
    assert [entry.index for entry in entries] == [first["index"]]


def _handle_of(entry: object) -> Handle:
    payload = transaction_of(entry).payload  # type: ignore[arg-type]
    assert isinstance(payload, Enrol)
    return payload.handle


SCENARIOS: dict[str, Callable[[Ward, str], None]] = {
    **dict.fromkeys(("ingest.before-commit", "ingest.stored"), kill_ingest),
    **dict.fromkeys(
        ("anchor.before-plan", "anchor.planned", "anchor.signed", "anchor.landed", "anchor.noted"), kill_anchor
    ),
    **dict.fromkeys(("log-root.planned", "log-root.signed", "log-root.landed"), kill_log_root),
    **dict.fromkeys(
        (
            "release.decided", "release.before-reserve", "release.reserved", "release.mark.signed",
            "release.mark.landed", "release.marked", "release.cosigned", "release.delivering",
        ),
        kill_release,
    ),
    "release.voiding": kill_void,
    **dict.fromkeys(
        (
            "request.asking", "request.answered", "request.kept", "receipt.signed", "receipt.landed",
            "request.receipted",
        ),
        kill_request,
    ),
    "display.logged": kill_display,
    **dict.fromkeys(("glass.logged", "glass.signed", "glass.landed", "glass.marked"), kill_glass),
    **dict.fromkeys(("recall.filed", "recall.acknowledged", "recall.before-marked"), kill_recall),
    **dict.fromkeys(("erasure.intended", "erasure.destroyed", "erasure.signed", "erasure.landed"), kill_erasure),
    **dict.fromkeys(("submit.signed", "submit.landed"), kill_enrolment),
}  # fmt: skip


def test_every_step_that_the_source_names_has_its_kill() -> None:
    assert set(SCENARIOS) == steps_in_source()


@pytest.mark.parametrize("step", SCENARIOS)
def test_killed_at(ward: Ward, step: str) -> None:
    SCENARIOS[step](ward, step)
    ward.real.agree("north", "south")
    assert ward.killed[-1] == step


def test_after_all_kills_vaults_ledger_and_roots_agree(ward: Ward) -> None:
    real = ward.real
    kill_release(ward, "release.marked")  # also when this test runs alone
    real.agree("north", "south")
    for name in ("north", "south"):
        real.stop(name)
    check_batches(ward)
    # One mark a number, one entry a mark, and no mark of ours that the vault does not know.
    rows = {row.tag: row for state in MarkState for row in ward.north.vault.marks_in(state)}
    releases = [transaction_of(entry).payload for entry in real.on_ledger(Release.KIND, "north")]
    tags = [payload.tag for payload in releases if isinstance(payload, Release)]
    assert len(tags) == len(releases) == len(set(tags)) and set(tags) == set(rows)
    by_handle: dict[Handle, list[int]] = {}
    for row in rows.values():
        by_handle.setdefault(row.handle, []).append(row.n)
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in by_handle.values())
    assert not real.on_ledger(Release.KIND, refused=True) and not real.on_ledger(Receipt.KIND, refused=True)
    # What the requester holds is what the custodian sent, and each copy has its one receipt.
    receipts = [transaction_of(entry).payload for entry in real.on_ledger(Receipt.KIND, "south")]
    copies = {tag: copy for handle in by_handle for tag, copy in ward.south.copies(handle).items()}
    assert copies and all(copy.delivery == rows[copy.tag].delivery for copy in copies.values())
    assert all(copy.receipt and Delivery.parse(copy.delivery).tag == tag for tag, copy in copies.items())
    assert len(receipts) >= len(copies)
    assert ward.north.log() and ward.south.log()  # their chains hold
    for name in ("north", "south"):
        check_replay(real, name)


def check_replay(real: Real, name: str) -> None:
    """The state that survived the kills, and a replay of all its blocks from genesis, have the authority's root."""
    settings = real.settings(name)
    keys = open_keys(settings)
    files = ChainFiles(settings.ledger_directory)
    try:
        kept = FollowingReplica(
            keys=keys, genesis=real.genesis, store=files.state, log_store=files.tiles, blocks=files.blocks,
            clock=WallClock(),
        )  # fmt: skip
        replayed = FollowingReplica(
            keys=keys, genesis=real.genesis, store=MemoryStore(), log_store=MemoryLogStore(), blocks=files.blocks,
            clock=WallClock(), map_bits=8,
        )  # fmt: skip
        tip = kept.machine.tip
        assert kept.height > 50 and replayed.height == kept.height == files.blocks.height
        assert replayed.machine.tip.root == tip.root == real.root(tip.size)
        assert kept.key_holder(keys.public(Purpose.TLS)[2], Purpose.TLS) == name
        kept.close()
        replayed.close()
    finally:
        files.close()
