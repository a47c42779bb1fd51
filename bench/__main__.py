"""`python -m bench`: list, run, report."""

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import bench
from bench.report import number, page
from bench.results import Result, Unavailable

HARNESS = {"__main__", "report", "results"}


def names() -> list[str]:
    """The benchmarks: modules of this package that have a `run`."""
    found = (module.name for module in pkgutil.iter_modules(bench.__path__) if module.name not in HARNESS)
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")


def about(module: ModuleType) -> str:
    """The first paragraph of the docstring."""
    return (inspect.getdoc(module) or "").partition("\n\n")[0]


def execute(module: ModuleType, scale: float, data: Path | None = None) -> Iterator[Result]:
    """Its results. Raises Unavailable where it lacks data that it must be given."""
    taken = inspect.signature(module.run).parameters
    given = {"scale": scale, "data": data}
    results: Iterable[Result] = module.run(**{name: value for name, value in given.items() if name in taken})
    yield from results


def line(result: Result) -> str:
    beside = f"  ({result.reference}: {number(result.reference_value)})" if result.reference else ""
    verdict = {True: "  goal met", False: f"  GOAL MISSED ({number(result.goal)})", None: ""}[result.met]
    return f"{result.name}: {number(result.value)} {result.unit}{beside}{verdict}  [{result.conditions}]"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, beside a floor or a peer.")
    parser.add_argument("name", nargs="*", help="benchmarks to run; none lists them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the run: 0.1 is a tenth")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="data that may not be in the repository, where asked"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="run all (or those named) and write a page")
    options = parser.parse_args(arguments)
    known = names()
    if unknown := sorted(set(options.name) - set(known)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    if not options.name and options.write is None:
        for name in known:
            print(f"{name:12} {about(load(name)).splitlines()[0]}")
        return 0
    sections: dict[str, tuple[str, str, list[Result]]] = {}
    missed = unmeasured = 0
    for name in options.name or known:
        module, results, started = load(name), [], time.perf_counter()
        try:
            for result in execute(module, options.scale, options.data):
                print(json.dumps(result.to_json()) if options.json else f"{name:10} {line(result)}", flush=True)
                results.append(result)
                missed += result.met is False
        except Unavailable as cause:
            print(f"{name:10} not measured: {cause}", file=sys.stderr)
            # Who asks for it by name must not take silence for a result; a run of all goes on without it.
            unmeasured += name in options.name
            continue
        command = f"python -m bench {name}" + (f" --scale {options.scale:g}" if options.scale != 1 else "")
        sections[name] = (about(module), command, results)
        if not options.json:
            print(f"{name:10} took {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(page(sections), encoding="utf-8")
    return 2 if unmeasured else 0


if __name__ == "__main__":
    sys.exit(main())
