"""The running node: does it answer, does it listen, is the ledger live, and did it catch its operator at something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from commonward.adapters.store.errors import StoreError
from commonward.adapters.store.readonly import peek
from commonward.apps.api.client import ControlClient, NodeAway, NodeRefused
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.probing import listens, why_not_free
from commonward.apps.settings import Settings
from commonward.workflows.faults import OperatorFault

_FAULT_KEY: Final = b"if"
"""Where a node keeps the proof of its operator's fault (`workflows.replica`)."""


def status_of(settings: Settings) -> dict[str, Any] | None:
    try:
        found = ControlClient(settings, 5.0).get("/status")
    except (NodeAway, NodeRefused):
        return None
    return found if isinstance(found, dict) else None


def node(settings: Settings, status: dict[str, Any] | None) -> Iterator[Finding]:
    log = settings.data / "node.log"
    if status is None:
        yield warn("node", "it does not answer on its control socket", f"start it: commonward node {settings.data}")
        for name, address in (("members", settings.listen), ("patients", settings.signing)):
            why = why_not_free(address)
            do = f"see what holds it, or change the address in node.toml; {log} may say more"
            yield (
                fail("port", f"{address}, for {name}: {why}", do) if why else ok("port", f"{address}, for {name}: free")
            )
        return
    yield ok("node", f"answers; height {status['height']:,}, log size {status['size']:,}")
    if not status["connected"]:
        whom, line = ("the others", "CometBFT") if settings.engine == "cometbft" else ("the sequencer", "the sequencer")
        yield fail("node", f"it has no line to {whom}", f"see what is said of {line} below, and {log}")
    elif not status["live"]:
        do = "see which members cosign (`commonward network status`); until then care goes on under the grace rules"
        yield warn("node", "the ledger is not proven live: too few members cosigned in the last minute", do)
    elif status.get("proven"):
        yield ok("cosigned", f"lately by {', '.join(status['proven']['members'])}")
    for name, address in (("members", settings.listen), ("patients", settings.signing)):
        if listens(address):
            yield ok("port", f"{address}, for {name}: listening")
        else:
            do = f"see {log}; is the address one of this machine?"
            yield warn("port", f"{address}, for {name}: nothing listens though the node runs", do)


def stored_fault(settings: Settings) -> bytes | None:
    """The proof file of the operator's fault that this node keeps. Raises StoreError."""
    return peek(settings.ledger_directory / "state", _FAULT_KEY)


def operator(settings: Settings, status: dict[str, Any] | None) -> Finding:
    said = status.get("fault") if status else None
    try:
        kept = stored_fault(settings)
        fault = said or (str(OperatorFault.parse(kept)) if kept else None)
    except (StoreError, ValueError) as why:
        if not said:
            return warn(
                "operator", f"whether a fault was recorded cannot be read: {why}", "stop the node and look again"
            )
        fault = said
    if fault:
        do = "show it to the other members (--proof FILE saves the proof); they decide on another operator by vote"
        return fail("operator", str(fault), do)
    return ok("operator", "no fault of who runs the sequencer is recorded")
