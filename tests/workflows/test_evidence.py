"""Evidence that a member exports convinces somebody who has the trust file and nothing else."""

import pytest

from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.verify import CONVINCES, DOES_NOT, verify_file
from commonward.ledger.ids import ConsentId, Digest, Purpose
from commonward.ledger.members import RevokeKey
from commonward.records.evidence import Evidence
from commonward.records.trust import TrustFile
from commonward.workflows.evidence import NoEvidence
from tests.consortium import Consortium, Person, observation, permit
from tests.ledgerkit import SoftKey, member_soft_key, sign_genesis


async def released(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    await c.south.fetches(ada, "north")
    await c.engine.pass_time(31_000)
    return ada


def trust(c: Consortium) -> bytes:
    return TrustFile(sign_genesis(c.engine.genesis).to_bytes(), (), ()).to_bytes()


async def test_a_records_evidence_convinces_and_is_small() -> None:
    async with Consortium() as c:
        await released(c)
        (_, row), _ = c.north.vault.current_records([c.north.local("ada")])
        file = c.north.office.evidence.of_record(row.id)
        assert verify_file(file, trust(c)).exit_code == CONVINCES
        assert len(c.north.office.evidence.of_record(row.id, whole=False)) < 4096


async def test_a_releases_evidence_convinces_and_is_small() -> None:
    async with Consortium() as c:
        ada = await released(c)
        file = c.north.office.evidence.of_release(ada.handle, 1)
        report = verify_file(file, trust(c))
        assert report.exit_code == CONVINCES, report.verdict
        assert len(file) < 8192


@pytest.mark.parametrize("house", ["north", "south"])
async def test_a_consents_evidence_convinces_and_shows_only_what_was_opened_to_the_member(house: str) -> None:
    async with Consortium() as c:
        ada = await released(c)
        consent = ada.client.wallet.given[0].opening.consent
        file = await c.houses[house].office.evidence.of_consent(ada.handle, consent)
        report = verify_file(file, trust(c))
        assert report.exit_code == CONVINCES, report
        opened = Evidence.parse(file).statement
        assert isinstance(opened, dict) and len(opened) == (3 if house == "north" else 1)
        closed = await c.houses[house].office.evidence.of_consent(ada.handle, consent, whole=False)
        assert verify_file(closed, trust(c)).exit_code == CONVINCES
        assert Evidence.parse(closed).statement == {}


async def test_there_is_no_evidence_of_a_consent_of_somebody_else() -> None:
    async with Consortium() as c:
        ada = await released(c)
        with pytest.raises(NoEvidence, match="no consent"):
            await c.north.office.evidence.of_consent(ada.handle, ConsentId(bytes(16)))


async def test_evidence_that_names_another_leaf_does_not_convince() -> None:
    async with Consortium() as c:
        ada = await released(c)
        file = c.north.office.evidence.of_release(ada.handle, 1)
        changed = file.replace(b"\nindex ", b"\nindex 1", 1)
        assert verify_file(changed, trust(c)).exit_code == DOES_NOT


async def test_there_is_no_evidence_before_the_anchor_is_cosigned() -> None:
    async with Consortium() as c:
        await c.north.takes(observation("o1", "ada"))
        ((_, row),) = c.north.vault.current_records([c.north.local("ada")])
        with pytest.raises(NoEvidence, match="not anchored"):
            c.north.office.evidence.of_record(row.id)


async def test_evidence_at_the_moment_a_key_is_replaced_keeps_the_lines_that_count_for_it() -> None:
    """The checkpoint that ends a change is judged by who held authority before: south's old key still counts there."""
    async with Consortium() as c:
        await released(c)
        fresh, old = SoftKey("south fresh"), member_soft_key("south", Purpose.COSIGN)
        added = fresh.add(c.engine.genesis.ledger_id, "south", Purpose.COSIGN)
        await c.south.node.submit(c.engine.sign(added, by="south"))
        await c.engine.settle()
        c.engine.cut("shield")
        await c.south.node.submit(c.engine.sign(RevokeKey(old.id, Digest(bytes(32))), by="south"))
        await c.engine.settle()
        proven = c.north.node.proven()
        assert proven is not None and proven.size == c.north.node.machine.tip.size, "four of five cosigned the change"
        (_, row), *_ = c.north.vault.current_records([c.north.local("ada")])
        file = c.north.office.evidence.of_record(row.id)
        held = ReplicaHistory(c.north.node, sign_genesis(c.engine.genesis).to_bytes()).trust_file()
        report = verify_file(file, held)
        assert report.exit_code == CONVINCES, report
