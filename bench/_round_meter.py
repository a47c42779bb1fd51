"""Where the time of a round goes: processor seconds by kind of work, each counted once, on whatever thread."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from sqlalchemy.engine.base import RootTransaction

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.vault import SqlVault
from commonward.ledger import proofs
from commonward.ledger.transition import Machine
from commonward.records import envelope
from commonward.workflows.training import attempts, exchange
from tests.ledgerkit import SoftKey
from tests.memory_engine import SoftKeys

AGGREGATION = "aggregation"
BLOCKS = "ledger blocks: checks, execution, state"
CHECKED = "signatures checked"
COMMITS = "vault commits"
EXCHANGE = "sealing and HPKE"
LOGS = "block logs"
MANIFESTS = "manifests"
SIGNED = "signatures made"
VAULT = "vault reads and writes"

PLACES: tuple[tuple[str, Any, str], ...] = (
    (AGGREGATION, attempts, "aggregate"),
    (BLOCKS, Machine, "check"),
    (BLOCKS, Machine, "stage"),
    (BLOCKS, Machine, "commit"),
    (CHECKED, proofs, "crypto_sign_open"),
    (COMMITS, RootTransaction, "commit"),
    (EXCHANGE, SoftKeys, "open_sealed"),
    (EXCHANGE, exchange, "seal_to"),
    (EXCHANGE, exchange, "seal_bytes"),
    (EXCHANGE, exchange, "open_bytes"),
    (EXCHANGE, envelope, "seal_bytes"),
    (EXCHANGE, envelope, "open_bytes"),
    (LOGS, BlockFiles, "append"),
    (MANIFESTS, attempts, "manifest_of"),
    (SIGNED, SoftKey, "sign"),
    (VAULT, SqlVault, "get"),
    (VAULT, SqlVault, "put"),
    (VAULT, SqlVault, "remove"),
    (VAULT, SqlVault, "_page"),
)


class Meter:
    """Per kind of work: processor seconds without what it called of other kinds, wall seconds with it, and calls."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._inner = threading.local()
        self._lock = threading.Lock()

    def _metered(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def call(*args: Any, **more: Any) -> Any:
            stack = self._inner.__dict__.setdefault("stack", [])
            stack.append(0.0)
            began, cpu = time.perf_counter(), time.thread_time()
            try:
                return work(*args, **more)
            finally:
                spent, took = time.thread_time() - cpu, time.perf_counter() - began
                inner = stack.pop()
                if stack:
                    stack[-1] += spent
                with self._lock:
                    self.cpu[kind] += spent - inner
                    self.wall[kind] += took
                    self.calls[kind] += 1

        return call

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, owner, name in PLACES:
                stack.enter_context(patch.object(owner, name, self._metered(kind, getattr(owner, name))))
            yield
