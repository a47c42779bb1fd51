"""Time stamps: now and then a third party's word, kept, that the history until here existed at its time.

Where the law wants a time-stamping authority, this member has one stamp a proven checkpoint at most once in a while,
and only when the log has grown: one token serves every transaction before it. What comes back is judged before it is
kept, by the same rules as `verify`, so that no bad token can spoil a later evidence file. An authority that is away,
slow or wrong costs nothing but the token: it is asked again, at growing intervals, in a task of its own; no release,
anchor or evidence ever waits for it.

The authority learns the hash of a checkpoint and our address; a checkpoint says nothing about anybody.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from commonward.ledger.checkpoint import parse_note
from commonward.ledger.ids import Digest
from commonward.records.judging_history import STAMP_SLACK_MS
from commonward.records.timestamps import (
    TokenRefused,
    TokenUnreadable,
    build_request,
    check_token,
    read_authorities,
    token_of,
)
from commonward.records.trust import block_fields
from commonward.workflows.member import Member
from commonward.workflows.ports import Proven, VaultFull, WorldError
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

EVERY_MS: Final = 3_600_000
RETRY_MS: Final = 60_000
"""After the first failure; doubled with each further one, up to the interval itself."""

_POLL_S: Final = 5.0
_GROUP: Final = b"stamps"
_LAST: Final = b"last"

_log = structlog.get_logger(__name__)


class AuthorityAway(WorldError):
    """The time-stamping authority gave no answer that could be one."""


class Authority(Protocol):
    """A time-stamping authority. Not trusted: its answer is checked before it is kept; who hinders it delays tokens."""

    async def stamp(self, request: bytes) -> bytes:
        """The answer to a TimeStampReq, bounded in time and size, not judged. Raises AuthorityAway."""
        ...


@dataclass(frozen=True, slots=True)
class Stamping:
    """Whom this member asks, and how often."""

    authority: Authority
    certificates: bytes  # PEM, up to a root: what its tokens are judged by
    every_ms: int = EVERY_MS

    def __post_init__(self) -> None:
        read_authorities(self.certificates)  # raises TokenUnreadable: better at start than an hour later


@dataclass(frozen=True, slots=True)
class StampPaper(Message):
    """One token that was good, over the checkpoint of this size and root. `before`: ms, what it says."""

    size: int
    root: Digest
    token: bytes
    before: int
    name: str


@dataclass(frozen=True, slots=True)
class _Last(Message):
    """When the last good token was made, by our clock, and over which size."""

    at: int
    size: int


@dataclass(frozen=True, slots=True)
class StampState:
    """How time-stamping stands, for people. `trouble`: why there was none the last time, "" when there was."""

    on: bool
    count: int
    size: int
    before: int
    name: str
    trouble: str


class TimeStamps:
    """One member's tokens: asked for where an authority is set, found where evidence needs one."""

    def __init__(self, member: Member, stamping: Stamping | None = None) -> None:
        self._member = member
        self._stamping = stamping
        self._papers = Drawer(member.ports.vault, member.sealing, "stamps", StampPaper)
        self._last = Drawer(member.ports.vault, member.sealing, "stamped", _Last)
        self._failures = 0
        self._again_at = 0
        self._trouble = ""

    # ------------------------------------------------------------------------------------------------------- asking

    async def run(self) -> None:
        """Ask whenever it is time, for ever. Where no authority is set, wait for ever."""
        while True:
            if self._stamping is not None:
                try:
                    await self.tick()
                except Exception as why:  # whatever it is, a node does not end for want of a time stamp
                    _log.exception("time_stamping_failed")
                    self._failed(self._stamping, why)
            await asyncio.sleep(_POLL_S)

    async def tick(self) -> StampPaper | None:
        """Has the proven checkpoint stamped if it is time. Never raises for what the authority or the disk does."""
        stamping, proven = self._stamping, self._due()
        if stamping is None or proven is None:
            return None
        try:
            paper = await self._asked(stamping, proven)
            with self._member.ports.vault.transaction():
                self._papers.put(_key(paper.size), paper, _GROUP)
                self._last.put(_LAST, _Last(self._member.now(), paper.size))
        except (AuthorityAway, TokenRefused, TokenUnreadable, VaultFull) as why:
            self._failed(stamping, why)
            return None
        self._failures, self._again_at, self._trouble = 0, 0, ""
        _log.info("time_stamped", size=paper.size, authority=paper.name)
        return paper

    def _due(self) -> Proven | None:
        """The checkpoint to be stamped now, or None."""
        now, last, proven = self._member.now(), self._last.get(_LAST), self._member.ports.ledger.proven()
        if self._stamping is None or proven is None or proven.size == 0 or now < self._again_at:
            return None
        if last is None:
            return proven
        # A clock that went back must not stop the stamping until it has caught up.
        waited = now - last.at >= self._stamping.every_ms or now < last.at
        return proven if waited and proven.size != last.size else None

    async def _asked(self, stamping: Stamping, proven: Proven) -> StampPaper:
        body = parse_note(proven.note).checkpoint.note_body()
        nonce = int.from_bytes(self._member.ports.entropy.bytes(8), "big") >> 1
        token = token_of(await stamping.authority.stamp(build_request(body, nonce)))
        said = check_token(token, body, stamping.certificates, nonce)
        made = self._made(proven.size)
        if said.before + STAMP_SLACK_MS < made:
            raise TokenRefused(
                f"{said.authority} dates it {(made - said.before) // 1000} s before the block that it stamps: one of "
                f"the clocks is wrong"
            )
        return StampPaper(proven.size, proven.root, token, said.before, said.authority)

    def _made(self, size: int) -> int:
        """Header time of the block that the log of this size ends with."""
        leaf = self._member.ports.ledger.leaf(size - 1)
        fields = block_fields(leaf) if leaf is not None else None
        return 0 if fields is None else fields[1]

    def _failed(self, stamping: Stamping, why: Exception) -> None:
        wait = min(RETRY_MS << min(self._failures, 16), max(stamping.every_ms, RETRY_MS))
        self._failures += 1
        self._again_at = self._member.now() + wait
        self._trouble = str(why)
        _log.warning(
            "time_stamp_failed",
            why=str(why),
            again_in_s=wait // 1000,
            do="see tsa_url and tsa_certificate in node.toml",
        )

    # ------------------------------------------------------------------------------------------------------ finding

    def covering(self, index: int) -> StampPaper | None:
        """The earliest token over a checkpoint that holds the leaf at `index`: the tightest end of its bracket."""
        found = self._papers.page(_GROUP, _key(index), 1)
        return found[0][1] if found else None

    def state(self) -> StampState:
        last = self._last.get(_LAST)
        paper = self._papers.get(_key(last.size)) if last is not None else None
        return StampState(
            self._stamping is not None,
            self._papers.count(),
            paper.size if paper is not None else 0,
            paper.before if paper is not None else 0,
            paper.name if paper is not None else "",
            self._trouble,
        )


def _key(size: int) -> bytes:
    return size.to_bytes(8, "big")
