"""The same workflows over the real vault: SQLite keeps the promises that its twin keeps."""

from pathlib import Path

import pytest

import tests.consortium
from commonward.adapters.store.vault import SqlVault
from commonward.workflows.memory import Killed
from tests.consortium import Consortium, observation, permit


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SqlVault]:
    opened: list[SqlVault] = []

    def vault() -> SqlVault:
        opened.append(SqlVault(tmp_path / f"vault-{len(opened)}.sqlite"))
        return opened[-1]

    monkeypatch.setattr(tests.consortium, "MemoryVault", vault)
    return opened


async def test_a_record_travels_over_sqlite(on_disk: list[SqlVault]) -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north", "south"))
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
        await c.north.ticks()
        told = await ada.grants(permit("south"))
        c.north.dies_at("release.marked")
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        c.north.wakes()
        (copy,) = await c.south.office.requests.resume()
        await c.north.takes(observation("o1", "ada", "8.8", status="corrected"))
        await c.north.ticks()
        shown = await c.south.shows(ada, copy.tag)
        assert len(shown) == 2 and sum(each.recalled is not None for each in shown) == 1
        log = await ada.log()
        assert log.whole and len(log.marks) == 1, log.troubles
        await ada.withdraws(told)
        await c.all_tick()
        assert c.south.office.requests.copies.count() == 0
    for vault in on_disk:
        vault.close()
