"""Says weeks before what will end: in the node's log each day, and to whoever asks the node how it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import structlog
from cryptography import x509

from commonward.adapters.keys import KeyFileMissing, KeyFileUnreadable
from commonward.apps.wiring import Node
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.members import Roll
from commonward.workflows.expiry import CA_SOON, Certificate, Ending, QuorumEnds, endings, quorum_ends

_log = structlog.get_logger(__name__)

_DAY_S: Final = 86_400


@lru_cache(maxsize=1024)
def ends_of(der: bytes) -> int | None:
    """When a certificate ends (ms); None for bytes that are none."""
    try:
        return int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() * 1000)
    except ValueError:
        return None


def authorities(roll: Roll) -> Iterator[Certificate]:
    """Every active member's CA, as the ledger has it."""
    for member in roll.active():
        ends = ends_of(roll.certificate(member) or b"")
        if ends is not None:
            yield Certificate(member, "the CA certificate", ends, CA_SOON)


def _own(node: Node) -> Iterator[Certificate]:
    try:
        ends = ends_of(node.keys.tls_certificate)
    except (KeyFileMissing, KeyFileUnreadable):
        return  # `doctor` names a file that is missing
    if ends is not None:
        yield Certificate(node.member.id, "the TLS certificate", ends)


def ending_at(node: Node) -> list[Ending]:
    """What of this member's or another's ends soon."""
    roll = node.replica.machine.view().roll
    return endings(
        roll,
        MemberId(node.member.id),
        BlockTime(node.member.now()),
        operator=node.genesis.operator,
        in_use={node.keys.public(each)[2] for each in Purpose if node.keys.has(each)},
        certificates=[*_own(node), *authorities(roll)],
    )


def quorum_at(node: Node) -> QuorumEnds | None:
    """When a quorum will be lost, if so soon."""
    roll = node.replica.machine.view().roll
    return quorum_ends(roll, BlockTime(node.member.now()), consensus=not node.genesis.operator)


def ending_of(node: Node) -> list[dict[str, Any]]:
    """For `status`: what ends soon, the loss of a quorum first."""
    now = node.member.now()
    lost = quorum_at(node)
    found: list[dict[str, Any]] = []
    if lost is not None:
        found.append(
            {
                "member": None,
                "what": "quorum",
                "ends": lost.at,
                "text": lost.text(now),
                "do": f"tell {', '.join(lost.members)} to rotate theirs, each by itself, today",
            }
        )
    found += [
        {"member": each.member, "what": each.what, "ends": each.ends, "text": each.text(now), "do": each.do}
        for each in ending_at(node)
    ]
    return found


async def announcing(node: Node) -> None:
    """Until cancelled: at start and each day from then, a warning for each."""
    while True:
        for each in ending_of(node):
            _log.warning("ends_soon", what=each["text"], do=each["do"])
        await asyncio.sleep(_DAY_S)
