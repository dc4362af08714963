"""``python -SE host.py <worker> [arguments]``: what Ray starts, once a node, as the Python of a task that does nothing.

Runs that worker as a child, and keeps the node's server: starts it, starts it again when it is killed, and ends with
the raylet. Where somebody does so already, this becomes plain Python with the same arguments.

It stays, and does not hand its work to a process of its own: a raylet that looks after orphans ends every process below
it that it has not started itself. For the same reason it adopts the keepers of a server that was killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - quick

from deployments.prewarm.birth import adopt_orphans
from deployments.prewarm.place import REFUSED, Place, place_of

MAX_STARTS = 10
PAUSE_S = 1.0
SERVE = "import sys; sys.path[0] = {root!r}; from deployments.prewarm.server import main; main()"


def main() -> None:
    """Run the worker and keep the server."""
    worker = sys.argv[1:]
    place = place_of(worker)
    if place.claim() is None:
        os.execv(sys.executable, [sys.executable, *worker])  # noqa: S606 - no shell is wanted
    os.posix_spawn(sys.executable, [sys.executable, *worker], os.environ)
    Host(place, worker).keep(os.getppid())


class Host:
    """Keeps one server.

    Args:
        place: Where it is found; claimed.
        worker: A Ray worker's command line: it names the node, and its length leaves room for processes' titles.
    """

    def __init__(self, place: Place, worker: list[str]) -> None:
        self._place = place
        self._worker = worker
        self._server = 0
        self._starts = 0
        self._listener: socket.socket | None = None

    def keep(self, raylet: int) -> None:
        """Keep the server until the raylet is gone, or nothing is left to keep."""
        adopt_orphans()
        self._listener = self._place.listen()
        self._listener.set_inheritable(True)
        self._start()
        # Out of the group that Ray may end when the worker ends.
        os.setpgid(0, self._server)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            self._wait(raylet)
        finally:
            self._place.clear()

    def _start(self) -> None:
        assert self._listener is not None
        code = SERVE.format(root=sys.path[0])
        command = [sys.executable, "-c", code, str(self._listener.fileno()), "vllm", *self._worker]
        log = _log(self._worker)
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        environment = _constant_first()
        if not self._starts:
            # A group of its own, which this process then joins, and with it the servers that come after the first.
            self._server = os.posix_spawn(sys.executable, command, environment, file_actions=actions, setpgroup=0)
        else:
            self._server = os.posix_spawn(sys.executable, command, environment, file_actions=actions)
        self._starts += 1
        os.close(log)

    def _wait(self, raylet: int) -> None:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            watch = os.pidfd_open(raylet)
        except ProcessLookupError:
            return
        poll = select.poll()
        for fd in (woken, watch):
            poll.register(fd, select.POLLIN)
        while True:
            if not self._reap():
                return
            ready = {fd for fd, _ in poll.poll()}
            if watch in ready:
                return
            os.read(woken, 4096)

    def _reap(self) -> bool:
        """Take leave of those that ended; whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._server:
                self._after(os.waitstatus_to_exitcode(status))

    def _after(self, status: int) -> None:
        if status != REFUSED and self._starts < MAX_STARTS:
            time.sleep(PAUSE_S)
            self._start()
        elif self._listener is not None:
            # Who asks now shall not wait for an answer.
            self._place.clear()
            self._listener.close()
            self._listener = None


def _constant_first() -> dict[str, str]:
    # Beside the first variable lie the arguments, which a process's title is written over: see birth.live_in.
    constant = {name: os.environ[name] for name in ("RAY_RAYLET_PID",) if name in os.environ}
    return constant | dict(os.environ)


def _log(worker: list[str]) -> int:
    """The server's log, beside Ray's own where they can be found."""
    for argument in worker:
        name, _, value = argument.partition("=")
        if name == "--object-store-name":
            session = os.path.dirname(os.path.dirname(value))  # noqa: PTH120 - quick
            path = f"{session}/logs/manta-prewarm-{os.getpid()}.log"
            try:
                return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            except OSError:
                break
    return os.dup(2)


if __name__ == "__main__":
    main()
