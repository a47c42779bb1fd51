"""Results as people read them: a table on the terminal, and docs/performance.md."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.results import Result

__all__ = ["machine", "number", "page"]


def number(value: float | None) -> str:
    """Three significant digits, whole numbers in full, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 100 or value == int(value):
        return f"{round(value):,}"
    return f"{value:.3g}"


def machine() -> str:
    """The machine in a line: processor, cores this process may use, memory, Python."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{cpu}, {cores} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def _goal(result: Result) -> str:
    if result.goal is None:
        return ""
    return f"{'at least' if result.more_is_better else 'at most'} {number(result.goal)}"


def _verdict(result: Result) -> str:
    return {True: "met", False: "**missed**", None: ""}[result.met]


def _reference(result: Result) -> str:
    if result.reference is None:
        return ""
    return f"{result.reference}: {number(result.reference_value)}"


def table(results: Sequence[Result]) -> str:
    """A table in Markdown."""
    lines = [
        "| what | value | unit | goal | | beside it, same run | ratio | conditions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {number(r.value)} | {r.unit} | {_goal(r)} | {_verdict(r)} | {_reference(r)} "
        f"| {number(r.ratio)} | {r.conditions} |"
        for r in results
    ]
    return "\n".join(lines)


def page(sections: Mapping[str, tuple[str, str, Sequence[Result]]]) -> str:
    """The whole of docs/performance.md.

    Args:
        sections: by benchmark: its text, the command that runs it, its results.
    """
    judged = [r for _, _, results in sections.values() for r in results if r.goal is not None]
    parts = [
        "# Performance",
        "",
        "Written by `make bench`. Each figure has beside it a floor or a peer measured in the same run; absolute",
        "figures move with the machine and its load, ratios less so.",
        "",
        f"- Machine: {machine()}",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Goals met: {sum(1 for r in judged if r.met)} of {len(judged)}",
        "",
    ]
    for name, (text, command, results) in sections.items():
        parts += [f"## {name}", "", text, "", f"    {command}", "", table(results), ""]
        figure = Path("docs/figures") / f"{name}.svg"
        if figure.exists():
            parts += [f"![{name}](figures/{name}.svg)", ""]
    return "\n".join(parts)
