"""A real database over the real wire: one SecantusDB for the whole run, a database of its own for each test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from app.storage.database import Database
from app.storage.stores import Stores
from tests.support.ports import bound_socket, free_port

START_TIMEOUT_S = 60.0
POLL_S = 0.05


@dataclass
class MongoServer:
    """A database server that tests can stop and start again."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def start(self) -> None:
        command = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(self.port)]
        # With a small one it stands still now and then, or for good, once it has more to write than that has room for.
        command += ["--storage-path", str(self.folder / "data"), "--standalone", "--cache-size", "512M"]
        command += ["--log-level", "WARNING"]
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self.process.poll() is None, f"the database ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, "the database did not come up"
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End it at once, where nobody needs its files any more: in order takes it seconds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """The run's database server."""
    server = MongoServer(free_port(), tmp_path_factory.mktemp("mongodb"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def own_mongodb(tmp_path: Path) -> Iterator[MongoServer]:
    """A database server for one test, to be stopped and started by it."""
    server = MongoServer(free_port(), tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def database_name() -> str:
    """A database that no other test uses."""
    return f"test_{uuid.uuid4().hex}"


@pytest_asyncio.fixture
async def database(mongodb: MongoServer, database_name: str) -> AsyncIterator[Database]:
    """An empty database."""
    # Far above what anything takes: a busy machine is no outage.
    opened = Database(mongodb.uri, database_name, timeout_s=60, pool_size=4)
    yield opened
    opened.close()


@pytest_asyncio.fixture
async def stores(database: Database) -> Stores:
    """The repositories over an empty database, their indexes made."""
    made = Stores.of(database)
    await made.prepare()
    return made


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A server that takes connections and never says a word; its port."""
    connections: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass

    server = await asyncio.start_server(swallow, sock=bound_socket())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            connection.close()
        await server.wait_closed()
