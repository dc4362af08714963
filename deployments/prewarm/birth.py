"""What a forked process does before anything else: it becomes one of its own.

Only the standard library's quick parts are imported here.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection, Mapping

SET_PDEATHSIG = 1
SET_CHILD_SUBREAPER = 36


def end_with_parent(parent: int) -> None:
    """Be killed when ``parent``, which has one thread, ends; at once if it has already."""
    _prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Be the parent of every process below this one that loses its own."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    """The direct children of a process that has one thread."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - quick
        return [int(each) for each in file.read().split()]


def open_fds() -> set[int]:
    """The descriptors of this process."""
    return {int(name) for name in os.listdir("/proc/self/fd") if _is_open(int(name))}  # noqa: PTH208 - quick


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor but these."""
    for fd in open_fds() - set(kept):
        os.close(fd)


def default_signals() -> None:
    """Take signals as a process does that was just started."""
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def live_in(environment: Mapping[str, str]) -> None:
    """Make this the process's whole environment.

    What stays the same is not touched: libraries that set a process's title look for its arguments beside the first
    variable that it was started with.
    """
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # the one that listed them
        return False
    return True


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")
