from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.domain.usage import Usage
from app.errors import DatabaseUnavailable
from app.services.usage.reports import UsageReports
from app.storage.database import Database
from app.storage.stores import Stores
from app.storage.usage_events import UsageEvents
from app.storage.usage_lots import Lot, UsageLots
from tests.support.usage import ALL_DAYS, day_sums, event, event_sums, insert, naive_rows, random_events, settle

STEPS = (("UsageLots", "come"), ("UsageEvents", "store"), ("UsageLots", "stored"))
"""What storing events comes to, in its order."""

EVENTS = random_events(60, seed=30)


class Crash(Exception):
    """The process is no more."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: tuple[str, str], *, after: bool) -> None:
    owner = {"UsageLots": UsageLots, "UsageEvents": UsageEvents}[step[0]]
    real = getattr(owner, step[1])

    async def crashing(*args: Any) -> None:
        if after:
            await real(*args)
        raise Crash

    monkeypatch.setattr(owner, step[1], crashing)


async def check(database: Database, stores: Stores, events: list[Any]) -> None:
    """Everything is there once, in the requests and in the sums, and no lot is left to be done."""
    await settle(database, stores)
    assert await day_sums(database) == event_sums(events)
    assert await database.collection("usage_events").count_documents({}) == len(events)
    assert await database.collection("usage_lots").count_documents({"rolled": {"$lte": 0}}) == 0
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)


@pytest.mark.parametrize("replayed", [0, 1, 2], ids=["for good", "adopted", "adopted twice"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids="-".join)
async def test_whoever_dies_while_storing_nothing_is_doubled_and_what_was_written_down_is_stored(
    database: Database,
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str],
    after: bool,
    replayed: int,
):
    await insert(stores, EVENTS[:20])
    with monkeypatch.context() as patch:
        crash_at(patch, step, after=after)
        # Of some it had been told before, by others.
        with pytest.raises(Crash):
            await stores.usage_events.insert(EVENTS[10:40])
    for _ in range(replayed):
        await stores.usage_events.insert(EVENTS[10:40])
    gone = step == STEPS[0] and not after and not replayed
    await check(database, stores, EVENTS[:20] if gone else EVENTS[:40])
    # And when the machine is back after all.
    await insert(stores, EVENTS)
    await check(database, stores, EVENTS)


async def test_events_of_which_only_some_were_stored_are_all_stored(database: Database, stores: Stores):
    lot = await written_down(database, EVENTS)
    await database.collection("usage_events").insert_many(list(lot.events.values())[::2])
    # Meanwhile another tells the very same.
    await insert(stores, EVENTS[10:30])
    await check(database, stores, EVENTS)


async def test_who_wakes_up_late_changes_nothing(database: Database, stores: Stores):
    lot = await written_down(database, EVENTS)
    await check(database, stores, EVENTS)
    await stores.usage_events.store(lot)
    await check(database, stores, EVENTS)


async def test_several_who_store_one_lot_at_once_store_it_once(database: Database, stores: Stores):
    await insert(stores, EVENTS[:7])
    lot = await written_down(database, EVENTS)
    await asyncio.gather(*(stores.usage_events.store(lot) for _ in range(4)))
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(EVENTS, ALL_DAYS)
    await check(database, stores, EVENTS)


async def test_many_lots_of_the_same_events_count_once(database: Database, stores: Stores):
    told = [EVENTS[at : at + 25] for at in range(0, 40, 5)] * 2
    await asyncio.gather(*(stores.usage_events.insert(events) for events in told))
    await check(database, stores, EVENTS)


async def test_of_one_request_told_twice_at_once_the_first_event_counts(database: Database, stores: Stores):
    await stores.usage_events.insert([event("one", Usage(3)), event("one", Usage(5)), event("two", Usage(7))])
    await settle(database, stores)
    assert (await day_sums(database))["input_tokens"] == 10


async def test_a_lot_stays_for_reports_that_are_being_read_and_no_longer(database: Database, stores: Stores):
    await insert(stores, EVENTS)
    lots = database.collection("usage_lots")
    assert await lots.count_documents({"purge_at": {"$exists": True}}) == 0
    await settle(database, stores)
    assert await lots.count_documents({"purge_at": {"$exists": False}}) == 0
    assert (await lots.index_information())["purge"]["expireAfterSeconds"] == 0
    await lots.delete_many({})
    await check(database, stores, EVENTS)


async def test_a_database_that_does_not_answer_is_told_again_to_the_same_effect(
    database: Database, stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    async def unheard(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(UsageLots, "stored", unheard)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await stores.usage_events.insert(EVENTS)
    await stores.usage_events.insert(EVENTS)
    await check(database, stores, EVENTS)


async def test_what_an_older_release_left_is_read_and_stops_nothing(database: Database, stores: Stores):
    await insert(stores, EVENTS[:1])
    old = {**await database.collection("usage_events").find_one({}), "_id": "old", "rolled": 0, "sum_id": "0"}
    del old["lot"]
    await database.collection("usage_events").insert_one(old)
    await database.collection("usage_rollup").update_one({"_id": "rollup"}, {"$set": {"batch": ["old"], "done": 7}})
    await insert(stores, [event("old"), *EVENTS])
    await settle(database, stores)
    assert await day_sums(database) == event_sums(EVENTS)


async def written_down(database: Database, events: list[Any]) -> Lot:
    """A lot whose events nobody has stored yet."""
    lots: list[Lot] = []

    class Dead(UsageEvents):
        async def store(self, lot: Lot) -> None:
            lots.append(lot)

    await Dead(database).insert(events)
    return lots[0]
