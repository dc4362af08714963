"""Updates of limits on SecantusDB: made by one operation, and what they found read by another."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.storage.database import Blocking, Collection, Database, Document
from app.storage.limit_updates import InOne, InTwo, updates_on

WHERE = {"_id": "user:1"}


def update(mark: str) -> list[Document]:
    return [{"$set": {"r": {"now": {"$toLong": "$$NOW"}, "mark": mark}}}]


class Delayed(InTwo):
    """Looks at what it found when it is told to."""

    def __init__(self, limits: Collection) -> None:
        super().__init__(limits)
        self.patient = True
        self.made, self.look = threading.Semaphore(0), threading.Event()

    def _look(self, limits: Blocking, id_: str, number: int) -> Document:
        self.made.release()
        assert not self.patient or self.look.wait(60)
        return super()._look(limits, id_, number)


async def found(updates: InOne | InTwo, mark: str, **more: Any) -> str | None:
    document = await updates.make(WHERE, update(mark), **more)
    return document["r"]["mark"] if document else None


async def test_each_is_told_what_its_own_update_found(database: Database):
    limits = database.collection("limits")
    one, other = Delayed(limits), InTwo(limits)
    first = asyncio.create_task(found(one, "first", upsert=True))
    await asyncio.to_thread(one.made.acquire)
    # By another process, and by the same one before it has looked.
    assert await found(other, "second") == "second"
    second = asyncio.create_task(found(one, "third"))
    await asyncio.to_thread(one.made.acquire)
    assert await found(other, "fourth") == "fourth"
    one.look.set()
    assert (await first, await second) == ("first", "third")


async def test_where_there_is_no_document_nothing_is_made(database: Database):
    limits = database.collection("limits")
    for updates in (InOne(limits), InTwo(limits)):
        assert await found(updates, "first") is None
        assert await limits.find_one() is None


async def test_what_nobody_looks_for_any_more_is_not_kept(database: Database):
    limits = database.collection("limits")
    several = [InTwo(limits) for _ in range(3)]
    for _ in range(5):
        for each in several:
            await found(each, "mark", upsert=True)
    document = await limits.find_one(WHERE)
    assert document is not None
    assert len(document["done"]) == 3
    await limits.update_one(WHERE, {"$inc": {"done.$[].r.now": -61_000}})
    await found(several[0], "mark")
    document = await limits.find_one(WHERE)
    assert document is not None
    assert len(document["done"]) == 1


async def test_one_that_is_slow_keeps_nothing_but_its_own(database: Database):
    limits = database.collection("limits")
    updates = Delayed(limits)
    slow = asyncio.create_task(found(updates, "slow", upsert=True))
    await asyncio.to_thread(updates.made.acquire)
    updates.patient = False
    for _ in range(5):
        await found(updates, "quick")
    document = await limits.find_one(WHERE)
    assert document is not None
    assert [each["r"]["mark"] for each in document["done"]] == ["slow", "quick"]
    updates.look.set()
    assert await slow == "slow"


async def test_an_update_whose_outcome_is_gone_is_one_that_nobody_knows_of(database: Database):
    limits = database.collection("limits")
    updates = Delayed(limits)
    first = asyncio.create_task(found(updates, "first", upsert=True))
    await asyncio.to_thread(updates.made.acquire)
    await limits.delete_many({})
    updates.look.set()
    with pytest.raises(DatabaseUnavailable):
        await first


async def test_secantusdb_is_not_asked_for_what_it_reads_a_whole_collection_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    limits = database.collection("limits")
    assert isinstance(await updates_on(database, limits), InTwo)

    async def command(_: Any, name: str) -> Document:
        return {"version": "8.0.4", "ok": 1.0} if name == "buildInfo" else {}

    monkeypatch.setattr("motor.motor_asyncio.AsyncIOMotorDatabase.command", command)
    assert isinstance(await updates_on(database, limits), InOne)
