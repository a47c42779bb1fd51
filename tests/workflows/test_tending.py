"""Received copies at each tick: what needs nothing rests, and still ends when it must."""

from collections.abc import Callable
from typing import Any

import pytest

from commonward.workflows import requests
from commonward.workflows.copies import Copy, opened
from commonward.workflows.ports import MarkState
from tests.consortium import Consortium, observation, permit


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The tags of copies opened by `requests`, as they are."""
    seen: list[bytes] = []
    real: Callable[..., Any] = opened

    def counted(member: Any, copy: Copy) -> Any:
        seen.append(copy.tag)
        return real(member, copy)

    monkeypatch.setattr(requests, "opened", counted)
    return seen


async def test_a_tick_opens_one_of_the_copies_at_rest_however_many_there_are(opens: list[bytes]) -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await c.north.ticks()
        await ada.grants(permit("south"))
        tags = {(await c.south.fetches(ada, "north")).tag for _ in range(4)}
        await c.south.ticks()  # all are seen once, and need nothing
        opens.clear()
        for _ in range(4):
            await c.south.ticks()
        assert len(opens) == 4 and set(opens) == tags, "expected each in its turn"


async def test_copies_at_rest_go_when_the_consent_is_withdrawn() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await c.north.ticks()
        delivered = await ada.grants(permit("south"))
        for _ in range(3):
            await c.south.fetches(ada, "north")
        await c.south.ticks()
        await ada.withdraws(delivered)
        await c.all_tick()
        assert c.south.office.requests.copies.places() == []


async def test_a_copy_that_waits_for_a_proof_does_not_rest() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await ada.grants(permit("south"))
        await c.north.takes(observation("o1", "ada"))
        copy = await c.south.fetches(ada, "north")  # pending: not anchored yet
        await c.south.ticks()
        assert not held(c, copy.tag).later
        await c.north.ticks()
        await c.engine.settle()
        await c.south.ticks()
        assert held(c, copy.tag).later
        row = c.north.vault.mark_by_tag(copy.tag)
        assert row is not None and row.state is MarkState.RECEIPTED


def held(c: Consortium, tag: bytes) -> Copy:
    found = c.south.office.requests.copies.get(tag)
    assert found is not None
    return found
