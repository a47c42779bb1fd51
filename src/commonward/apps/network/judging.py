"""What is wrong with a consortium, in words: who is down, who lags, whether the ledger stands, and what to do.

The worst first. An empty list means that all is well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from commonward.apps.network.looking import NodeSeen, Seen

LAG_BLOCKS: Final = 5
"""A node this far behind the front is said to lag; fewer blocks are on their way."""

STANDS_MS: Final = 60_000
"""The ledger makes a checkpoint that is cosigned again every 30 s even when idle: older than this, it stands."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`grave`: the ledger itself stands, or somebody is at fault; else one node has a problem of its own. `later`: not
    yet a problem, but it will be."""

    what: str
    do: str
    grave: bool = False
    later: bool = False


def judge(seen: Seen) -> list[Trouble]:
    """Every trouble that shows."""
    graves = [*_differing(seen), *_faults(seen), *_standing(seen)]
    return [*graves, *_down(seen), *_lagging(seen), *_silent(seen), *_accused(seen), *_ending(seen)]


def _differing(seen: Seen) -> list[Trouble]:
    differing = [node.member for node in seen.nodes if node.same_root is False]
    if not differing:
        return []
    return [
        Trouble(
            f"{_and(differing)} computed another root than {seen.up[0].member} for the same size of the log",
            "stop using what differs from the most, keep its folder, and run `commonward doctor` on both",
            grave=True,
        )
    ]


def _faults(seen: Seen) -> list[Trouble]:
    return [
        Trouble(f"{node.member} has stopped following: {node.status['fault']}", "run `commonward doctor` there", True)
        for node in seen.up
        if node.status and node.status["fault"]
    ]


def _accused(seen: Seen) -> list[Trouble]:
    said = {member: why for node in seen.up if node.status for member, why in node.status["accused"].items()}
    do = "a node shows the proof on the ledger, which takes its weight away; ask the member what happened to its key"
    return [Trouble(f"{member} is proven false: {why}", do) for member, why in sorted(said.items())]


def _ending(seen: Seen) -> list[Trouble]:
    """What will end soon, each said once: a quorum's end, then each member's own keys and certificates."""
    found: dict[str, Trouble] = {}
    for node in seen.up:
        for each in node.status["ending"] if node.status else ():
            found.setdefault(each["text"], Trouble(each["text"], each["do"], later=True))
    return list(found.values())


def _standing(seen: Seen) -> list[Trouble]:
    """Whether blocks can be made, or checkpoints proven, with who is there."""
    if seen.sequencer is False:
        return [
            Trouble("the sequencer is down: nothing new gets onto the ledger", f"start it: {seen.start}", grave=True)
        ]
    if not seen.up:
        return [Trouble("no node answers", f"start them: {seen.start}", grave=True)]
    weights = seen.weights
    total = sum(weights.values())
    silent = {node.member for node in seen.nodes if node.status is None}
    if _settled(seen):
        silent |= {member for member, at in seen.others.items() if not _fresh(at, seen.at)}
    there = sum(weight for member, weight in weights.items() if member not in silent)
    if total and 3 * there <= 2 * total:
        missing = _and(sorted(silent & set(weights)))
        what = "the ledger stands still" if seen.engine == "cometbft" else "nothing new can be proven"
        return [
            Trouble(
                f"{what}: {missing} missing, only {there} of {total} votes are there and more than "
                f"{2 * total // 3} are needed",
                "nothing is lost; it goes on by itself once enough are back",
                grave=True,
            )
        ]
    if not any(node.status and node.status["live"] for node in seen.up):
        return [
            Trouble(
                "no quorum has cosigned within the last 60 s",
                "wait a moment after a start; else look at the clocks and the lines between members: commonward doctor",
                grave=True,
            )
        ]
    return []


def _down(seen: Seen) -> list[Trouble]:
    found = []
    for node in seen.nodes:
        if node.status is not None:
            continue
        log = f"see {node.log}"
        if node.process:
            found.append(Trouble(f"{node.member} runs, but does not answer", f"it may be starting; {log}"))
        elif node.process is False:
            found.append(Trouble(f"{node.member} is down", f"start it: {seen.start}; {log}"))
        else:
            found.append(Trouble(f"{node.member} does not answer", f"start it: {seen.start}; {log}"))
    return found


def _lagging(seen: Seen) -> list[Trouble]:
    found = []
    for node in seen.up:
        assert node.status is not None
        behind = seen.front - node.height
        line = node.status["line"]
        if line["trouble"]:
            found.append(Trouble(f"{node.member}: {line['trouble']}", f"see {node.log}"))
        elif behind > LAG_BLOCKS or line["catching_up"]:
            found.append(Trouble(f"{node.member} catches up: {behind} blocks behind", "wait; it goes on by itself"))
        elif line["of"] and not line["peers"]:
            found.append(Trouble(f"{node.member} hears of nobody", "look at its addresses and its network"))
    return found


def _silent(seen: Seen) -> list[Trouble]:
    """Members with votes that have not cosigned lately: elsewhere down or cut off, here with a clock that is wrong."""
    if not _settled(seen):
        return []
    known = {node.member for node in seen.nodes if node.status is None or node.status["line"]["trouble"]}
    found = []
    for member in sorted(seen.weights.keys() - known):
        at = seen.cosigned.get(member)
        if not _fresh(at, seen.at):
            since = "since the nodes here started" if at is None else f"for {ago(seen.at - at)}"
            do = "is its node up, its line, its clock? `commonward doctor` there says"
            found.append(Trouble(f"{member} has not cosigned {since}", do))
    return found


def _settled(seen: Seen) -> bool:
    """Whether a node here has run long enough to have heard of everyone: each cosigns again every 30 s."""
    return any(node.status is not None and node.status["up_ms"] > STANDS_MS for node in seen.up)


def _fresh(at: int | None, now: int) -> bool:
    return at is not None and now - at <= STANDS_MS


def well(troubles: list[Trouble]) -> bool:
    """Whether nothing is wrong now."""
    return all(each.later for each in troubles)


def lag(node: NodeSeen, seen: Seen) -> int:
    return max(0, seen.front - node.height)


def ago(ms: float) -> str:
    """A time span for people: 0 s to days."""
    seconds = max(0, int(ms // 1000))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 172_800:
        return f"{seconds // 3600} h"
    return f"{seconds // 86_400} days"


def _and(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
