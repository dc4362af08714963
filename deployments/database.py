"""The embedded database: SecantusDB, a MongoDB-compatible server, as a child process on loopback.

For one machine, and started only where no ``MONGODB_URI`` names a real one.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from app.errors import DatabaseUnavailable
from app.settings import ROOT, Settings
from app.storage.database import Database

STOP_TIMEOUT_S = 10.0
PING_S = 10.0
SILENT = 4
"""So many pings in a row without an answer, and it is ended: what stands still for that long goes on no more."""


@serve.deployment(
    name="EmbeddedDatabase",
    num_replicas=1,
    max_ongoing_requests=100,
    health_check_period_s=5,
    graceful_shutdown_timeout_s=15,
    graceful_shutdown_wait_loop_s=0.1,
    logging_config={"enable_access_log": False},
    ray_actor_options={"num_cpus": 0},
)
class EmbeddedDatabase:
    """Owns the database's process.

    Args:
        state_dir: Its files go to ``<state_dir>/database``.
    """

    def __init__(self, state_dir: str) -> None:
        folder = Path(state_dir) / "database"
        folder.mkdir(parents=True, exist_ok=True)
        self._port = _port(folder / "port")
        self._log = (folder / "log").open("ab")
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        storage = ["--storage-path", str(folder / "data"), "--cache-size", "1G", "--standalone"]
        command = [sys.executable, "-m", "deployments.tether", "secantus", *address, *storage, "--log-level", "WARNING"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, cwd=ROOT)
        self._client = Database(self._uri, "manta", timeout_s=PING_S, pool_size=1)
        self._missed: int | None = None

    async def uri(self) -> str:
        """The connection string; the database behind it may still be starting."""
        return self._uri

    async def check_health(self) -> None:
        """Return if the process lives and has not been silent; Serve restarts this replica, and so the database, else.

        Writes that fill its cache faster than it is emptied can bring it to wait for itself, for ever: whoever reads
        holds its one lock, and waits for room that only those who wait for the lock could make.
        """
        if self._process.poll() is not None:
            status = self._process.returncode
            raise RuntimeError(f"the embedded database ended with status {status}: see {self._log.name}")
        try:
            await self._client.ping()
        except DatabaseUnavailable:
            # It takes its time to come up, and says nothing until it has.
            if self._missed is None:
                return
            self._missed += 1
            if self._missed >= SILENT:
                # At once, so that the next one finds its port and its files free.
                self._process.kill()
                raise RuntimeError("the embedded database answered nothing any more, and was ended") from None
        else:
            self._missed = 0

    @property
    def _uri(self) -> str:
        return f"mongodb://127.0.0.1:{self._port}/?directConnection=true"

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is None:
            return
        self._client.close()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        process.kill()
        process.wait()
        self._log.close()


async def uri_of(settings: Settings, embedded: DeploymentHandle[Any] | None) -> str:
    """The connection string: the one that is set, or the embedded database's."""
    if settings.mongodb_uri is not None:
        return settings.mongodb_uri.get_secret_value()
    assert embedded is not None
    return await embedded.uri.remote()


def _port(memory: Path) -> int:
    """The port of the last start if it is free, so that clients of a restarted database find it again."""
    last = memory.read_text(errors="replace").strip() if memory.exists() else ""
    for wish in (int(last) if last.isascii() and last.isdigit() else 0, 0):
        # OverflowError: a number that is no port.
        with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wish))
            port: int = probe.getsockname()[1]
            memory.write_text(str(port))
            return port
    raise RuntimeError("no free port on loopback for the embedded database")
