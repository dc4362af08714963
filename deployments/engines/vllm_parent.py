"""A leash from a child process to the process that started it, and the sight of its end."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

import psutil


class ParentWatch:
    """Kills the process in which it is unpickled once the process that pickled it is gone.

    Unpickling comes first in a spawned process, before the imports that take it ten seconds. Not PR_SET_PDEATHSIG:
    that follows the thread which started the child, and here it is one of a pool. Nor the parent's id as the system
    knows it: a pre-warmed process is the child of another one.
    """

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return _watch, (os.getpid(),)


def _watch(parent: int) -> ParentWatch:
    def wait() -> None:
        with suppress(ProcessLookupError):
            end = select.poll()
            end.register(os.pidfd_open(parent), select.POLLIN)
            end.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="manta-parent-watch", daemon=True).start()
    return ParentWatch()


def alive(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes with these ids."""
    found: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def descendants(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes below ``pids``, without these."""
    found: list[psutil.Process] = []
    for pid in pids:
        try:
            found += psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found


def see_off(processes: Sequence[psutil.Process], timeout_s: float) -> None:
    """Wait until ``processes`` have ended, and kill those that have not in ``timeout_s`` seconds."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=timeout_s)
