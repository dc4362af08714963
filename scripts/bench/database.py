"""The embedded database alone, for as long as a benchmark needs it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.settings import ROOT
from deployments.ports import free_ports
from scripts.bench.servers import BenchError

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05


@contextlib.contextmanager
def database(folder: Path) -> Iterator[str]:
    """A server with its files in ``folder``; its connection string.

    Raises:
        BenchError: It does not start.
    """
    (port,) = free_ports(1)
    where = ["--host", HOST, "--port", str(port), "--storage-path", str(folder / "data"), "--standalone"]
    command = [sys.executable, "-m", "deployments.tether", "secantus", *where, "--log-level", "WARNING"]
    log = folder / "database.log"
    with log.open("wb") as output:
        # It ends when its standard input does, which is when this process does.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT)
    try:
        _await(process, port, log)
        yield f"mongodb://{HOST}:{port}/?directConnection=true"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        process.kill()
        process.communicate()


@contextlib.contextmanager
def database_or(uri: str | None) -> Iterator[tuple[str, Path]]:
    """The database that was named, or one of its own; and a folder for as long.

    Raises:
        BenchError: It does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manta-bench-")))
        yield uri or stack.enter_context(database(folder)), folder


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(POLL_S)
    raise BenchError(f"the database did not start: {log.read_text(errors='replace')[-1000:]}")
