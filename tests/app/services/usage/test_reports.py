from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from app.domain.page import PageRequest
from app.domain.usage_report import UsageQuery
from app.errors import InvalidRequest
from app.services.usage.reports import UsageReports
from app.services.usage.rollup import UsageRollup
from app.storage.stores import Stores
from tests.support.usage import DAY_MS, NOW_MS, event, insert, naive_rows, random_events

DIMENSIONS = ("owner", "project_id", "key_id", "model")
GROUPINGS = [by for size in range(5) for by in itertools.combinations(DIMENSIONS, size)]


async def test_a_report_is_the_plain_sum_whatever_it_is_grouped_by(stores: Stores):
    # Half of it is in the sums by day, half is not yet.
    events = random_events(1200, seed=1)
    await insert(stores, events[:600])
    await UsageRollup(stores, batch=4).run_once()
    await insert(stores, events[600:])
    reports = UsageReports(stores)
    for bucket, by in itertools.product(("hour", "day", None), GROUPINGS):
        query = UsageQuery(NOW_MS, NOW_MS + 3 * DAY_MS, bucket, by)
        assert await reports.rows(query) == naive_rows(events, query), (bucket, by)
    by_minute = UsageQuery(NOW_MS + 7, NOW_MS + DAY_MS // 8, "minute", ("model",))
    assert await reports.rows(by_minute) == naive_rows(events, by_minute)


@pytest.mark.parametrize("bucket", ["day", None])
@pytest.mark.parametrize(
    ("start", "end"),
    [(1, 3 * DAY_MS - 1), (5, 9), (DAY_MS - 5, 2 * DAY_MS + 5), (0, DAY_MS), (DAY_MS // 2, DAY_MS + 1), (9, 9), (9, 5)],
)
async def test_a_report_may_begin_and_end_at_any_time(stores: Stores, bucket: Any, start: int, end: int):
    events = random_events(400, seed=2)
    events += [event(f"edge_{at}", started_at_ms=NOW_MS + at) for at in (0, 5, 8, 9, DAY_MS - 1, DAY_MS)]
    await insert(stores, events[:300])
    await UsageRollup(stores).run_once()
    await insert(stores, events[300:])
    query = UsageQuery(NOW_MS + start, NOW_MS + end, bucket, ("owner",))
    assert await UsageReports(stores).rows(query) == naive_rows(events, query)


@pytest.mark.parametrize(
    "wanted",
    [
        {"owners": ("user_a",)},
        {"owners": ("user_a", "user_b"), "models": ("ü",)},
        {"projects": ("proj_1",), "by": ("key_id",)},
        {"keys": ("key_user_a_1",), "by": ("owner", "key_id")},
        {"owners": ("user_a",), "keys": ("key_user_b_1",)},
        {"models": ()},
    ],
    ids=str,
)
async def test_a_report_has_what_was_asked_for_alone(stores: Stores, wanted: Any):
    events = random_events(300, seed=3)
    await insert(stores, events[:150])
    await UsageRollup(stores).run_once()
    await insert(stores, events[150:])
    for bucket in ("hour", "day", None):
        query = UsageQuery(NOW_MS, NOW_MS + 3 * DAY_MS, bucket, **wanted)
        assert await UsageReports(stores).rows(query) == naive_rows(events, query)


@pytest.mark.parametrize("bucket", ["hour", "day", None])
async def test_a_report_is_read_in_parts(stores: Stores, bucket: Any):
    events = random_events(500, seed=4)
    await insert(stores, events[:250])
    await UsageRollup(stores).run_once()
    await insert(stores, events[250:])
    reports = UsageReports(stores)
    query = UsageQuery(NOW_MS + 3, NOW_MS + 3 * DAY_MS - 3, bucket, DIMENSIONS)
    rows: list[Any] = []
    after = None
    while True:
        page = await reports.page(query, limit=37, after=after)
        assert len(page.rows) == 37 or page.next is None
        rows += page.rows
        after = page.next
        if after is None:
            break
    assert rows == naive_rows(events, query)
    assert await reports.rows(query, limit=5) == rows[:5]


@pytest.mark.parametrize(
    "mark", ["", "x", "!!", "bnVsbA", "WzFd", "WzFlOTk5XQ", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LCJhIl0", "é"]
)
async def test_a_mark_that_was_not_given_out_is_refused(stores: Stores, mark: str):
    with pytest.raises(InvalidRequest) as refused:
        await UsageReports(stores).page(UsageQuery(0, DAY_MS, "day", ("owner",)), after=mark)
    assert refused.value.param == "after"


async def test_a_report_is_complete_while_events_are_rolled_up(stores: Stores):
    events = random_events(1200, seed=5)
    await insert(stores, events)
    query = UsageQuery(NOW_MS, NOW_MS + 3 * DAY_MS, "day", ("owner", "model"))
    expected = naive_rows(events, query)
    reports, seen = UsageReports(stores), 0
    rolling = asyncio.create_task(UsageRollup(stores, batch=1).run_once())
    while not rolling.done():
        assert await reports.rows(query) == expected
        seen += 1
    assert await rolling == 12
    assert seen > 3
    assert await reports.rows(query) == expected


async def test_somebodys_own_requests_are_theirs_alone_and_the_newest_come_first(stores: Stores):
    events = random_events(120, seed=6)
    await insert(stores, events)
    reports = UsageReports(stores)
    own = [one for one in events if one.owner == "user_a"]
    own.sort(key=lambda one: (one.started_at_ms, one.request_id), reverse=True)
    first = await reports.recent("user_a", PageRequest(limit=10))
    second = await reports.recent("user_a", PageRequest(limit=100, after=first.items[-1].request_id))
    ids = [one.request_id for one in (*first.items, *second.items)]
    assert ids == [one.request_id for one in own]
    assert first.has_more
    assert not second.has_more
    shown, stored = first.items[0], own[0]
    assert (shown.cost_nano, shown.input_tokens, shown.status) == (stored.cost_nano, stored.input_tokens, stored.status)
    # Another's request is no place to go on from.
    other = next(one.request_id for one in events if one.owner == "user_b")
    with pytest.raises(InvalidRequest):
        await reports.recent("user_a", PageRequest(after=other))
    assert (await reports.recent("user_nobody", PageRequest())).items == []
