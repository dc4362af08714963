"""``python -SE launcher.py <worker> [arguments]``: what Ray starts as the Python of a vLLM model's replica.

Asks the node's server for a process that has everything imported, and stands for it towards the raylet: passes signals
on, and ends as it ends. If it is killed, that process is killed too. Where there is no server, or it refuses, this
becomes plain Python with the same arguments.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - quick

from deployments.prewarm import wire
from deployments.prewarm.place import place_of

WAIT_S = 30.0
"""How long to wait for a server that still imports: less than what starting without it costs."""

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """Run the worker; the exit status."""
    worker = sys.argv[1:]
    raylet = os.getppid()
    connection = place_of(worker).connect()
    if connection is None:
        _say("no pre-warmed process: no server on this node")
    elif (reason := _ask(connection, worker)) is not None:
        connection.close()
        _say(f"no pre-warmed process: {reason}")
    else:
        return _follow(connection, raylet)
    return os.execv(sys.executable, [sys.executable, *worker])  # noqa: S606 - no shell is wanted


def _ask(connection: socket.socket, worker: list[str]) -> str | None:
    """Why there is no process, or None once there is one."""
    order = {
        "argv": worker,
        "environment": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109 - quick
        "umask": _umask(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score": _oom_score(),
    }
    connection.settimeout(WAIT_S)
    try:
        wire.send(connection, order, [0, 1, 2])
        answer = wire.receive(connection)
        if answer is None:
            return "the server ended"
        if (reason := answer[0].get("refused")) is not None:
            return str(reason)
        # From here on the process is born: before, the server could not know whether anybody still waits for it.
        wire.send(connection, {"go": True})
    except TimeoutError:
        return f"the server did not answer in {WAIT_S:.0f} s"
    except OSError as error:
        return f"the server cannot be spoken to ({error})"
    return None


def _follow(connection: socket.socket, raylet: int) -> int:
    connection.settimeout(None)
    for signum in PASSED_ON:
        signal.signal(signum, lambda signum, _: _pass_on(connection, signum))
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    try:
        watch = os.pidfd_open(raylet)
    except ProcessLookupError:
        return 1
    poll.register(watch, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if connection.fileno() in ready:
            try:
                answer = wire.receive(connection)
            except OSError:
                answer = None
            return _end_as(answer[0]["status"] if answer else 1)
        if watch in ready:
            return 1  # the keeper sees the connection close, and ends what is left


def _pass_on(connection: socket.socket, signum: int) -> None:
    try:
        wire.send(connection, {"signal": signum})
    except OSError:
        return


def _end_as(status: int) -> int:
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _oom_score() -> str:
    with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123 - quick
        return file.read().strip()


def _say(text: str) -> None:
    os.write(2, f"manta: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
