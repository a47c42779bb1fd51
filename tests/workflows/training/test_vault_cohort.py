"""The cohort of a site: rows of patients whose form is on the ledger, from its own vault, and of nobody else."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from commonward.records.manifest import Split
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.cohorts import Source, VaultCohorts
from commonward.workflows.training.manifests import manifest_of
from tests.consortium import Consortium, observation
from tests.workflows.training.study_world import Study

PATIENTS = 5


@dataclass(frozen=True)
class Made:
    """`Gathered`."""

    table: Table
    sources: tuple[tuple[Source, ...], ...]


def gather(cohort: bytes, records: Iterable[tuple[Source, bytes]]) -> Made:
    """A point for each observation: x its value, y twice that and one."""
    rows, sources = [], []
    for source, stored in records:
        value = float(orjson.loads(stored)["valueQuantity"]["value"])
        rows.append((value, 2 * value + 1))
        sources.append((source,))
    columns = (Column("x", Type.DECIMAL), Column("y", Type.DECIMAL))
    return Made(Table(columns, tuple(rows)), tuple(sources))


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
