from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.errors import DatabaseUnavailable
from app.settings import ROOT
from app.storage.database import Database
from deployments.database import SILENT, EmbeddedDatabase, _port  # pyright: ignore[reportPrivateUsage]
from tests.support.ports import bound_socket, free_port

Embedded: Any = EmbeddedDatabase.func_or_class
PATIENCE_S = 60.0


@contextlib.contextmanager
def embedded(state_dir: Path) -> Iterator[Any]:
    """The deployment's own class, without Ray around it."""
    database = Embedded(str(state_dir))
    try:
        yield database
    finally:
        database.__del__()
        database._process.stdin.close()
        del database._process


async def opened(database: Any) -> Database:
    """A client of it, once it answers."""
    client = Database(await database.uri(), "test", timeout_s=2, pool_size=2)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                await client.ping()
                return client


async def test_it_answers_and_keeps_what_it_was_given(tmp_path: Path):
    with embedded(tmp_path) as database:
        first = await database.uri()
        client = await opened(database)
        await client.collection("things").insert_one({"_id": "a"})
        await database.check_health()
        client.close()
    with embedded(tmp_path) as database:
        assert await database.uri() == first, "whoever knew it before its restart finds it again"
        client = await opened(database)
        assert await client.collection("things").find_one({"_id": "a"}) == {"_id": "a"}
        client.close()
    assert {path.name for path in (tmp_path / "database").iterdir()} >= {"data", "log", "port"}


async def test_it_is_not_healthy_without_its_process(tmp_path: Path):
    with embedded(tmp_path) as database:
        await database.check_health()
        database._process.kill()
        await asyncio.to_thread(database._process.wait)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            await database.check_health()


async def stand_still(database: Any) -> None:
    """Stop the database; for a moment it may still answer."""
    database._process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_S):
        while psutil.Process(database._process.pid).status() != psutil.STATUS_STOPPED:
            await asyncio.sleep(0.01)


async def heard(database: Any) -> None:
    """Return once a ping of the deployment's own was answered, the last one."""
    (await opened(database)).close()
    async with asyncio.timeout(PATIENCE_S):
        await database.check_health()
        while database._missed != 0:
            await database.check_health()


async def test_one_that_stands_still_is_ended_so_that_another_can_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployments.database.PING_S", 1.0)
    with embedded(tmp_path) as database:
        # Whoever has never answered is still about to begin.
        for _ in range(SILENT):
            await stand_still(database)
            await database.check_health()
        database._process.send_signal(signal.SIGCONT)
        await heard(database)
        # A pause is none, however often. Two pings are left for a busy machine, where the first comes too early.
        await stand_still(database)
        for _ in range(SILENT - 2):
            await database.check_health()
        database._process.send_signal(signal.SIGCONT)
        await heard(database)
        await stand_still(database)
        for _ in range(SILENT - 1):
            await database.check_health()
        with pytest.raises(RuntimeError, match="answered nothing"):
            await database.check_health()
        await asyncio.to_thread(database._process.wait, PATIENCE_S)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            await database.check_health()
    with embedded(tmp_path) as database:
        (await opened(database)).close()


def test_it_ends_when_the_process_that_owns_it_is_killed(tmp_path: Path):
    code = f"""
import time
from deployments.database import EmbeddedDatabase
database = EmbeddedDatabase.func_or_class({str(tmp_path)!r})
print(database._process.pid, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    try:
        assert child.is_running()
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        deadline = time.monotonic() + PATIENCE_S
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        owner.stdout.close()
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_the_port_is_remembered(tmp_path: Path):
    port = _port(tmp_path / "port")
    assert _port(tmp_path / "port") == port
    assert (tmp_path / "port").read_text() == str(port)


def test_a_port_that_another_took_is_given_up(tmp_path: Path):
    with bound_socket() as other:
        other.listen()
        taken = other.getsockname()[1]
        (tmp_path / "port").write_text(str(taken))
        port = _port(tmp_path / "port")
    assert port != taken
    assert (tmp_path / "port").read_text() == str(port)


@pytest.mark.parametrize("memory", [b"", b"x", b"-1", b"99999", b"1e3", b"\xff", "\u00b2".encode(), b"9" * 30])
def test_a_broken_memory_is_replaced(tmp_path: Path, memory: bytes):
    (tmp_path / "port").write_bytes(memory)
    port = _port(tmp_path / "port")
    assert 0 < port < 65536
    assert (tmp_path / "port").read_text() == str(port)


def test_a_line_break_after_the_port_does_no_harm(tmp_path: Path):
    port = free_port()
    (tmp_path / "port").write_text(f"{port}\n")
    assert _port(tmp_path / "port") == port
