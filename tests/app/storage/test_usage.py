from __future__ import annotations

import time
from dataclasses import replace

import pytest

from app.domain.page import PageRequest
from app.domain.usage import Usage
from app.domain.usage_report import UsageQuery
from app.services.usage.reports import UsageReports
from app.services.usage.rollup import UsageRollup
from app.storage.database import Database
from app.storage.ownership import NOBODY, USAGE
from app.storage.stores import Stores
from tests.support.usage import ALL_DAYS, DAY_MS, NOW_MS, event, insert, naive_rows, random_events

ALL = UsageQuery(NOW_MS, NOW_MS + DAY_MS, None, ("owner", "key_id"))


async def sums_by(stores: Stores, *by: str) -> dict[str | None, tuple[int, int]]:
    rows = await UsageReports(stores).rows(UsageQuery(NOW_MS, NOW_MS + DAY_MS, "day", by))  # type: ignore[arg-type]
    return {getattr(row, by[0]): (row.requests, row.input_tokens) for row in rows}


async def test_an_event_is_read_as_it_was_written(stores: Stores):
    written = random_events(200, seed=20)
    await stores.usage_events.insert(written)
    read = (await stores.usage_events.recent("user_a", PageRequest(limit=100))).items
    by_id = {one.request_id: one for one in written}
    for one in read:
        original = by_id[one.request_id]
        assert one.ttft_ms == pytest.approx(original.ttft_ms, abs=0.001)
        assert one.duration_ms == pytest.approx(original.duration_ms, abs=0.001)
        names = [name for name in one.__struct_fields__ if name not in {"ttft_ms", "duration_ms"}]
        assert [getattr(one, name) for name in names] == [getattr(original, name) for name in names]


async def test_which_of_some_are_there(stores: Stores):
    await stores.usage_events.insert([event("one"), event("two")])
    assert await stores.usage_events.known(["one", "three"]) == {"one"}
    await stores.usage_events.insert([])
    assert await stores.usage_events.known([]) == set()


async def test_requests_and_their_sums_are_kept_equally_long(stores: Stores):
    events = random_events(40, seed=22)
    await stores.usage_events.insert(events)
    await UsageRollup(stores).run_once()
    for store in (stores.usage_events, stores.usage_days):
        assert not await store.purge(NOW_MS)
    assert await UsageReports(stores).rows(ALL_DAYS) == naive_rows(events, ALL_DAYS)
    for store in (stores.usage_events, stores.usage_days):
        assert not await store.purge(NOW_MS + DAY_MS)
    # By day from the sums, by hour from the requests.
    for bucket in ("day", "hour"):
        left = UsageQuery(NOW_MS + DAY_MS, NOW_MS + 3 * DAY_MS, bucket)
        assert await UsageReports(stores).rows(replace(ALL_DAYS, bucket=bucket)) == naive_rows(events, left) != []


async def test_much_that_is_old_is_deleted_in_parts(stores: Stores):
    events = random_events(1100, seed=23, days=1)
    await insert(stores, events, at_once=1100)
    assert [await stores.usage_events.purge(NOW_MS + DAY_MS) for _ in range(3)] == [True, True, False]
    assert await stores.usage_events.known([one.request_id for one in events]) == set()


@pytest.mark.parametrize(("days", "left"), [(0, True), (400, True), (1, False)])
async def test_what_is_older_than_it_may_get_is_deleted_with_the_rollup(stores: Stores, days: int, left: bool):
    old_ms = time.time_ns() // 1_000_000 - 3 * DAY_MS
    await stores.usage_events.insert([event("old", started_at_ms=old_ms), event("new", started_at_ms=NOW_MS)])
    await UsageRollup(stores, retention_days=days).run_once()
    assert await stores.usage_events.known(["old", "new"]) == ({"old", "new"} if left else {"new"})
    query = UsageQuery(old_ms - DAY_MS, NOW_MS + DAY_MS, bucket=None)
    assert [row.requests for row in await UsageReports(stores).rows(query)] == [2 if left else 1]


async def test_a_guest_keeps_their_usage_when_they_turn_out_to_have_an_account(stores: Stores):
    # Of the same days and models, in sums and not in sums yet, and two guests of one person.
    for number, owner in enumerate(("user_a", "guest_1", "guest_2", "user_b")):
        await stores.usage_events.insert([event(f"rolled_{number}", Usage(10**number), owner=owner)])
    await UsageRollup(stores).run_once()
    for number, owner in enumerate(("user_a", "guest_1", "guest_2", "user_b")):
        await stores.usage_events.insert([event(f"fresh_{number}", Usage(10**number), owner=owner)])
    for guest in ("guest_1", "guest_2"):
        await stores.ownership.move(guest, "user_a")
        await stores.ownership.delete(guest)
    expected = {"user_a": (6, 222), "user_b": (2, 2000)}
    assert await sums_by(stores, "owner") == expected
    await UsageRollup(stores).run_once()
    assert await sums_by(stores, "owner") == expected
    assert len((await stores.usage_events.recent("user_a", PageRequest(limit=50))).items) == 6


async def test_usage_that_comes_late_goes_to_whoever_has_it_by_now(stores: Stores):
    rollup = UsageRollup(stores)
    await stores.ownership.move("guest", "user_a")
    await stores.ownership.delete("guest")
    await stores.usage_events.insert([event("late", Usage(5), owner="guest", kind="guest")])
    await rollup.run_once()
    assert await sums_by(stores, "owner") == {"user_a": (1, 5)}
    await stores.ownership.delete("user_a")
    await stores.usage_events.insert([event("later", Usage(7), owner="guest", kind="guest")])
    await stores.usage_events.insert([event("last", Usage(9), owner="user_a", key_id="key_1")])
    await rollup.run_once()
    assert await sums_by(stores, "owner") == {NOBODY: (3, 21)}
    assert await sums_by(stores, "key_id") == {None: (3, 21)}


async def test_of_a_deleted_user_the_sums_are_left_and_nothing_that_tells_them_apart(
    database: Database, stores: Stores
):
    events = random_events(700, seed=21, days=1)
    await stores.usage_events.insert(events[:400])
    await UsageRollup(stores).run_once()
    await stores.usage_events.insert(events[400:])
    await stores.ownership.delete("user_a")
    for name in USAGE:
        text = str(await database.collection(name).find({}).to_list(None))
        assert "user_a" not in text
        assert "user_b" in text
    for by in ((), ("model",), ("project_id", "model")):
        query = UsageQuery(NOW_MS, NOW_MS + DAY_MS, "day", by)
        assert await UsageReports(stores).rows(query) == naive_rows(events, query)
    sums = await sums_by(stores, "owner")
    assert sums[NOBODY][0] == sum(one.owner == "user_a" for one in events)
    # What was to be deleted can be so again.
    await stores.ownership.delete("user_a")
    assert await sums_by(stores, "owner") == sums


async def test_one_who_rolls_up_at_the_time_leads_alone(stores: Stores):
    state = stores.usage_rollup
    assert await state.lead("one", 60_000)
    assert await state.lead("one", 60_000)
    assert not await state.lead("two", 60_000)
    assert await state.begin("two", ["x"]) is None
    assert await state.begin("one", ["x"]) is not None
    assert await state.begin("one", ["y"]) is None
    await state.resign("two")
    assert not await state.lead("two", 60_000)
    await state.resign("one")
    assert await state.lead("two", 0)
    assert await state.lead("one", 60_000)
