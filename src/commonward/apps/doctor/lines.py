"""What the other members signed for the ledger: how far each is, and whether at one size all have one root.

Each is asked over mutual TLS, past whoever orders, and its checkpoint is held against our own node's log, which keeps
the root of every size. Another root is a fork of the ledger or a broken node: it is named, and the other's signed note
is kept for who has to prove it (`commonward verify --against` reads it).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from commonward.adapters.peers import PeerClient
from commonward.adapters.peers.identity import Resolve
from commonward.apps.api.client import ControlClient, NodeAway, NodeRefused
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.settings import Settings
from commonward.ledger.checkpoint import Checkpoint, Note, NoteError, SignatureLine, origin_of, parse_note
from commonward.ledger.encoding import encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId
from commonward.workflows.exchange import COSIGNED_PATH, BadTelling, parse
from commonward.workflows.following import HEAD_PATH
from commonward.workflows.ports import PeerAway

_ANSWER_S: Final = 5.0
_CATCH_UP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Head:
    """The last checkpoint that a member shows, with whatever is signed under it; or why it shows none."""

    note: Note | None
    why: str = ""


async def heads(
    settings: Settings, genesis: Genesis, context: ssl.SSLContext, resolve: Resolve
) -> dict[MemberId, Head]:
    """Ask every member that has an address."""
    addresses = {MemberId(name): (each.host, each.port) for name, each in settings.peers.items()}
    client = PeerClient(MemberId(settings.member), context, addresses, resolve, connect_s=_ANSWER_S, answer_s=_ANSWER_S)
    try:
        said = await asyncio.gather(*(_head(client, genesis, member) for member in addresses))
    finally:
        await client.close()
    return dict(zip(addresses, said, strict=True))


async def _head(client: PeerClient, genesis: Genesis, member: MemberId) -> Head:
    try:
        if not genesis.consensus:
            said = await client.ask(member, HEAD_PATH, b"")
            return Head(parse_note(said)) if said else Head(None, "it has no block yet")
        return _told(genesis, member, await client.ask(member, COSIGNED_PATH, encode([])))
    except (PeerAway, BadTelling, NoteError) as why:
        return Head(None, str(why))


def _told(genesis: Genesis, member: MemberId, said: bytes) -> Head:
    """Under consensus nobody signs a checkpoint before the members cosign it: what it cosigned is its word."""
    origin = origin_of(genesis.ledger_id)
    known = parse(said)
    own = max((each for each in known if each[0] == member), key=lambda each: each[1], default=None)
    shown = own or max(known, key=lambda each: each[1], default=None)
    if shown is None:
        return Head(None, "it knows no cosignature yet")
    _, size, root, _ = shown
    lines = [SignatureLine.parse(line.removesuffix("\n")) for _, at, of, line in known if (at, of) == (size, root)]
    return Head(Note(Checkpoint(origin, size, root), tuple(lines)))


def compared(
    settings: Settings, genesis: Genesis, found: Mapping[MemberId, Head]
) -> Iterator[tuple[Finding, tuple[MemberId, Note] | None]]:
    """Findings, with a member's note where that is evidence against somebody. Asks our own running node."""
    own = ControlClient(settings, _ANSWER_S)
    ahead: dict[MemberId, int] = {}
    agreed: list[str] = []
    for member, head in sorted(found.items()):
        if head.note is None:
            continue  # who is away is named by the line on its address
        theirs = head.note.checkpoint
        if theirs.origin != origin_of(genesis.ledger_id):
            do = "one of the two has another genesis.cwg: compare the ledger ids that `commonward doctor` says"
            yield fail("roots", f"{member} keeps another ledger, {theirs.origin}", do), None
            continue
        ours = _root(own, theirs.size)
        if ours is None:
            ahead[member] = theirs.size
        elif ours != theirs.root.hex():
            do = (
                "keep its note (--notes FOLDER), show it to the other members, and run `commonward doctor --deep` at "
                "both: whose log does not follow from the blocks is wrong"
            )
            signed = f"{member} stands by root {theirs.root.hex()} for size {theirs.size}; ours there is {ours}"
            yield fail("roots", signed, do), (member, head.note)
        else:
            agreed.append(member)
    if agreed:
        yield ok("roots", f"same as of {', '.join(agreed)}, each at the size it shows"), None
    yield _lag(own, ahead), None


def _root(own: ControlClient, size: int) -> str | None:
    """None where our node is not so far."""
    try:
        said = own.get("/root", size=size)
    except (NodeAway, NodeRefused):
        return None
    return str(said["root"])


def _lag(own: ControlClient, ahead: Mapping[MemberId, int]) -> Finding:
    """A node in step is a block or two behind for moments; one that stays behind has lost its line, or its pace."""
    if not ahead:
        return ok("lag", "no member is ahead of this node")
    goal = max(ahead.values())
    started, first = time.monotonic(), _size(own)
    while (now := _size(own)) < goal and time.monotonic() < started + _CATCH_UP_S:
        time.sleep(0.2)
    if now >= goal:
        return ok("lag", f"{goal - first} leaves behind when asked, none {time.monotonic() - started:.1f} s later")
    pace = (now - first) / _CATCH_UP_S
    found = f"{goal - now:,} leaves behind {', '.join(sorted(ahead))}"
    if pace > 0:
        return warn("lag", f"{found}, catching up {pace:,.0f} a second", "wait; a node that catches up cosigns nothing")
    do = "see the node's log: is it on the line, has the disk room, did the rules change (see `rules`)?"
    return fail("lag", f"{found}, and standing still", do)


def _size(own: ControlClient) -> int:
    try:
        return int(own.get("/status")["size"])
    except (NodeAway, NodeRefused):
        return -1
