"""The cohort of a site: rows of patients whose form is on the ledger, from its own vault, and of nobody else."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from commonward.records.images.duplicates import Pair
from commonward.records.manifest import Split
from commonward.records.table import Column, Table, Type
from commonward.workflows.member_log import Event
from commonward.workflows.memory import MemoryVault
from commonward.workflows.ports import RecordReader
from commonward.workflows.training.cohorts import Copies, Rows, Source, VaultCohorts
from commonward.workflows.training.distinct import Distinct, OnePicture
from commonward.workflows.training.manifests import _refuse_copies, manifest_of
from commonward.workflows.training.site import Waits
from tests.consortium import Consortium, observation
from tests.workflows.training.study_world import Study

PATIENTS = 5


@dataclass(frozen=True)
class Made:
    """`Gathered`."""

    patients: tuple[str, ...]
    table: Table
    sources: tuple[tuple[Source, ...], ...]


def gather(cohort: bytes, records: Iterable[tuple[Source, bytes]]) -> Made:
    """A point for each observation: x its value, y twice that and one."""
    rows, sources, patients = [], [], []
    for source, stored in records:
        tree = orjson.loads(stored)
        value = float(tree["valueQuantity"]["value"])
        patients.append(tree["subject"]["reference"])
        rows.append((value, 2 * value + 1))
        sources.append((source,))
    columns = (Column("x", Type.DECIMAL), Column("y", Type.DECIMAL))
    return Made(tuple(patients), Table(columns, tuple(rows)), tuple(sources))


async def held_in_its_vault(world: Study, site: str) -> None:
    """A site's patients: a record each, and a form for the study of all but the last."""
    house = world.c.houses[site]
    names = [f"{site} {n}" for n in range(PATIENTS)]
    await house.takes(*(observation(f"o{n}", name, f"0.{n}") for n, name in enumerate(names)))
    await house.ticks()
    witnesses = [house.staff("clinician", "n1"), house.staff("clinician", "n2")]
    for name in names[:-1]:
        await house.office.research.take(world.id, house.local(name), "I take part.", witnesses)


async def test_a_site_learns_from_records_in_its_vault_that_patients_consented_to() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=4, test_share=0)
        training = world.trainings["south"]
        training._manifests._cohorts = VaultCohorts(c.south.office.research, gather)
        await held_in_its_vault(world, "south")
        await world.works(world.at(1))
        assert sorted(world.rows("south")) == [(0.0, 1.0), (0.1, 1.2), (0.2, 1.4), (0.3, 1.6)]
        kept = training._site.store.manifest(world.id)
        assert kept is not None
        manifest = manifest_of(kept, 1)
        forms = {form.opening.consent for form in c.south.office.research.forms(world.id)}
        assert {row.consent for row in manifest.train.rows} == forms
        row = manifest.train.rows[0]
        shown = manifest.train.prove(row.record)
        assert shown.split is Split.TRAIN and shown.row == row

        await c.south.office.research.withdraw(world.id, c.south.local("south 1"), "no longer")
        await c.engine.settle()
        await world.works(world.over)
        assert sorted(world.rows("south")) == [(0.0, 1.0), (0.2, 1.4), (0.3, 1.6)]
        world.close()


class BlockedVault(MemoryVault):
    """Its records cannot be read, in whatever thread, before `gate` is open."""

    gate: threading.Event
    began: threading.Event

    @contextmanager
    def reading(self) -> Iterator[RecordReader]:
        self.began.set()
        assert self.gate.wait(90), "the loop stood still while records were read"
        with super().reading() as reader:
            yield reader


async def test_the_loop_goes_on_while_a_hospitals_records_are_read() -> None:
    """A hospital with a hundred thousand records must not stall its node, which also cosigns and releases."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=0)
        await held_in_its_vault(world, "south")
        vault = c.south.vault
        vault.__class__ = BlockedVault
        assert isinstance(vault, BlockedVault)
        vault.gate, vault.began = threading.Event(), threading.Event()
        reading = asyncio.create_task(c.south.office.research.rows(world.id))
        async with asyncio.timeout(90):
            while not vault.began.is_set():
                await asyncio.sleep(0.001)
        await c.south.office.research.withdraw(world.id, c.south.local("south 1"), "no longer")  # the node works on
        await c.engine.settle()
        vault.gate.set()
        forms = {form.opening.consent for form in c.south.office.research.forms(world.id)}
        found = await reading
        assert {each.consent for each in found} == forms and len(forms) == PATIENTS - 2, "who withdrew meanwhile is out"
        world.close()


async def test_a_record_that_was_altered_in_the_vault_is_left_out_and_told_of_once_for_each_look() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=0)
        await held_in_its_vault(world, "south")
        number, row = c.south.vault.current_records([c.south.local("south 0")])[0]
        c.south.vault._rows[number - 1] = replace(row, sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1]))
        found = await c.south.office.research.rows(world.id)
        assert len(found) == PATIENTS - 2 and all(len(each.held) == 1 for each in found)
        flagged = [e.detail for _, _, e in c.south.office.member.log.entries() if e.event is Event.FLAGGED]
        assert flagged == [f"record {number} was altered in the vault: its seal is broken"]
        world.close()


NAME = b"one pair, 16 b.."


def copied(exact: bool) -> Copies:
    """The checker of a site whose rows of x = 0.0 and x = 0.2 show the same picture."""

    def found(table: Table) -> list[Pair]:
        at = [row for row, x in enumerate(table.cells("x")) if x in (0.0, 0.2)]
        return [Pair(at[0], at[1], 0 if exact else 30, exact, NAME)] if len(at) == 2 else []

    return found


async def test_one_picture_under_two_patients_holds_a_site_back_until_one_of_them_is_put_right() -> None:
    """Attack: a hospital's test is made easy by pictures that are in its training too."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=30, test_share=0)
        training = world.trainings["south"]
        training._manifests._cohorts = VaultCohorts(c.south.office.research, gather, copied(exact=True))
        await held_in_its_vault(world, "south")
        await world.works(lambda: "copies" in said(world, "south"))
        assert "south 0" in said(world, "south") and "south 2" in said(world, "south")
        assert world.rows("south") == []  # nothing is promised, nothing is learnt
        others = "".join(said(world, name) for name in world.trainings if name != "south")
        assert "south 0" not in others and "copies" not in others

        await c.south.office.research.withdraw(world.id, c.south.local("south 2"), "the picture is another's")
        await c.engine.settle()
        await world.works(lambda: bool(world.rows("south")))
        assert sorted(world.rows("south")) == [(0.0, 1.0), (0.1, 1.2), (0.3, 1.6)]
        world.close()


