"""The keeper of a replica: parent of its process and of its engine's, all of them forked from here.

It has one thread and does nothing but wait. When the replica ends, or the launcher that stands for it, everything below
the keeper ends with it, and what lost its parents on the way too; when the keeper is killed, its children are as well.
"""

from __future__ import annotations

import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.prewarm import wire
from deployments.prewarm.birth import (
    adopt_orphans,
    children,
    close_all_but,
    default_signals,
    end_with_parent,
)
from deployments.prewarm.environment import Baseline
from deployments.prewarm.process import NUMBER, REQUEST, become, become_process, here

GO_S = 5.0

Job = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Making:
    """What the server has to pass on to those that are born from it.

    Attributes:
        baseline: The environment that it imported in.
        fds: The descriptors that libraries opened meanwhile, and the standard streams.
        imports_s: How long the imports took, in seconds: what a born process saves.
    """

    baseline: Baseline
    fds: set[int]
    imports_s: float


class Keeper:
    """One replica's.

    Args:
        connection: To the launcher.
        order: What the launcher said: how the process is to be.
        fds: The launcher's standard streams.
        making: See ``Making``.
    """

    def __init__(self, connection: socket.socket, order: dict[str, Any], fds: list[int], making: Making) -> None:
        self._connection = connection
        self._order = order
        self._fds = fds
        self._making = making
        self._replica = 0
        self._status = 1
        self._engine: dict[int, int] = {}  # where to tell of its end, by process
        self._select = selectors.DefaultSelector()

    def keep(self) -> int:
        """Keep the replica until it ends; in a process born here, do that one's work. The exit status of either."""
        job = self._begin() or self._wait()
        return job()

    def _begin(self) -> Job | None:
        close_all_but({*self._making.fds, *self._fds, self._connection.fileno(), self._select.fileno()})
        default_signals()
        os.setpgid(0, 0)
        adopt_orphans()
        for fd in (0, 1, 2):
            os.dup2(self._fds[fd], fd)
        wire.close(self._fds)
        self._connection.settimeout(GO_S)
        wire.send(self._connection, {"keeper": os.getpid()})
        if wire.receive(self._connection) is None:
            return _nothing  # it has given up waiting
        self._connection.settimeout(None)
        # All that are born have the one end, and ask by it for more.
        self._channel, here.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.imports_s = self._making.imports_s
        keeper = os.getpid()
        self._replica = os.fork()
        if not self._replica:
            self._separate(keeper)
            return _Worker(self._order, self._making.baseline).run
        return None

    def _wait(self) -> Job:
        woken, wake = os.pipe()
        for fd in (woken, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for fd in (woken, self._connection.fileno(), self._channel.fileno()):
            self._select.register(fd, selectors.EVENT_READ)
        while self._reap():
            ready = {key.fd for key, _ in self._select.select()}
            if woken in ready:
                os.read(woken, 4096)
            if self._channel.fileno() in ready and (job := self._bear()) is not None:
                return job
            if self._connection.fileno() in ready and not self._pass_on():
                break
        return self._end

    def _reap(self) -> bool:
        """Take leave of those that ended; whether the replica has not."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return True
            code = os.waitstatus_to_exitcode(status)
            if pid == self._replica:
                self._replica, self._status = 0, code
                return False
            if (told := self._engine.pop(pid, None)) is not None:
                _tell(told, code)

    def _pass_on(self) -> bool:
        """Pass a signal on; False where the launcher is gone."""
        try:
            received = wire.receive(self._connection)
        except OSError:
            return False
        if received is None:
            return False
        os.kill(self._replica, received[0]["signal"])
        return True

    def _bear(self) -> Job | None:
        """Fork a process of the engine's: whatever comes by the channel asks for one."""
        _, fds, _, _ = socket.recv_fds(self._channel, len(REQUEST), wire.MAX_FDS)
        if not fds:
            return None
        keeper = os.getpid()
        pid = os.fork()
        if not pid:
            self._separate(keeper, *fds)
            return lambda: become_process(list(fds), self._making.baseline)
        payload, told, *others = fds
        self._engine[pid] = told
        wire.close([payload, *others])
        return None

    def _separate(self, keeper: int, *kept: int) -> None:
        end_with_parent(keeper)
        default_signals()
        self._connection.detach()
        self._channel.detach()
        self._select.close()
        assert here.channel is not None
        close_all_but({*self._making.fds, here.channel.fileno(), *kept})

    def _end(self) -> int:
        """End all that is left below, and tell the launcher how the replica ended."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while left := children(os.getpid()):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            for pid in left:
                os.waitpid(pid, 0)
        with suppress(OSError):
            wire.send(self._connection, {"status": self._status})
        os._exit(0)


class _Worker:
    """The replica's process: Ray's worker, run as Python runs a script."""

    def __init__(self, order: dict[str, Any], baseline: Baseline) -> None:
        self._order = order
        self._baseline = baseline

    def run(self) -> int:
        order = self._order
        become(self._baseline.imported(order["environment"]))
        os.umask(order["umask"])
        os.chdir(order["cwd"])
        _be_as_nice_as(order["nice"])
        Path("/proc/self/oom_score_adj").write_text(order["oom_score"])
        script, *_ = sys.argv = list(order["argv"])
        # As Python has it: the script's folder, and not what the server needed to find these modules.
        sys.path[0] = str(Path(script).parent)
        runpy.run_path(script, run_name="__main__")
        return 0


def _be_as_nice_as(wanted: int) -> None:
    if (more := wanted - os.getpriority(os.PRIO_PROCESS, 0)) > 0:
        os.nice(more)


def _tell(fd: int, code: int) -> None:
    with suppress(OSError):  # nobody waits for it any more
        os.write(fd, struct.pack(NUMBER, code))
    os.close(fd)


def _nothing() -> int:
    os._exit(0)
