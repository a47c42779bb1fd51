"""Whoever cosigned two roots for one size is shown to everyone: a transaction with both, which takes its weight away.

The node hears the lines (`cosigning`); this lands the proof. Every honest member that holds it does the same, and the
first to land suffices.
"""

from commonward.ledger.members import Equivocation, Roll
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.ports import Committed
from commonward.workflows.reading import LedgerCells

__all__ = ["Accusing"]


class Accusing:
    """One member's."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def tick(self) -> None:
        """Land every proof whose member still has weight. Raises LedgerAway, LedgerRefused: tried at the next tick."""
        ledger = self._member.ports.ledger
        roll = Roll(LedgerCells(ledger))
        for proof in ledger.accusations():
            key = roll.key(proof.key)
            found = roll.get(key.member) if key is not None else None
            if key is None or found is None or not found.weight:
                continue
            await self.land(proof, f"{key.member} cosigned two roots for one size: shown on the ledger")

    async def land(self, proof: Equivocation, said: str) -> Committed:
        """Put one proof on the ledger, once, and into the member's log in these words. Raises as `tick`."""
        name = b"accuse" + proof.key
        landed = await self._member.submitter.land(name, proof)
        with self._member.ports.vault.transaction():
            self._member.submitter.done(name)
            self._member.log.note(Event.FLAGGED, said)
        return landed
