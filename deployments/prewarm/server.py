"""The server: imports once, and forks a keeper for every replica that asks.

Its listener is there, and is asked, before the imports are through: who comes early waits.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.engines.vllm_environment import prepared
from deployments.prewarm import wire
from deployments.prewarm.birth import end_with_parent, live_in, open_fds
from deployments.prewarm.environment import Baseline, recorded_reads
from deployments.prewarm.keeper import Keeper, Making
from deployments.prewarm.place import REFUSED
from deployments.prewarm.preload import NotForkable, check_forkable, import_all

SPEAK_S = 2.0
"""A caller that does not say what it wants in this time is left alone."""

Job = Callable[[], int]


def main() -> None:
    """Serve on the listener whose descriptor is the first argument; in a process born here, do its work.

    The second names what to import. Further ones only leave room for processes' titles.
    """
    end_with_parent(os.getppid())
    listener = socket.socket(fileno=int(sys.argv[1]))
    sys.exit(serve(listener, sys.argv[2].split(","))())


def serve(listener: socket.socket, modules: Sequence[str]) -> Job:
    """Import, then answer for ever.

    Returns:
        In a process that was born: what it is to do. The server itself returns only when it cannot serve.
    """
    started = time.monotonic()
    sources = _Sources()
    fds = open_fds()
    live_in(prepared(os.environ, offline=True))
    before = dict(os.environ)
    try:
        with recorded_reads() as read:
            import_all(modules)
        check_forkable()
    except Exception as error:
        why = str(error) if isinstance(error, NotForkable) else f"{type(error).__name__}: {error}"
        _say(f"no pre-warmed processes on this node: {why}")
        return lambda: REFUSED
    making = Making(Baseline(before, os.environ, read), open_fds() - fds | {0, 1, 2}, time.monotonic() - started)
    _say(f"imported in {making.imports_s:.1f} s")
    # Keepers are nobody's to wait for: each tells its launcher itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if (job := _answer(connection, making, sources)) is not None:
            listener.detach()
            return job
        connection.close()
        if sources.changed():
            return lambda: 0  # the host starts another, which has the new ones


def _answer(connection: socket.socket, making: Making, sources: _Sources) -> Job | None:
    connection.settimeout(SPEAK_S)
    fds: list[int] = []
    try:
        received = wire.receive(connection)
        if received is None:
            return None
        order, fds = received
        # What its engine is going to set before it would import anything.
        wanted = prepared(order["environment"], offline=True)
        if sources.changed():
            wire.send(connection, {"refused": "Manta's own files have changed since the server was started"})
        elif (name := making.baseline.misfit(wanted)) is not None:
            wire.send(connection, {"refused": f"{name} is not what the server imported with"})
        elif not os.fork():
            return Keeper(connection, order, fds, making).keep
    except (OSError, ValueError, KeyError) as error:
        _say(f"a request could not be answered: {error!r}")
    wire.close(fds)
    return None


class _Sources:
    """The files that a born process has from here: it must not run old ones beside new ones."""

    def __init__(self) -> None:
        self._stamps = self._look()

    def changed(self) -> bool:
        return self._look() != self._stamps

    def _look(self) -> list[tuple[str, int, int]]:
        folder = Path(__file__).parent
        stats = [(path.name, path.stat()) for path in sorted(folder.glob("*.py"))]
        return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]


def _say(text: str) -> None:
    sys.stderr.write(f"manta: {text}\n")
    sys.stderr.flush()
