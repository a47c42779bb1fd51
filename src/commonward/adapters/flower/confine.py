"""What a worker gives up before it loads a learner: memory beyond a limit, other files, the network, other processes.

Where the kernel has Landlock (Linux 5.13; 6.12 for all of it) a learner reads the interpreter, its libraries and its
own folder, and writes its own folder. seccomp (`syscalls`) takes what Landlock leaves: it opens no socket of any kind,
starts no process, and does nothing to another. Without Landlock it can read what the node's user can; what was possible
is answered with "ready".
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import Final, NamedTuple

from commonward.adapters.flower.syscalls import refuse_calls

# linux/landlock.h
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_BENEATH: Final = 1  # LANDLOCK_RULE_PATH_BENEATH
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL: Final = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15  # since versions 2, 3 and 5
_TCP: Final = 0b11  # bind, connect: since version 4
_SCOPED: Final = 0b11  # abstract sockets, signals: since version 6
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET, linux/sched.h
_NEW_USER: Final = 0x10000000  # CLONE_NEWUSER
_NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS, linux/prctl.h
_MAX_FILE: Final = 1 << 30

_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/bin", "/sys", "/etc/ld.so.cache", "/etc/localtime")
# Of /proc what libraries ask of the machine and of themselves; not the environment of other processes.
_PROC: Final = ("self", "cpuinfo", "meminfo", "stat", "version", "devices", "driver", "sys/kernel", "sys/vm")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/nvidia*")
"""Not /dev/shm: what is written there stays when the worker is gone, and others read it."""


class Confined(NamedTuple):
    """What a worker managed to give up. `calls`: those of `syscalls`, and with them every other process."""

    network: bool
    files: bool
    calls: bool


def confine(memory: int, folder: Path) -> Confined:
    """Give up what a learner does not need. Called before there is a second thread; cannot be taken back.

    Args:
        memory: bytes of data that may be allocated from now on.
        folder: the only place to write to.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if not sys.platform.startswith("linux"):
        return Confined(False, False, False)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    network = libc.unshare(_NEW_NETWORK) == 0 or libc.unshare(_NEW_USER | _NEW_NETWORK) == 0
    version = libc.syscall(_CREATE, None, 0, _VERSION)
    files = version >= 1 and _landlock(libc, version, folder)
    calls = refuse_calls()
    return Confined(bool(network or version >= 4 or calls), files, calls)


def _landlock(libc: ctypes.CDLL, version: int, folder: Path) -> bool:
    everything = _ALL | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    everything |= _IOCTL if version >= 5 else 0
    # struct landlock_ruleset_attr grew; the kernel takes the size that it knows.
    attributes = struct.pack("=QQQ", everything, _TCP, _SCOPED)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        read = _EXECUTE | _READ_FILE | _READ_DIR
        libraries = {sys.prefix, sys.base_prefix, *(path for path in sys.path if Path(path).exists())}
        _allow(libc, rules, [*_SYSTEM, *(f"/proc/{each}" for each in _PROC), *sorted(libraries)], read)
        _allow(libc, rules, [path for pattern in _DEVICES for path in glob(pattern)], everything)  # noqa: PTH207
        _allow(libc, rules, [str(folder)], everything)
        return bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        if not path or not Path(path).exists():
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            given = rights if Path(path).is_dir() else rights & _OF_A_FILE
            libc.syscall(_ADD, rules, _BENEATH, struct.pack("=Qi", given, opened), 0)
        finally:
            os.close(opened)
