"""Whether something keeps this machine's clock right, as the kernel knows it: of NTP's work, only the result counts."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

from commonward.apps.doctor.findings import Finding, ok, warn

_UNSYNC: Final = 0x40  # STA_UNSYNC of <sys/timex.h>
_FAR_US: Final = 5_000_000


class _Timex(ctypes.Structure):
    """`struct timex` of Linux, as far as it is read here; `rest` is longer than what follows in any version."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kept() -> Finding | None:
    """None where the kernel does not say."""
    if platform.system() != "Linux":
        return None
    asked = _Timex()  # modes 0: asks, and sets nothing
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    if asked.status & _UNSYNC or asked.maxerror > _FAR_US:
        do = "run chrony or systemd-timesyncd here, or on the host of this container: a clock 30 s off cosigns nothing"
        return warn("time service", "the kernel's clock is kept right by nobody", do)
    return ok("time service", f"the kernel's clock is synchronised, at most {asked.maxerror / 1000:.0f} ms off")
