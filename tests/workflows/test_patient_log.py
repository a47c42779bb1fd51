"""The patient's log: lies about it show."""

from dataclasses import replace

import pytest

from commonward.workflows import commitments
from commonward.workflows.desk import Refused
from commonward.workflows.messages import MARKS, Papers, PapersWanted
from commonward.workflows.patient_log import check_line
from tests.consortium import Consortium, Person, observation, permit


async def two_releases(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south", "clinic"))
    await c.south.fetches(ada, "north")
    await c.clinic.fetches(ada, "north")
    return ada


async def test_a_release_kept_from_the_list_is_found_by_its_tag() -> None:
    async with Consortium() as c:
        ada = await two_releases(c)
        honest = c.north.office.releases.line
        c.north.office.releases.line = lambda handle, after, limit=200: honest(handle, after)[: 1 - after]  # type: ignore[method-assign]
        log = await ada.log()
        assert not log.whole
        assert any("hidden" in trouble.what and trouble.custodian == "north" for trouble in log.troubles)


async def test_a_receipt_betrays_a_release_that_its_custodian_hides_behind_another_key() -> None:
    """The custodian marks under a tag of its own choosing; the requester is honest and confirms."""
    async with Consortium() as c:
        ada = await two_releases(c)
        c.north.office.releases.line = lambda handle, after, limit=200: []  # type: ignore[method-assign]
        ada.client.linked(c.north.name, b"k" * 32)  # the tags the patient knows are not those that were used
        c.north.office.mailbox.list = lambda wanted: Papers(())  # type: ignore[method-assign]
        log = await ada.log()
        assert any("confirmed a release" in trouble.what for trouble in log.troubles)


async def test_a_number_left_out_of_the_middle_shows() -> None:
    async with Consortium() as c:
        ada = await two_releases(c)
        log = await ada.log()
        assert log.whole and [mark.facts.n for mark in log.marks] == [1, 2]
        (custodian,) = ada.client.wallet.custodians
        troubles = check_line(ada.client, custodian.member, custodian.tag_key, log.marks[1:])
        assert any("missing" in trouble.what for trouble in troubles)


async def test_a_mark_that_says_something_else_than_the_ledger_shows() -> None:
    async with Consortium() as c:
        ada = await two_releases(c)
        log = await ada.log()
        (custodian,) = ada.client.wallet.custodians
        first = log.marks[0]
        lied = replace(first, facts=replace(first.facts, consent=type(first.facts.consent)(bytes(16))))
        troubles = check_line(ada.client, custodian.member, custodian.tag_key, [lied, *log.marks[1:]])
        assert any("commits to" in trouble.what for trouble in troubles)
        assert any("does not follow" in trouble.what for trouble in troubles)


async def test_nobody_else_learns_how_many_marks_a_patient_has() -> None:
    async with Consortium() as c:
        ada = await two_releases(c)
        wanted = PapersWanted(c.engine.genesis.ledger_id, c.north.name, ada.handle, c.engine.clock.now())
        with pytest.raises(Refused):
            await c.peers.ask(c.shield.name, c.north.name, MARKS, wanted.to_bytes())
        bob = await c.patient("bob")
        proof = await bob.signer.possess(wanted.digest())
        with pytest.raises(Refused):
            await c.peers.ask(c.shield.name, c.north.name, MARKS, replace(wanted, proof=proof).to_bytes())


async def test_a_custodian_that_does_not_answer_is_named() -> None:
    async with Consortium() as c:
        ada = await two_releases(c)
        c.peers.cut(c.north.name)
        log = await ada.log()
        assert not log.whole and c.north.name in log.unreachable


def test_each_label_is_used_for_one_thing() -> None:
    labels = [value for name, value in vars(commitments).items() if name.isupper() and isinstance(value, str)]
    assert len(labels) == len(set(labels))
