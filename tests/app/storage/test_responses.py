from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.ids import new_id
from app.domain.stored_response import MAX_ANCESTORS, StoredResponse
from app.storage.response_events import AT_ONCE, MOST_EVENTS, EventBatch
from app.storage.stores import Stores

ONE, OTHER = "user_one", "user_other"
FAR = 4_000_000_000.0


def a_response(**fields: Any) -> StoredResponse:
    values: dict[str, Any] = {
        "id": new_id("resp"),
        "owner": ONE,
        "status": "in_progress",
        "created_at_ms": 1,
        "body": {"status": "in_progress", "metadata": {"$set": "a.b", "a.b": "$where"}},
        "background": True,
        "runner": "p1",
        "task": {"$set": 1},
    }
    return StoredResponse(**{**values, **fields})


async def test_a_response_comes_back_as_it_was_stored(stores: Stores):
    stored = a_response(previous="resp_x", ancestors=("resp_w", "resp_x"), conversation="conv_y", turn=3, streams=True)
    await stores.responses.insert(stored)
    assert await stores.responses.get(ONE, stored.id) == stored
    await stores.responses.insert(replace(stored, turn=4))
    assert await stores.responses.get(ONE, stored.id) == stored


async def test_another_owners_is_none(stores: Stores):
    stored = a_response()
    await stores.responses.insert(stored)
    assert await stores.responses.get(OTHER, stored.id) is None
    assert await stores.responses.by_ids(OTHER, [stored.id]) == {}
    assert await stores.responses.mark_cancelled(OTHER, stored.id) is None
    assert await stores.responses.delete(OTHER, stored.id) is None
    assert await stores.responses.by_ids(ONE, [stored.id, "resp_none"]) == {stored.id: stored}


async def test_one_that_is_over_stays_as_it_is(stores: Stores):
    stored = a_response()
    await stores.responses.insert(stored)
    assert await stores.responses.count_jobs(ONE) == 1
    assert not await stores.responses.finish(stored.id, {"status": "failed"}, runner="p2")
    assert await stores.responses.finish(stored.id, {"status": "completed"}, runner="p1")
    assert not await stores.responses.finish(stored.id, {"status": "failed"})
    assert not await stores.responses.begin(stored.id, "p1", {"status": "in_progress"})
    assert not await stores.responses.claim(stored.id, "p2", "p1")
    found = await stores.responses.mark_cancelled(ONE, stored.id)
    assert found is not None
    assert (found.status, found.body, found.task, found.runner) == ("completed", {"status": "completed"}, None, None)
    assert await stores.responses.count_jobs(ONE) == 0
    assert await stores.responses.cancelled_of("p1") == []


async def test_a_process_takes_anothers_over_once(stores: Stores):
    stored, foreground = a_response(), a_response(background=False)
    for each in (stored, foreground):
        await stores.responses.insert(each)
    assert await stores.responses.of_runner("p1", 10, background=True) == [stored]
    assert await stores.responses.of_runner("p1", 10, background=False) == [foreground]
    assert await stores.responses.claim(stored.id, "p2", "p1")
    assert not await stores.responses.claim(stored.id, "p3", "p1")
    assert await stores.responses.still_of("p1", [stored.id, foreground.id]) == {foreground.id}
    taken = await stores.responses.find(stored.id)
    assert taken is not None
    assert (taken.attempt, taken.runner) == (1, "p2")


async def test_a_mark_says_who_is_to_be_ended(stores: Stores):
    stored, foreground = a_response(), a_response(background=False)
    for each in (stored, foreground):
        await stores.responses.insert(each)
    assert await stores.responses.mark_cancelled(ONE, stored.id) == replace(stored, cancel=True)
    assert await stores.responses.mark_cancelled(ONE, foreground.id) == foreground
    assert await stores.responses.cancelled_of("p1") == [stored.id]


async def test_one_that_was_given_up_may_yet_be_found(stores: Stores):
    stored = a_response(background=False)
    await stores.responses.insert(stored)
    await stores.responses.give_up(replace(stored, runner="p2"), {"status": "failed"})
    assert (await stores.responses.get(ONE, stored.id)) == stored
    await stores.responses.give_up(stored, {"status": "failed"})
    assert await stores.responses.of_runner("p1", 10, background=False) == []
    assert await stores.responses.finish(stored.id, {"status": "incomplete"})
    assert not await stores.responses.finish(stored.id, {"status": "failed"})


def test_a_line_is_no_longer_than_is_read_at_once():
    newest = a_response(id="resp_0")
    for number in range(1, MAX_ANCESTORS + 2):
        newest = a_response(id=f"resp_{number}", ancestors=newest.line)
    line = list(newest.line)
    assert (len(line), line[0], line[-1]) == (MAX_ANCESTORS, "resp_2", f"resp_{MAX_ANCESTORS + 1}")


def batch(response: str, first: int, last: int, attempt: int = 0) -> EventBatch:
    return EventBatch(response, attempt, first, last, b"x" * (last - first + 1))


async def test_events_are_read_from_wherever_one_left_off(stores: Stores):
    events = stores.response_events
    stored = [batch("resp_a", 0, 0), batch("resp_a", 1, 100), batch("resp_a", 101, 101), batch("resp_b", 0, 5)]
    for each in (*stored, stored[0]):
        await events.put(ONE, each, FAR)
    assert await events.after("resp_a", 0, -1) == stored[:3]
    assert await events.after("resp_a", 0, 0) == stored[1:3]
    assert await events.after("resp_a", 0, 57) == stored[1:3]
    assert await events.after("resp_a", 0, 101) == []
    assert await events.last_number("resp_a") == 101
    assert await events.last_number("resp_none") == -1


async def test_an_earlier_attempts_events_are_not_read_and_go(stores: Stores):
    events = stores.response_events
    old, new = batch("resp_a", 0, 10), batch("resp_a", 11, 12, attempt=1)
    for each in (old, new):
        await events.put(ONE, each, FAR)
    assert await events.after("resp_a", 1, 3) == [new]
    await events.delete("resp_a", before_attempt=1)
    assert await events.after("resp_a", 0, -1) == []
    await events.delete("resp_a")
    assert await events.last_number("resp_a") == -1


@pytest.mark.parametrize("number", [-1, 100, AT_ONCE])
async def test_a_read_finds_something_if_there_is_anything(stores: Stores, number: int):
    await stores.response_events.put(ONE, batch("resp_a", number + 1, number + MOST_EVENTS), FAR)
    assert len(await stores.response_events.after("resp_a", 0, number)) == 1
