"""What each setting of CometBFT buys: four validators under one load, one setting at a time put back to its default.

Paired with a run of all settings as they are, over the same stores and minutes; docs/cometbft.md says why each is so.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Final

from bench._machine import scratch
from bench._network import Load, founded_network
from bench.network import PATIENCE_S, UNDER_WAY, WARM_S, WINDOW_S, Net, Rates
from bench.results import Result

BACK: Final[Mapping[str, Mapping[str, object]]] = {
    "gossip 100 ms": {"gossip_ms": 100},
    "flush 100 ms": {"flush_ms": 100},
    "packets of 1 KiB, 5 MB/s": {"packet": 1024, "rate": 5_120_000},
    "commit 1 s": {"commit_ms": 1000},
    "GOGC 100": {"go_collector": 100},
}
"""By what they are called in the results: CometBFT's own defaults (0.38.25), as `Tuning` names them."""

SECONDS: Final = WARM_S + 2 * WINDOW_S


def run(scale: float = 1.0) -> Iterator[Result]:
    seconds = max(WARM_S + WINDOW_S, SECONDS * scale)
    with scratch() as folder:
        net = Net(founded_network(folder))
        try:
            _measured(net, {}, WARM_S)  # caches and stores are warm for all
            tuned = _measured(net, {}, seconds)
            yield _result("as it is", tuned, tuned)
            for name, tuning in BACK.items():
                try:
                    yield _result(name, _measured(net, tuning, seconds), tuned)
                except (RuntimeError, TimeoutError, OSError, EOFError) as why:
                    yield Result(name=f"tuning, {name}", value=0, unit="tx/s", conditions=f"not measured: {why}"[:200])
                    return
        finally:
            net.kill()


def _measured(net: Net, tuning: Mapping[str, object], seconds: float) -> Rates:
    net.start(net.voters, **tuning)
    net.ask(net.voters, "ready", len(net.voters) - 1, patience_s=2 * PATIENCE_S)
    found = net.load(Load(kind="receipt", window=UNDER_WAY // 2, seconds=seconds))
    net.stop(net.voters)
    return found


def _result(name: str, found: Rates, tuned: Rates) -> Result:
    return Result(
        name=f"tuning, {name}", value=found.rate, unit="tx/s", reference="as it is", reference_value=tuned.rate,
        conditions=f"p95 {found.p95:.2f} s (as it is: {tuned.p95:.2f} s); processor time a transaction, all four: "
        f"{found.own * 1e6:.0f} us ours, {found.comet * 1e6:.0f} us CometBFT's (as it is: {tuned.own * 1e6:.0f}, "
        f"{tuned.comet * 1e6:.0f}); {found.said}; {os.cpu_count()} cores",
    )  # fmt: skip
