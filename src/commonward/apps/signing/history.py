"""How trust and log grew, as one member's node knows it: what a patient's page and a trust file need."""

from __future__ import annotations

from commonward.ledger.checkpoint import Authority, known_lines, parse_note
from commonward.ledger.encoding import decode
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.members import Authorities, Roll, certificate_digest
from commonward.ledger.merkle.map_proof import MapProof
from commonward.ledger.staging import block_leaf
from commonward.records.trust import AuthorityStep, TrustFile, genesis_authority
from commonward.workflows.reading import LedgerCells
from commonward.workflows.replica import Replica


class ReplicaHistory:
    """Implements `server.History` over a member's node."""

    def __init__(self, replica: Replica, genesis: bytes) -> None:
        """`genesis`: the genesis file's bytes."""
        self._replica = replica
        self._genesis = genesis
        self._signed = SignedGenesis.parse(genesis).genesis
        self._kept: tuple[int, bytes] = (-1, b"")

    def prove_consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return self._replica.prove_consistency(old, new)

    def trust_file(self) -> bytes:
        """Genesis and every change of authority that a quorum has cosigned by now."""
        proven = [change for change in self._replica.authority_changes() if change.note]
        if self._kept[0] != len(proven):
            self._kept = (len(proven), self._made())
        return self._kept[1]

    def _made(self) -> bytes:
        before = genesis_authority(self._signed)
        steps: list[AuthorityStep] = []
        named = {cosigner.ca for cosigner in before.cosigners}
        for change in self._replica.authority_changes():
            if not change.note:  # later ones are proven under this one: they wait for it
                break
            note = known_lines(parse_note(change.note), before)
            path = self._replica.prove_inclusion(change.size - 1, note.checkpoint.size)
            leaf = block_leaf(change.height, change.time, change.state_root)
            proof = MapProof.from_value(decode(change.proof))
            steps.append(AuthorityStep(change.authority, proof, change.size - 1, leaf, path, note.to_bytes()))
            before = Authority.parse(change.authority)
            named |= {cosigner.ca for cosigner in before.cosigners}
        ours = {certificate_digest(member.certificate) for member in self._signed.members}
        cells = LedgerCells(self._replica)
        roll, former = Roll(cells), Authorities(cells).former()
        # Those replaced or revoked since too: what was signed under them, in their time, is judged by them.
        later = [*(each.certificate for each in former), *(roll.certificate(member) for member in roll.ids())]
        known = {certificate_digest(each): each for each in later if each is not None}
        extra = tuple(known[each] for each in known if each in named - ours)
        return TrustFile(self._genesis, tuple(steps), extra).to_bytes()
