"""The consortium on a terminal: a headline that says how it is, a line for each member, and what to do about the rest.

The same facts as a table for people, as lines for a log, and as JSON for machines.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from commonward.apps.network.judging import Trouble, ago, judge, lag, well
from commonward.apps.network.looking import NodeSeen, Seen

_COLUMNS: Final = ("member", "node", "height", "last block", "lag", "peers", "cosigned by", "root", "votes")
_WORDS: Final = {"solo": "one member's sequencer (solo)", "cometbft": "the members together (CometBFT)"}


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def headline(seen: Seen, troubles: list[Trouble]) -> str:
    """One sentence: does the ledger run, and for how many."""
    up = f"{len(seen.up)} of {len(seen.nodes)} nodes up"
    graves = [each for each in troubles if each.grave]
    if graves:
        return f"TROUBLE: {graves[0].what} ({up})"
    now = [each for each in troubles if not each.later]
    if now:
        return f"The ledger runs, but {now[0].what}" + (f", and {len(now) - 1} more below" if len(now) > 1 else "")
    soon = f"; {len(troubles)} to see to in time, below" if troubles else ""
    return f"All is well: {up}, at block {seen.front:,}{soon}"


def screen(seen: Seen, hint: str = "") -> RenderableType:
    """All of it, for a terminal."""
    troubles = judge(seen)
    worst = "bold red" if any(each.grave for each in troubles) else "bold green" if well(troubles) else "bold yellow"
    ledger = next((str(node.status["ledger"])[:16] for node in seen.up if node.status), "unknown")
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for node in seen.nodes:
        table.add_row(*_cells(node, seen))
    for member, at in sorted(seen.others.items()):
        stood = "not heard" if at is None else f"{ago(seen.at - at)} ago"
        votes = str(seen.weights.get(member, 0))
        table.add_row(Text(member), Text("remote", style="dim"), "", "", "", "", Text(stood), "", Text(votes))
    parts: list[RenderableType] = [
        Text.assemble((seen.name, "bold"), f"  {_when(seen.at)}"),
        Text(f"ledger {ledger}, ordered by {_WORDS[seen.engine]}", style="dim"),
        Text(headline(seen, troubles), style=worst),
        Text(""),
        table,
    ]
    if seen.sequencer is not None:
        parts += [Text(""), _word("sequencer: ", "running" if seen.sequencer else "DOWN", good=seen.sequencer)]
    if troubles:
        parts += [Text(""), Text("What to do", style="bold")]
        parts += [
            Text.assemble(
                "! " if each.grave else "- ", (each.what, "red" if each.grave else "yellow"), f"\n    {each.do}"
            )
            for each in troubles
        ]
    if hint:
        parts += [Text(""), Text(hint, style="dim")]
    return Group(*parts)


def _word(before: str, word: str, *, good: bool) -> Text:
    return Text.assemble(before, (word, "green" if good else "bold red"))


def _cells(node: NodeSeen, seen: Seen) -> list[Text]:
    votes = Text("" if node.weight is None else str(node.weight))
    if node.status is None:
        word = "silent" if node.process else "DOWN"
        return [Text(node.member), Text(word, style="bold red"), *(Text("-", style="dim") for _ in range(6)), votes]
    facts = _facts(node, seen)
    behind, root = facts["lag"], facts["same_root"]
    catching = facts["catching_up"]
    return [
        Text(node.member),
        Text("behind" if catching else "up", style="yellow" if catching else "green"),
        Text(f"{facts['height']:,}"),
        Text("none yet" if facts["last_block_ms"] is None else f"{ago(facts['last_block_ms'])} ago"),
        Text(str(behind), style="yellow" if behind > 1 else ""),
        Text(f"{len(facts['peers'])} of {len(facts['of'])}", style="" if facts["peers"] else "yellow"),
        Text(_cosigned(node)),
        Text({True: "same", False: "DIFFERS", None: "-"}[root], style="bold red" if root is False else ""),
        votes,
    ]


def _cosigned(node: NodeSeen) -> str:
    """How many of those with votes stand under this node's newest proof."""
    assert node.status is not None
    wanted = {each["member"] for each in node.status["cosigners"] if each["weight"]}
    proven = node.status["proven"]
    return f"{len(wanted & set(proven['members'] if proven else ()))} of {len(wanted)}"


def _facts(node: NodeSeen, seen: Seen) -> dict[str, Any]:
    """What the screen says of a node, for machines."""
    status = node.status
    if status is None:
        return {
            "member": node.member,
            "up": False,
            "process": node.process,
            "weight": node.weight,
            "log": str(node.log) if node.log else None,
        }
    proven = status["proven"]
    return {
        "member": node.member,
        "up": True,
        "process": node.process,
        "weight": node.weight,
        "height": status["height"],
        "size": status["size"],
        "root": status["root"],
        "last_block_ms": status["last_block_ms"],
        "lag": lag(node, seen),
        "catching_up": status["line"]["catching_up"],
        "peers": status["line"]["peers"],
        "of": status["line"]["of"],
        "cosigned_by": proven["members"] if proven else [],
        "live": status["live"],
        "same_root": node.same_root,
        "fault": status["fault"],
    }


def described(seen: Seen) -> dict[str, Any]:
    """All of it, for machines."""
    troubles = judge(seen)
    return {
        "name": seen.name,
        "engine": seen.engine,
        "at": seen.at,
        "well": well(troubles),
        "height": seen.front,
        "sequencer": seen.sequencer,
        "nodes": [_facts(node, seen) for node in seen.nodes],
        "elsewhere": [{"member": member, "cosigned_at": at} for member, at in sorted(seen.others.items())],
        "troubles": [{"what": each.what, "do": each.do, "grave": each.grave, "later": each.later} for each in troubles],
    }


def lines(seen: Seen) -> list[str]:
    """All of it, for a log: one line for the whole, one for each member, one for each trouble."""
    troubles = judge(seen)
    found = [f"{_when(seen.at)}  {headline(seen, troubles)}"]
    for node in seen.nodes:
        facts = _facts(node, seen)
        if not facts["up"]:
            found.append(f"  {node.member:<14} {'not answering' if node.process else 'DOWN'}")
            continue
        last = "none yet" if facts["last_block_ms"] is None else f"{ago(facts['last_block_ms'])} ago"
        root = {True: "same root", False: "ANOTHER ROOT", None: "root not compared"}[facts["same_root"]]
        found.append(
            f"  {node.member:<14} {'catching up' if facts['catching_up'] else 'up'}, height {facts['height']:,}, "
            f"last block {last}, lag {facts['lag']}, peers {len(facts['peers'])} of {len(facts['of'])}, "
            f"cosigned by {_cosigned(node)}, {root}"
        )
    for member, at in sorted(seen.others.items()):
        found.append(
            f"  {member:<14} elsewhere, " + ("not seen" if at is None else f"cosigned {ago(seen.at - at)} ago")
        )
    return [*found, *(f"  {'!' if each.grave else '-'} {each.what}: {each.do}" for each in troubles)]
