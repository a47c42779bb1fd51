"""A cosigner that signs two roots for one size loses its weight on anyone's proof; one that is merely odd is named."""

from dataclasses import replace

from commonward.ledger.checkpoint import Checkpoint, Note, cosign, origin_of
from commonward.ledger.ids import BlockTime, Digest, MemberId, Purpose
from commonward.ledger.members import Equivocation
from commonward.records.misbehaviour import parse_proofs, who_signed_both, write_proofs
from commonward.records.trust import TrustFile, load_trust
from commonward.workflows.cosigning import CosignerFault
from tests.consortium import Consortium
from tests.ledgerkit import member_soft_key, sign_genesis

SOUTH = MemberId("south")


def tells(c: Consortium, root: Digest, size: int | None = None, by: str = "south") -> None:
    """South's key signs a root for north's ears."""
    node = c.north.node
    key = member_soft_key(by, Purpose.COSIGN)
    at = size or node.machine.tip.size
    head = Checkpoint(origin_of(node.ledger_id), at, root)
    line = cosign(head, SOUTH, key.public, BlockTime(c.engine.clock.now()), key.sign)
    node.hear(SOUTH, head.size, head.root, line.to_text())


async def test_one_who_cosigned_two_roots_loses_its_weight() -> None:
    async with Consortium() as c:
        tells(c, Digest(bytes(32)))
        fault = c.north.node.accused[SOUTH]
        assert isinstance(fault, CosignerFault) and fault.equivocation is not None and "two roots" in str(fault)
        await c.north.office.accusing.tick()
        await c.engine.settle()
        for node in c.engine.nodes.values():
            assert node.machine.view().roll.must("south").weight == 0
        await c.north.office.accusing.tick()  # and nobody says it twice
        await c.engine.settle()
        assert len(c.north.node.entries(0, 1000, [Equivocation.KIND])) == 1


async def test_a_lone_line_over_another_root_is_named_but_proves_nothing_yet() -> None:
    async with Consortium() as c:
        node = c.north.node
        await c.engine.pass_time(1000)
        await c.north.ticks()
        tells(c, Digest(bytes(32)), size=node.machine.tip.size - 1)  # where no block ended, and so nobody cosigns
        fault = c.north.node.accused[SOUTH]
        assert fault.equivocation is None and "we have" in str(fault)
        await c.north.office.accusing.tick()
        assert node.machine.view().roll.must("south").weight > 0


async def test_nobody_is_accused_with_a_line_that_another_key_signed() -> None:
    async with Consortium() as c:
        tells(c, Digest(bytes(32)), by="clinic")
        assert not c.north.node.accused


async def test_our_own_root_heard_again_accuses_nobody() -> None:
    async with Consortium() as c:
        tells(c, c.north.node.machine.tip.root)
        assert not c.north.node.accused


async def test_what_an_auditor_found_offline_any_member_puts_to_the_ledger() -> None:
    """Two checkpoints that two people showed the auditor: `verify --against --proof`, then `evidence accuse`."""
    async with Consortium() as c:
        node, key = c.north.node, member_soft_key("south", Purpose.COSIGN)
        true = Checkpoint(origin_of(node.ledger_id), node.machine.tip.size, node.machine.tip.root)
        at = BlockTime(c.engine.clock.now())
        notes = [
            Note(head, (cosign(head, SOUTH, key.public, at, key.sign),))
            for head in (true, replace(true, root=Digest(bytes(32))))
        ]
        trust = load_trust(TrustFile(sign_genesis(c.engine.genesis).to_bytes()).to_bytes())
        (proof,) = parse_proofs(write_proofs(who_signed_both(notes[0], notes[1], trust)))
        await c.north.office.accusing.land(Equivocation(proof.key, proof.first, proof.second), "shown by an auditor")
        await c.engine.settle()
        assert all(each.machine.view().roll.must("south").weight == 0 for each in c.engine.nodes.values())
