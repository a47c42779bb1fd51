"""The cohort of a site: rows of patients whose form is on the ledger, from its own vault, and of nobody else."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
import pytest

from commonward.records.images.duplicates import Pair
from commonward.records.manifest import Split
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.cohorts import Copies, Rows, Source, VaultCohorts
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


def copied(exact: bool) -> Copies:
    """The checker of a site whose rows of x = 0.0 and x = 0.2 show the same picture."""

    def found(table: Table) -> list[Pair]:
        at = [row for row, x in enumerate(table.cells("x")) if x in (0.0, 0.2)]
        return [Pair(at[0], at[1], 0 if exact else 30, exact)] if len(at) == 2 else []

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
        _refuse_copies(rows, frozenset(test))
    else:
        with pytest.raises(Waits, match=named):
            _refuse_copies(rows, frozenset(test))


def said(world: Study, site: str) -> str:
    progress = world.trainings[site].progress(world.id)
    return "" if progress is None else progress.waits_for
