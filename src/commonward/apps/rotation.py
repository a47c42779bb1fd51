"""A member's next key of a purpose: made, registered on the ledger, taken into use at the next start.

The running node goes on with the key it has: what it signed is under way, and both keys count until the old one is
revoked or ends. So nothing is lost, whenever it is restarted.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonward.apps.renewing import certify
from commonward.apps.settings import BadSettings
from commonward.apps.wiring import Node, WallClock, open_keys
from commonward.ledger.ids import Algorithm, KeyId, Purpose
from commonward.ledger.possession import possession_digest
from commonward.workflows.governing import Governing, NewKey


@dataclass(frozen=True, slots=True)
class Rotated:
    """`old` still counts; `new` is in use from the node's next start."""

    purpose: Purpose
    old: KeyId
    new: KeyId
    index: int  # of the AddKey in the log


async def rotate(node: Node, governing: Governing, purpose: Purpose) -> Rotated:
    """Stages, registers, activates on disk. Raises LedgerRefused, LedgerAway, BadSettings, an error of the keys.

    After LedgerAway nothing is activated: rotating again makes another key.
    """
    keys = open_keys(node.settings)
    if not keys.has(purpose):
        raise BadSettings(f"{node.settings.member} has no {purpose.name.lower()} key; only the operator sequences")
    _, _, old = node.keys.public(purpose)
    algorithm, public, new = keys.stage(purpose)
    possession = b""
    if algorithm != Algorithm.X25519:
        wanted = possession_digest(node.replica.ledger_id, node.member.id.encode(), purpose, algorithm, public)
        possession = keys.sign_staged(purpose, wanted)
    _, landed = await governing.register(NewKey(purpose, algorithm, public, possession))
    activated = keys.activate(purpose)
    if purpose is Purpose.TLS:  # the next key gets a certificate for the same names
        certify(node.settings, activated, node.replica.machine.view().roll, WallClock().now())
    return Rotated(purpose, old, new, landed.index)
