"""How a node stands, in Prometheus' text format 0.0.4, for whatever collects metrics here.

Numbers about this node and public facts of the ledger; nothing of patients, staff or records. Times are ages in
seconds, so that an alarm needs no clock but its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from commonward.adapters.keys import KeyFileMissing, KeyFileUnreadable
from commonward.apps.announcing import ends_of
from commonward.apps.wiring import Node
from commonward.ledger.ids import MemberId, Purpose

__all__ = ["CONTENT_TYPE", "Metric", "metrics_of", "written"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Metric:
    """One value: a gauge, which may go up and down. Values of one name stand together, with one `help`."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _of(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(labels.items())


def metrics_of(node: Node) -> list[Metric]:
    """All there is to tell of a running node now."""
    return [*_ledger(node), *_line(node), *_waiting(node), *_lasting(node)]


def _ledger(node: Node) -> Iterator[Metric]:
    replica, now = node.replica, node.member.now()
    about = _of(engine=node.settings.engine, ledger=replica.ledger_id.hex(), member=node.settings.member)
    yield Metric("info", "Which node this is; always 1.", 1, about)
    yield Metric("up_seconds", "Since the node was opened.", node.up_ms() / 1000)
    yield Metric("height", "Of the last block executed.", replica.height)
    yield Metric("log_size", "Leaves of the ledger's log.", replica.recent()[0])
    last = node.last_block_ms()
    if last is not None:
        yield Metric("last_block_seconds", "Since this node executed a block.", last / 1000)
    yield Metric("live", "1 while a quorum stood by the ledger within the last 60 s.", replica.proven_live())
    proven = replica.proven()
    if proven is not None:
        age = max(0, now - proven.fresh) / 1000
        yield Metric("proven_seconds", "Since more than two thirds of the weight cosigned.", age)
    yield Metric("halted", "1 once this node follows the ledger no more; `doctor` says why.", bool(replica.fault))
    yield Metric("accused_members", "Members that this node caught at signing two roots.", len(replica.accused))
    heard = replica.heard()
    for each in replica.authority.cosigners:
        at = heard.get(each.member)
        if at is not None:
            age = max(0, now - at) / 1000
            yield Metric("cosigned_seconds", "Since each member cosigned.", age, _of(member=each.member))


def _line(node: Node) -> Iterator[Metric]:
    line = node.line()
    yield Metric("connected", "1 while this node is on the line to who orders.", node.replica.connected)
    yield Metric("catching_up", "1 while it fetches what it missed.", line.catching_up)
    yield Metric("peers", "Those it hears blocks from.", len(line.peers))
    yield Metric("peers_expected", "Those it should hear blocks from.", len(line.of))
    if line.height is not None:
        lag = max(0, line.height - node.replica.height)
        yield Metric("lag_blocks", "Blocks that CometBFT has and this node has not executed.", lag)
    if line.power is not None:
        yield Metric("validator_power", "Of this node's validator; 0 for one that follows.", line.power)


def _waiting(node: Node) -> Iterator[Metric]:
    for kind in ("early", "onward"):
        count = node.vault.count(f"deposits-{kind}")
        yield Metric("deposits_waiting", "Sealed openings that wait, for a block or a member.", count, _of(kind=kind))
    yield Metric("dead_letters", "Messages that could not be taken in.", node.vault.count("dead-letters"))
    waiting = sum(1 for _, recall in node.office.recalls.recalls.every() if not recall.ack)
    yield Metric("recalls_waiting", "Recalls that a recipient has not confirmed.", waiting)
    yield Metric("glasses_open", "Broken glasses that wait for their review.", len(node.office.glass.open()))
    free = shutil.disk_usage(node.settings.data).free
    yield Metric("disk_free_bytes", "On the disk of the data directory.", free)


def _lasting(node: Node) -> Iterator[Metric]:
    now = node.member.now()
    roll = node.replica.machine.view().roll
    for purpose in Purpose:
        key = roll.key(node.keys.public(purpose)[2]) if node.keys.has(purpose) else None
        if key is not None:
            days, which = (key.ends - now) / _DAY_MS, _of(purpose=purpose.name.lower())
            yield Metric("key_days", "Until the key in use ends, as the ledger has it.", days, which)
    certificates = {"ca": roll.certificate(MemberId(node.settings.member)), "tls": _tls(node)}
    for name, der in certificates.items():
        ends = ends_of(der or b"")
        if ends is not None:
            yield Metric("certificate_days", "Until this certificate ends.", (ends - now) / _DAY_MS, _of(kind=name))


def _tls(node: Node) -> bytes | None:
    try:
        return node.keys.tls_certificate
    except (KeyFileMissing, KeyFileUnreadable):
        return None  # `doctor` names a file that is missing


def written(metrics: list[Metric]) -> str:
    """As Prometheus reads them: each name once with its help and type, then its values; a line feed at the end."""
    lines: list[str] = []
    for name in dict.fromkeys(metric.name for metric in metrics):
        same = [metric for metric in metrics if metric.name == name]
        full = f"commonward_{name}"
        lines += [f"# HELP {full} {_escaped(same[0].help)}", f"# TYPE {full} gauge"]
        lines += [f"{full}{_labels(metric.labels)} {_number(metric.value)}" for metric in same]
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    said = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels)
    return f"{{{said}}}" if said else ""


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    whole = int(value)
    return str(whole) if whole == value else f"{value:.3f}"
