"""The heart disease data as FHIR records: through the schema, the vault and the views they come back as published."""

import asyncio
from typing import Any

import orjson
import pytest

from commonward.adapters.fhir import Validator, pieces
from commonward.adapters.fhir.cohort import Cohort
from commonward.apps.samples.heart import COLUMNS, SITES, bundle, cohort, rows
from commonward.records.envelope import open_record, unwrap_key
from commonward.workflows.ingest import Ingest, Tools, in_this_process
from commonward.workflows.member_log import MemberLog
from commonward.workflows.memory import CountedEntropy, Deadly, MemoryVault, SteppedClock
from commonward.workflows.ports import StorageKeys
from commonward.workflows.sealing import Sealing

KEYS = StorageKeys(b"w" * 32, b"i" * 32)
KEPT = {"cleveland": 303, "hungarian": 261, "switzerland": 46, "va": 130}


def held(site: str, first: int = 0, count: int | None = None) -> list[tuple[bytes, Any]]:
    """The records of a site after they went through the hospital's ingest: fingerprint and tree of what is stored."""
    vault, entropy, clock = MemoryVault(), CountedEntropy(site), SteppedClock()
    sealing = Sealing(KEYS, entropy)
    ingest = Ingest(vault, sealing, KEYS, MemberLog(vault, sealing, clock), clock, Deadly())
    tools = Tools(KEYS, entropy, Validator(), {})
    report = asyncio.run(ingest.run(pieces(bundle(site, first, count), site), in_this_process(tools)))
    assert (report.dead, report.flagged) == (0, 0)
    found = []
    names = {Sealing(KEYS, entropy).name("patient", site, f"{site}-{at + 1:03}") for at in range(len(rows(site)))}
    for _, row in vault.current_records(sorted(names)):
        stored, _ = open_record(row.sealed, unwrap_key(row.wrapped, KEYS.wrap, row.id), row.id)
        found.append((row.fingerprint, orjson.loads(stored)))
    return found


def everyone(site: str) -> Cohort:
    return Cohort.parse({**orjson.loads(cohort()), "complete": []})


@pytest.mark.parametrize("site", SITES)
def test_the_columns_come_back_from_the_vault_as_they_were_published(site) -> None:
    first, count = 0, 40
    found = everyone(site).gather(held(site, first, count))
    wanted = rows(site)[first : first + count]
    assert found.patients == tuple(f"{site}-{at + 1:03}" for at in range(len(wanted)))
    for name in COLUMNS:
        published = [row[COLUMNS.index(name)] for row in wanted]
        if name == "chol":  # 0 is a measurement that was not made
            assert found.table.cells("chol_asked") == tuple(None if each is None else True for each in published)
            published = [each or None for each in published]
        assert list(found.table.cells(name)) == published, name
    assert all(len(each) >= 3 for each in found.sources)


@pytest.mark.parametrize("site", SITES)
def test_the_cohort_keeps_the_patients_that_the_published_protocol_keeps(site) -> None:
    trees = ((number, entry["resource"]) for number, entry in enumerate(orjson.loads(bundle(site))["entry"]))
    found = Cohort.parse(cohort()).gather(trees)
    assert len(found.patients) == KEPT[site]
    used = [at for at, name in enumerate(COLUMNS) if name not in ("slope", "ca", "thal")]
    wanted = [tuple(row[at] for at in used) for row in rows(site) if all(row[at] is not None for at in used)]
    names = [COLUMNS[at] for at in used]
    got = [
        tuple(0 if name == "chol" and cell is None else cell for name, cell in zip(names, row, strict=True))
        for row in zip(*(found.table.cells(name) for name in names), strict=True)
    ]
    assert got == wanted
