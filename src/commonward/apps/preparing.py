"""What prepares records for the vault, in this process or in a worker, which imports this module and little else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta, timezone, tzinfo
from multiprocessing import connection
from zoneinfo import ZoneInfo

from commonward.adapters import fhir, hl7v2
from commonward.apps.photographs.paper import KIND as PHOTOGRAPH
from commonward.apps.settings import BadSettings
from commonward.workflows.ingest import Tools, start_worker
from commonward.workflows.ports import Cut, Cutter, Piece, StorageKeys


class _Entropy:
    """Implements `workflows.ports.Entropy`; here and not from `wiring`, whose imports take a worker a second."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


def zone(text: str) -> tzinfo:
    """`+08:00` or a name such as `Asia/Shanghai`. Raises BadSettings."""
    sign, hours, colon, minutes = text[:1], text[1:3], text[3:4], text[4:]
    if sign in "+-" and colon == ":" and (hours + minutes).isdigit() and len(minutes) == 2 and int(hours) < 15:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(offset if sign == "+" else -offset)
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError) as cause:
        raise BadSettings(f"time_zone: expected +HH:MM or a name such as Asia/Shanghai, got {text!r}") from cause


def make_tools(storage: StorageKeys, time_zone: str) -> Tools:
    """What prepares pieces, in this process or in a worker."""
    translator = hl7v2.Hl7Translator(hl7v2.Context(zone=zone(time_zone)))
    cutters: dict[str, Cutter] = {fhir.SLAB_KIND: fhir.SlabCutter(), PHOTOGRAPH: _Photographs()}
    return Tools(storage, _Entropy(), fhir.Validator(), {"hl7v2": translator}, cutters)


class _Photographs:
    """Reads dead letters of photographs. Loads what reads pictures (the extra `learning`) when there is one to read."""

    def cut(self, slab: Piece) -> Iterable[Cut | Piece]:
        """As `apps.photographs.reading.PhotographCutter`."""
        from commonward.apps.photographs.reading import PhotographCutter

        return PhotographCutter().cut(slab)


def begin_worker(make: Callable[[], Tools]) -> None:
    """The initialiser of a worker process."""
    begin_reader()
    start_worker(make)


def begin_reader() -> None:
    """The initialiser of a worker process that needs no keys."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that was killed tells its workers nothing: they would wait for ever."""
    connection.wait([parent])
    os._exit(1)
