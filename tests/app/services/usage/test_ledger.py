from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.domain.usage import Usage
from app.services.usage.delivery import Delivery
from app.services.usage.ledger import IN_MEMORY, UsageLedger
from app.settings import SettingsError
from app.storage.database import Database
from app.storage.stores import Stores
from app.storage.usage_events import UsageEvents
from tests.support.mongo import MongoServer
from tests.support.usage import day_sums, draft, event, settle

FAST = {"every_s": 0.01, "adopt_every_s": 0.02, "grace_s": 0.2}
ROOT = Path(__file__).resolve().parents[4]


@asynccontextmanager
async def ledger_of(events: UsageEvents, folder: Path, **options: Any) -> AsyncIterator[UsageLedger]:
    ledger = UsageLedger(events, folder, **{**FAST, **options})
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def until(holds: Callable[[], Any], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def stored(database: Database) -> dict[str, dict[str, Any]]:
    documents = await database.collection("usage_events").find({}).to_list(None)
    return {document["_id"]: document for document in documents}


def folders(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


class Writer:
    """A process that writes usage; ``kill`` tells how many events it had written."""

    def __init__(self, mongodb: MongoServer, name: str, folder: Path, at_once: int) -> None:
        command = [sys.executable, "-m", "tests.support.usage_writer", mongodb.uri, name, str(folder)]
        self._output = folder.parent / "written"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen([*command, str(at_once)], stdout=output, cwd=ROOT)

    @property
    def written(self) -> int:
        assert self._process.poll() is None
        return self._output.stat().st_size

    def kill(self) -> int:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return self._output.stat().st_size


async def test_what_is_written_comes_to_the_database_and_leaves_nothing_behind(
    database: Database, stores: Stores, tmp_path: Path
):
    async with ledger_of(stores.usage_events, tmp_path / "usage") as ledger:
        for number in range(1300):
            ledger.open(draft(f"req_{number}"))
            ledger.write(event(f"req_{number}", Usage(number, 2, 1, 1)))
        assert ledger.pending == 1300
        await until(lambda: ledger.pending == 0)
        assert len(await stored(database)) == 1300
        ledger.write(event("last"))
    found = await stored(database)
    assert len(found) == 1301
    assert sum(document["input_tokens"] for document in found.values()) == sum(range(1300))
    assert folders(tmp_path / "usage") == []


async def test_the_first_event_of_a_request_counts(database: Database, stores: Stores, tmp_path: Path):
    for tokens in (5, 7):
        async with ledger_of(stores.usage_events, tmp_path) as ledger:
            ledger.write(event("one", Usage(tokens)))
            ledger.write(event("one", Usage(9)))
            ledger.write(event(f"other_{tokens}"))
    found = await stored(database)
    assert found["one"]["input_tokens"] == 5
    assert sorted(found) == ["one", "other_5", "other_7"]


@pytest.mark.parametrize("adopters", [1, 2])
async def test_what_a_killed_process_wrote_is_stored_once_by_whoever_adopts_it(
    mongodb: MongoServer, database: Database, database_name: str, stores: Stores, tmp_path: Path, adopters: int
):
    root = tmp_path / "usage"
    writer = Writer(mongodb, database_name, root, 30)
    await until(lambda: writer.written > 2000)
    written = writer.kill()
    ledgers = [UsageLedger(stores.usage_events, root, **FAST) for _ in range(adopters)]
    await asyncio.gather(*(ledger.start() for ledger in ledgers))
    # Nothing of what the dead wrote is left but the living's own folders.
    await until(lambda: len(folders(root)) == adopters)
    await asyncio.gather(*(ledger.close() for ledger in ledgers))
    found = await stored(database)
    told = [one for one in found.values() if one["status"] == "completed"]
    # The very last event may have been written, and not been counted.
    assert written <= len(told) <= written + 1
    assert sorted(one["input_tokens"] for one in told) == list(range(len(told)))
    lost = [one for one in found.values() if one["status"] == "lost"]
    assert 30 <= len(lost) <= 31
    assert {one["input_tokens"] for one in lost} == {0}
    await settle(database, stores)
    sums = await day_sums(database)
    assert sums["requests"] == len(found)
    assert sums["input_tokens"] == sum(one["input_tokens"] for one in found.values())


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_database_that_is_away_loses_nothing_and_doubles_nothing(
    own_mongodb: MongoServer, tmp_path: Path, how: str
):
    database = Database(own_mongodb.uri, "test", timeout_s=2, pool_size=4)
    stores = Stores.of(database)
    await stores.prepare()
    root = tmp_path / "usage"
    count = 0
    try:
        async with ledger_of(stores.usage_events, root) as ledger:

            async def write_some(parts: int) -> None:
                nonlocal count
                for _ in range(parts):
                    for _ in range(100):
                        ledger.open(draft(f"req_{count:06d}"))
                        ledger.write(event(f"req_{count:06d}", Usage(1, count)))
                        count += 1
                    await asyncio.sleep(0.005)

            await write_some(20)
            assert own_mongodb.process is not None
            own_mongodb.process.send_signal(signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
            await write_some(20)
            await asyncio.sleep(1.5)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await write_some(160)
            # It is on disk, not in memory: 16 000 events and drafts are 16 MB.
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12 * 1024
            assert ledger.pending > 15_000
            if how == "stopped":
                own_mongodb.process.send_signal(signal.SIGCONT)
            else:
                own_mongodb.process.wait()
                own_mongodb.start()
            await until(lambda: ledger.pending == 0, 120)
        found = await stored(database)
        assert len(found) == count == 20_000
        assert sum(one["output_tokens"] for one in found.values()) == sum(range(count))
        assert folders(root) == []
    finally:
        database.close()


async def test_what_was_under_way_is_lost_after_the_grace_unless_another_told(
    database: Database, stores: Stores, tmp_path: Path
):
    dead = UsageLedger(stores.usage_events, tmp_path, **FAST)
    await dead.start()
    for name in ("told", "untold"):
        dead.open(draft(name))
    await dead.close()
    async with ledger_of(stores.usage_events, tmp_path, grace_s=1) as adopter:
        await asyncio.sleep(0.3)
        assert await stored(database) == {}
        await stores.usage_events.insert([event("told", Usage(3, 4))])
        await until(lambda: len(folders(tmp_path)) == 1)
        assert adopter.has_room
    found = await stored(database)
    assert {name: (one["status"], one["input_tokens"], one["duration_us"]) for name, one in found.items()} == {
        "told": ("completed", 3, 20250),
        "untold": ("lost", 0, None),
    }


async def test_of_what_a_dead_replica_had_on_its_slate_nothing_is_lost(
    database: Database, stores: Stores, tmp_path: Path
):
    dead = UsageLedger(stores.usage_events, tmp_path, **FAST)
    await dead.start()
    for name in ("seen", "twice", "told", "unseen"):
        dead.open(draft(name))
    await dead.close()
    for slate in ("slate_1", "slate_1", "slate_2"):
        await stores.usage_remains.insert(slate, {"twice": Usage(7, 2), "told": Usage(7, 1), "alive": Usage(7, 9)})
    await stores.usage_remains.insert("slate_2", {"seen": Usage(7, 5, 3), "twice": Usage(7, 2)})
    async with ledger_of(stores.usage_events, tmp_path, grace_s=0.5):
        await stores.usage_events.insert([event("told", Usage(7, 4))])
        await until(lambda: len(folders(tmp_path)) == 1)
    found = await stored(database)
    assert {name: (one["status"], one["output_tokens"], one["cost_nano"]) for name, one in found.items()} == {
        "told": ("completed", 4, 7 * 3 + 4 * 5),
        "seen": ("failed", 5, 4 * 3 + 3 * 1 + 5 * 5),
        "twice": ("failed", 4, 14 * 3 + 4 * 5),
        "unseen": ("lost", 0, 0),
    }


async def test_the_grace_begins_when_the_database_is_back(own_mongodb: MongoServer, tmp_path: Path):
    database = Database(own_mongodb.uri, "test", timeout_s=0.3, pool_size=4)
    stores = Stores.of(database)
    try:
        dead = UsageLedger(stores.usage_events, tmp_path / "dead", **FAST)
        await dead.start()
        dead.open(draft("under_way"))
        await dead.close()
        async with ledger_of(stores.usage_events, tmp_path / "dead", grace_s=2):
            await asyncio.sleep(0.2)
            own_mongodb.stop()
            # Much longer than the grace, in which a replica's gateway cannot tell either.
            await asyncio.sleep(4)
            own_mongodb.start()
            await Delivery(stores.usage_events).store([event("under_way", Usage(8))])
            await until(lambda: len(folders(tmp_path / "dead")) == 1)
        assert (await stored(database))["under_way"]["input_tokens"] == 8
    finally:
        database.close()


async def test_the_end_waits_no_longer_than_it_may_and_leaves_the_rest_to_the_next(
    own_mongodb: MongoServer, tmp_path: Path
):
    database = Database(own_mongodb.uri, "test", timeout_s=0.5, pool_size=4)
    events, root = UsageEvents(database), tmp_path / "usage"
    try:
        own_mongodb.stop()
        ledger = UsageLedger(events, root, **FAST)
        await ledger.start()
        for number in range(700):
            ledger.write(event(f"req_{number}"))
        async with asyncio.timeout(30):
            await ledger.close(timeout_s=0.2)
        assert len(folders(root)) == 1
        own_mongodb.start()
        async with ledger_of(events, root) as following:
            await until(lambda: len(folders(root)) == 1 and following.pending == 0)
        assert len(await stored(database)) == 700
        assert folders(root) == []
    finally:
        database.close()


async def test_a_living_process_is_left_alone(database: Database, stores: Stores, tmp_path: Path):
    async with ledger_of(stores.usage_events, tmp_path, grace_s=0) as first:
        first.open(draft("under_way"))
        async with ledger_of(stores.usage_events, tmp_path, grace_s=0):
            await asyncio.sleep(0.3)
        assert await stored(database) == {}
        first.write(event("under_way", Usage(1)))
    assert (await stored(database))["under_way"]["input_tokens"] == 1


async def test_nothing_is_left_open(stores: Stores, tmp_path: Path):
    await stores.usage_events.insert([event("connects")])
    handles, tasks = len(os.listdir("/proc/self/fd")), asyncio.all_tasks()  # noqa: PTH208 - it changes while it is read
    for number in range(20):
        # Each adopts what the one before left: a request under way.
        async with ledger_of(stores.usage_events, tmp_path, grace_s=0.01) as ledger:
            ledger.open(draft(f"req_{number}"))
            ledger.write(event(f"other_{number}"))
            await until(lambda: len(folders(tmp_path)) == 1)
    assert len(os.listdir("/proc/self/fd")) <= handles + 2  # noqa: PTH208 - the driver may have opened a connection
    assert asyncio.all_tasks() == tasks


async def test_a_spool_that_cannot_be_made_is_told_at_the_start(stores: Stores, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"Usage cannot be written to .*file/usage: Not a directory"):
        await UsageLedger(stores.usage_events, tmp_path / "file" / "usage").start()


async def test_a_full_disk_is_said_once_and_costs_no_event(
    database: Database,
    stores: Stores,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    async with ledger_of(stores.usage_events, tmp_path) as ledger:
        for name in ("before", "during", "open"):
            ledger.open(draft(name))
        ledger.write(event("before"))

        def full(*_: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr("app.services.usage.records.os.write", full)
            for number in range(40):
                ledger.open(draft(f"more_{number}"))
                ledger.write(event(f"more_{number}"))
            ledger.write(event("during"))
            await until(lambda: ledger.pending == 0)
        ledger.write(event("after"))
        ledger.write(event("open"))
    assert len(await stored(database)) == 44
    complaints = [record for record in caplog.records if "cannot be written to disk" in record.message]
    assert len(complaints) == 1
    assert "No space left" in complaints[0].message
    assert folders(tmp_path) == []


async def test_without_disk_and_database_memory_is_bounded(stores: Stores, tmp_path: Path):
    ledger = UsageLedger(stores.usage_events, tmp_path)
    for number in range(IN_MEMORY // 2 - 1):
        ledger.write(event(f"req_{number}"))
    assert ledger.has_room
    ledger.write(event("one too many"))
    assert not ledger.has_room
    for number in range(IN_MEMORY):
        ledger.write(event(f"more_{number}"))
    assert ledger.pending == IN_MEMORY
    await ledger.close()


async def test_a_spool_that_is_too_long_has_no_room_until_the_database_is_back(
    own_mongodb: MongoServer, tmp_path: Path
):
    database = Database(own_mongodb.uri, "test", timeout_s=0.3, pool_size=4)
    try:
        own_mongodb.stop()
        events = UsageEvents(database)
        async with ledger_of(events, tmp_path / "usage", spool_mb=1) as ledger:
            number = 0
            while ledger.has_room:
                ledger.write(event(f"req_{number}"))
                number += 1
            assert number > 1000
            # What is under way is written all the same.
            ledger.write(event("under way"))
            own_mongodb.start()
            await until(lambda: ledger.has_room)
            await until(lambda: ledger.pending == 0)
        assert len(await stored(database)) == number + 1
    finally:
        database.close()


async def test_an_event_that_no_database_could_hold_keeps_no_other_back(
    database: Database, stores: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with ledger_of(stores.usage_events, tmp_path) as ledger:
        ledger.write(event("before"))
        ledger.write(event("long", Usage(2**63)))
        ledger.write(event("longer", Usage(2**70)))
        ledger.write(event("late", started_at_ms=2**63))
        ledger.write(event("no text", model="\ud800"))
        ledger.open(draft("no text", model="\ud800"))
        ledger.write(event("after"))
        await until(lambda: ledger.pending == 0)
    assert sorted(await stored(database)) == ["after", "before"]
    assert sum("left out" in record.message for record in caplog.records) == 5
