"""What a test of the network tells when it waited in vain: how each node stands, and the end of each CometBFT's log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["last_lines", "story"]

LINES = 20
_TAIL = 64 << 10


def last_lines(log: Path, count: int = LINES) -> str:
    """The end of a log, indented; of CometBFT's own, which are JSON, what they say."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
    except OSError as why:
        return f"    (no log: {why})"
    return "\n".join(f"    {_said(line)}" for line in lines) or "    (its log is empty)"


def _said(line: str) -> str:
    try:
        found = json.loads(line)
        told = " ".join(f"{key}={value}" for key, value in found.items() if key not in ("ts", "level", "_msg"))
        return f"{found['ts'][11:23]} {found['level']} {found['_msg']} {told}"[:400]
    except (ValueError, TypeError, KeyError, AttributeError):
        return line[:400]


def _try(what: Callable[[], Any]) -> Any:
    """What a node says, or why it cannot: telling must not hide what is told of."""
    try:
        return what()
    except Exception as why:
        return repr(why)


def story(net: Any) -> str:
    """How each node of a `Net` stands."""
    return "\n".join(_node(name, node, net.home(name) / "cometbft.log") for name, node in net.nodes.items())


def _node(name: str, node: Any, log: Path) -> str:
    facts: dict[str, Callable[[], Any]] = {
        "height": lambda: node.replica.height,
        "size": lambda: node.replica.machine.tip.size,
        "connected": lambda: node.replica.connected,
        "failure": lambda: node.failure,
        "pid": lambda: node.engine.pid,
        "snapshots": lambda: node.snapshots and [each.height for each in node.snapshots.offers()],
        "engine": node.engine.status,
    }
    said = " ".join(f"{key}={_try(fact)}" for key, fact in facts.items())
    return f"  {name}: {said}\n{last_lines(log)}"
