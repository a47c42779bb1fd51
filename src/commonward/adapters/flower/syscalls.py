"""The calls to the kernel that a learner has no business with, refused by seccomp: what Landlock leaves open.

Landlock closes files that are opened. It does not close a Unix socket that lies at a path, and one such socket is the
node's own control API, which asks nobody who they are; nor `chmod` of files that cannot be read, nor the limits and the
priority of the node's process, nor a child that leaves its session and outlives the worker with the rows in its memory.

A filter is classic BPF (linux/filter.h) over the call's number and arguments (linux/seccomp.h). What is not named is
allowed: a list of all that PyTorch and its drivers call would break with each of their versions.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["refuse_calls"]

_SET_SECCOMP: Final = 22  # PR_SET_SECCOMP, linux/prctl.h
_FILTER: Final = 2  # SECCOMP_MODE_FILTER
_LOAD, _EQUAL, _AT_LEAST, _ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|W|ABS; BPF_JMP|JEQ, JGE, JSET; BPF_RET
_AND: Final = 0x54  # BPF_ALU|AND|K
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000
_NOT_PERMITTED, _NOT_THERE = 1, 38  # EPERM, ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32: Final = 0x40000000
_THREAD: Final = 0x00010000  # CLONE_THREAD
_UNIX: Final = 1  # AF_UNIX
_SHARED: Final = 0x21  # MAP_SHARED | MAP_ANONYMOUS

_REFUSED: Final[dict[str, tuple[int, int]]] = {  # on x86_64, on aarch64; -1 where there is none
    # another way out than the one socket that the worker was given
    "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # processes beside it: none of its own, and nothing to do with others
    "fork": (57, -1), "vfork": (58, -1), "setsid": (112, 157), "setpgid": (109, 154),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # files by their names, which Landlock does not look at
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "open_by_handle_at": (304, 265),
    # memory that outlives it, or that its limit (RLIMIT_DATA: private memory) does not count
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # the kernel's own doors
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
}  # fmt: skip


class _Machine(NamedTuple):
    """Where a machine's numbers stand in the table, its audit name, and calls whose arguments decide."""

    column: int
    audit: int
    clone: int
    clone3: int
    socket: int
    sendto: int
    kill: int
    tgkill: int
    prlimit: int
    affinity: int
    mmap: int


_MACHINES: Final = {
    "x86_64": _Machine(0, 0xC000003E, 56, 435, 41, 44, 62, 234, 302, 203, 9),
    "aarch64": _Machine(1, 0xC00000B7, 220, 435, 198, 206, 129, 131, 261, 122, 222),
}


def refuse_calls() -> bool:
    """Refuse them to this process from now on, for good. Whether this system could.

    Called before there is a second thread, after PR_SET_NO_NEW_PRIVS, and last: `unshare` is refused too.
    """
    machine = _MACHINES.get(platform.machine()) if sys.platform.startswith("linux") and sys.maxsize > 1 << 32 else None
    if machine is None:
        return False
    code = b"".join(_program(machine, os.getpid()))
    held = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: number of instructions, and where they are
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.create_string_buffer(program, len(program)), 0, 0) == 0)


def _program(machine: _Machine, own: int) -> Iterator[bytes]:
    yield _load(_ARCHITECTURE)
    yield from _unless(_EQUAL, machine.audit, _KILL)  # a call by another ABI's number is another call
    yield _load(_NUMBER)
    if machine.column == 0:
        yield from _when(_AT_LEAST, _X32, _ERROR | _NOT_PERMITTED)
    yield from _when(_EQUAL, machine.clone3, _ERROR | _NOT_THERE)  # its flags lie in memory: libraries go on to clone
    for numbers in _REFUSED.values():
        if numbers[machine.column] >= 0:
            yield from _when(_EQUAL, numbers[machine.column], _ERROR | _NOT_PERMITTED)
    yield from _deciding(machine.clone, 0, [_step(_ANY, _THREAD, 0, 1)])
    # CUDA opens a Unix socket of its own and does without those who might ask there; nobody can reach out by one.
    yield from _deciding(machine.socket, 0, [_step(_EQUAL, _UNIX, 0, 1)])
    yield from _deciding(machine.sendto, 4, [_step(_EQUAL, 0, 0, 3), _load(_argument(4) + 4), _step(_EQUAL, 0, 0, 1)])
    for number in (machine.kill, machine.tgkill):
        yield from _deciding(number, 0, [_step(_EQUAL, own, 0, 1)])
    for number in (machine.prlimit, machine.affinity):
        yield from _deciding(number, 0, [_step(_EQUAL, 0, 1, 0), _step(_EQUAL, own, 0, 1)])
    yield from _deciding(machine.mmap, 3, [_step(_AND, _SHARED, 0, 0), _step(_EQUAL, _SHARED, 1, 0)])
    yield _end(_ALLOW)


def _deciding(number: int, argument: int, tests: list[bytes]) -> Iterator[bytes]:
    """Of one call: load an argument, run tests that fall through to `allow` or jump over it to a refusal."""
    yield _step(_EQUAL, number, 0, 3 + len(tests))
    yield _load(_argument(argument))
    yield from tests
    yield _end(_ALLOW)
    yield _end(_ERROR | _NOT_PERMITTED)


def _argument(index: int) -> int:
    """Of its lower half: both machines are little endian."""
    return _ARGUMENTS + 8 * index


def _when(test: int, value: int, then: int) -> Iterator[bytes]:
    yield _step(test, value, 0, 1)
    yield _end(then)


def _unless(test: int, value: int, then: int) -> Iterator[bytes]:
    yield _step(test, value, 1, 0)
    yield _end(then)


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _step(test: int, value: int, true: int, false: int) -> bytes:
    """Skip so many instructions where the test holds of what was loaded, and so many where it does not."""
    return struct.pack("=HBBI", test, true, false, value)


def _end(verdict: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, verdict)
