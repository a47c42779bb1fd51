"""Cosignatures from member to member, where no sequencer carries them: each tells each, and answers with what it has.

A message is about one checkpoint, the teller's latest, with every line under it that the teller knows, so that a line
reaches also those whom its author cannot. What piles up while a member is slow is left out: only the latest counts.
A line is believed for its signature alone, whoever brings it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import Digest, MemberId, parse_digest, parse_member_id
from commonward.workflows.ports import PeerAway, Peers
from commonward.workflows.replica import Replica

__all__ = ["COSIGNED_PATH", "CosignExchange"]

COSIGNED_PATH: Final = "ledger/cosigned"

_MOST_LINES: Final = 1024
_MOST_LINE: Final = 512
_PULL_S: Final = 3.0
"""Even with nothing to tell, a member asks this often: a line may have been lost."""

_log = structlog.get_logger(__name__)


class BadTelling(ValueError):
    """Not a message of cosignatures."""


def to_bytes(lines: Sequence[tuple[MemberId, Checkpoint, SignatureLine]]) -> bytes:
    """[[member, size, root, line] ...]"""
    return encode([[member, head.size, head.root, line.to_text()] for member, head, line in lines])


def parse(body: bytes) -> list[tuple[MemberId, int, Digest, str]]:
    """Raises BadTelling."""
    found = []
    try:
        value = decode(body)
        if not isinstance(value, list) or len(value) > _MOST_LINES:
            raise BadTelling(f"expected at most {_MOST_LINES} cosignatures in an array")
        for each in value:
            match each:
                case [str(member), int(size), bytes(root), str(line)] if len(line) <= _MOST_LINE and size >= 0:
                    found.append((parse_member_id(member), size, parse_digest(root), line))
                case _:
                    raise BadTelling(f"expected [member, size, root, line], got {each!r:.60}")
    except ValueError as cause:
        raise BadTelling(str(cause)) from cause
    return found


class CosignExchange:
    """Tells the others this node's cosignatures, and hears theirs."""

    def __init__(self, replica: Replica, peers: Peers) -> None:
        self._replica = replica
        self._peers = peers
        self._fresh: dict[MemberId, asyncio.Event] = {}

    def cosigned(self) -> None:
        """This node has just signed: everyone is to hear. Does not wait."""
        for each in self._fresh.values():
            each.set()

    async def answer(self, member: MemberId, body: bytes) -> bytes:
        """Answers `COSIGNED_PATH`: hears what the asker has, says what we have. Raises BadTelling."""
        self._hear(parse(body))
        return self._known()

    def _hear(self, said: Sequence[tuple[MemberId, int, Digest, str]]) -> None:
        for member, size, root, line in said:
            self._replica.hear(member, size, root, line)

    def _known(self) -> bytes:
        return to_bytes(self._replica.lines_over_latest())

    async def run(self) -> None:
        """Keep telling until cancelled. Members that come later are told from their admission on."""
        telling: dict[MemberId, asyncio.Task[None]] = {}
        try:
            while True:
                # Who has no weight is told too: its releases wait for the others' cosignatures like anyone's.
                members = set(self._replica.machine.view().roll.active()) - {self._replica.member}
                for member in sorted(members - telling.keys()):
                    self._fresh[member] = asyncio.Event()
                    self._fresh[member].set()
                    telling[member] = asyncio.create_task(self._tell(member, self._fresh[member]))
                await asyncio.sleep(_PULL_S)
        finally:
            for task in telling.values():
                task.cancel()
            await asyncio.gather(*telling.values(), return_exceptions=True)

    async def _tell(self, member: MemberId, fresh: asyncio.Event) -> None:
        pause = 0.1
        while True:
            try:
                async with asyncio.timeout(_PULL_S):
                    await fresh.wait()
            except TimeoutError:
                pass
            fresh.clear()
            try:
                self._hear(parse(await self._peers.ask(member, COSIGNED_PATH, self._known())))
                pause = 0.1
            except (PeerAway, BadTelling) as why:
                _log.info("cosignatures_not_told", member=member, why=str(why))
                fresh.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