async def test_a_false_near_copy_holds_a_site_back_until_a_person_looked_at_both_and_the_log_keeps_who() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=30, test_share=0)
        training = world.trainings["south"]
        near, manifests = copied(exact=False), training._manifests
        manifests._cohorts = VaultCohorts(c.south.office.research, gather, near)
        await held_in_its_vault(world, "south")
        first = next(
            form for form in c.south.office.research.forms(world.id) if form.patient == c.south.local("south 0")
        )
        manifests._kept_apart = lambda *_: frozenset({first.opening.consent})  # type: ignore[method-assign]
        await world.works(lambda: "copies" in said(world, "south"))
        assert "commonward photographs distinct" in said(world, "south") and world.rows("south") == []

        rows = await manifests._cohorts.rows(world.id, await c.south.office.studying.papers(world.id))
        (pair,) = rows.copies
        Distinct(c.south.office.member).say(pair, ("south 0", "south 2"), "n1", b"certificate")
        await world.works(lambda: bool(world.rows("south")))
        assert sorted(world.rows("south")) == [(0.1, 1.2), (0.2, 1.4), (0.3, 1.6)]
        (kept,) = [entry for _, _, entry in c.south.office.member.log.entries() if entry.event is Event.TWO_PICTURES]
        assert (kept.who, kept.staff) == ("n1", b"certificate")
        assert all(word in kept.detail for word in ("30 of 256", NAME.hex(), "south 0 and south 2"))
        world.close()


async def test_nobody_can_say_of_one_picture_that_it_is_of_two_patients() -> None:
    """Attack: whoever wants a study to go on waves a true copy through."""
    async with Consortium() as c:
        distinct = Distinct(c.south.office.member)
        for certain in (Pair(0, 1, 0, True, NAME), Pair(0, 1, 3, True, NAME), Pair(0, 1, 0, False, NAME)):
            with pytest.raises(OnePicture, match="P-1 and P-2"):
                distinct.say(certain, ("P-1", "P-2"), "n1", b"certificate")
        distinct.say(Pair(0, 1, 30, False, NAME), ("P-1", "P-2"), "n1", b"certificate")
        again = distinct.say(Pair(4, 2, 30, False, NAME), ("P-1", "P-2"), "n2", b"another")
        assert again.who == "n1" and distinct.count() == 1, "the first time stands"
        assert distinct.known(Pair(0, 1, 30, False, b"another pair....")) is None, "asked for each pair"
        assert distinct.known(Pair(0, 1, 0, True, NAME)) is None, "even under the name of a pair that was looked at"
        assert len([1 for _, _, entry in c.south.office.member.log.entries() if entry.event is Event.TWO_PICTURES]) == 1


@pytest.mark.parametrize(
    ("exact", "test", "named"),
    [
        (False, {b"b"}, "learn from.*P-1 and P-2"),
        (True, {b"b"}, "learn from.*P-1 and P-2"),
        (True, {b"c"}, "under two patients.*P-1 and P-2"),
        (True, {b"a", b"b"}, "under two patients"),
        (False, {b"c"}, None),  # chance may do that, and it spoils no judgement
    ],
)
def test_a_patient_in_train_and_test_by_a_copied_picture_is_refused(
    exact: bool, test: set[bytes], named: str | None
) -> None:
    table = Table((Column("x", Type.INTEGER),), ((1,), (2,), (3,)))
    pair = Pair(0, 1, 0 if exact else 30, exact)
    rows = Rows(table, (b"1", b"2", b"3"), (b"a", b"b", b"c"), ("P-1", "P-2", "P-3"), (pair,))
    if named is None:
        _refuse_copies(rows, frozenset(test), lambda pair: None)
    else:
        with pytest.raises(Waits, match=named):
            _refuse_copies(rows, frozenset(test), lambda pair: None)


def said(world: Study, site: str) -> str:
    progress = world.trainings[site].progress(world.id)
    return "" if progress is None else progress.waits_for
