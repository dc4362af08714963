from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.services.usage.reports import UsageReports
from app.services.usage.rollup import UsageRollup
from app.storage.database import Database, update_each
from app.storage.stores import Stores
from app.storage.usage_rollup import Batch
from tests.support.usage import ALL_DAYS, day_sums, end_lease, event_sums, insert, naive_rows, random_events

WRITES = (
    ("usage_rollup", "lead"),
    ("usage_rollup", "begin"),
    ("usage_lots", "mark_rolled"),
    ("usage_lots", "sums_of_batch"),
    ("usage_days", "add"),
    ("ownership", "pass_on"),
    ("usage_lots", "forget"),
    ("usage_rollup", "finish"),
)


class Crash(Exception):
    """The process is no more."""


def crash_at(stores: Stores, monkeypatch: pytest.MonkeyPatch, store: str, name: str, *, after: bool, call: int) -> None:
    """Have the n-th call of this kind be the last thing that the process does, or just not do."""
    real: Callable[..., Any] = getattr(getattr(stores, store), name)
    calls = itertools.count(1)

    async def crashing(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == call
        if last and not after:
            raise Crash
        result = await real(*args, **kwargs)
        if last:
            raise Crash
        return result

    monkeypatch.setattr(getattr(stores, store), name, crashing)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("store", "name"), WRITES)
async def test_whoever_dies_on_the_way_another_goes_on(
    database: Database, stores: Stores, monkeypatch: pytest.MonkeyPatch, store: str, name: str, after: bool
):
    events = random_events(90, seed=7)
    await insert(stores, events, at_once=10)
    crash_at(stores, monkeypatch, store, name, after=after, call=2)
    with pytest.raises(Crash):
        await UsageRollup(stores, batch=3).run_once()
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)
    monkeypatch.undo()
    await end_lease(database)
    await UsageRollup(stores, batch=3).run_once()
    assert await day_sums(database) == event_sums(events)
    assert await stores.usage_lots.not_rolled(10) == []
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)


async def test_a_step_that_is_half_done_is_done_to_its_end(
    database: Database, stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    events = random_events(60, seed=8)
    await insert(stores, events)

    async def half(collection: Any, updates: list[Any]) -> None:
        await update_each(collection, updates[: len(updates) // 2])
        raise Crash

    monkeypatch.setattr("app.storage.usage_days.update_each", half)
    with pytest.raises(Crash):
        await UsageRollup(stores).run_once()
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)
    monkeypatch.undo()
    more = random_events(20, seed=9, prefix="late")
    await insert(stores, more)
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events + more, ALL_DAYS)
    await end_lease(database)
    await UsageRollup(stores).run_once()
    assert await day_sums(database) == event_sums(events + more)


async def test_a_batch_of_which_half_is_marked_is_the_same_batch(database: Database, stores: Stores):
    events = random_events(90, seed=13)
    await insert(stores, events, at_once=10)
    lots = await stores.usage_lots.not_rolled(6)
    assert await stores.usage_rollup.lead("dies", 60_000)
    assert await stores.usage_rollup.begin("dies", lots)
    await stores.usage_lots.mark_rolled(lots[:3], 1)
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)
    await end_lease(database)
    assert await UsageRollup(stores).run_once() == 2
    assert await day_sums(database) == event_sums(events)


async def test_whoever_wakes_up_late_changes_nothing(database: Database, stores: Stores):
    events = random_events(50, seed=10)
    await insert(stores, events, at_once=10)
    ids = await stores.usage_lots.not_rolled(2)
    assert await stores.usage_rollup.lead("sleeper", 60_000)
    batch = await stores.usage_rollup.begin("sleeper", ids)
    assert batch == Batch(1, ids)
    await end_lease(database)
    await UsageRollup(stores, batch=2).run_once()
    # Everything that it was about to do, and begins again with what it had read.
    await stores.usage_lots.mark_rolled(ids, 1)
    await stores.usage_days.add(1, await stores.usage_lots.sums_of_batch(1))
    await stores.usage_lots.forget(1)
    await stores.usage_rollup.finish(batch)
    assert await stores.usage_rollup.begin("sleeper", ids) is None
    assert await day_sums(database) == event_sums(events)
    assert await stores.usage_rollup.first_open() == 4


async def test_many_at_once_do_it_once(database: Database, stores: Stores):
    events = random_events(300, seed=11)
    await insert(stores, events, at_once=50)
    done = await asyncio.gather(*(UsageRollup(stores, batch=1).run_once() for _ in range(4)))
    assert sorted(done) == [0, 0, 0, 6]
    assert await day_sums(database) == event_sums(events)


async def test_it_goes_on_in_the_background_and_hands_over_at_its_end(database: Database, stores: Stores):
    events = random_events(40, seed=12)
    first, second = UsageRollup(stores, every_s=0.01), UsageRollup(stores, every_s=0.01)
    for rollup, part in ((first, events[:20]), (second, events[20:])):
        rollup.start()
        await insert(stores, part)
        async with asyncio.timeout(20):
            while await stores.usage_lots.not_rolled(1) or await stores.usage_rollup.batch():
                await asyncio.sleep(0.01)
        await rollup.close()
    assert await day_sums(database) == event_sums(events)


async def test_it_waits_for_a_database_that_is_away(stores: Stores, monkeypatch: pytest.MonkeyPatch):
    away = asyncio.Event()

    async def fail(*_: Any) -> bool:
        away.set()
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(stores.usage_rollup, "lead", fail)
    rollup = UsageRollup(stores, every_s=0.01)
    rollup.start()
    for _ in range(2):
        away.clear()
        await asyncio.wait_for(away.wait(), 10)
    await rollup.close()
