"""The update that takes from windows and slots, on a real database."""

from __future__ import annotations

import asyncio
from datetime import UTC

import pytest

from app.domain.limits import PERIOD_MS, Per
from app.domain.slices import ends_at_ms, slice_at
from app.errors import DatabaseUnavailable
from app.storage.database import Database
from app.storage.limit_pipeline import Change, SlotsChange, WindowChange
from app.storage.limits import Found, Limits
from tests.support.mongo import black_hole

DAY = "requests:day"
PROCESSES = 4
IN_TWO = "in two operations"


@pytest.fixture(autouse=True, params=["in one operation", IN_TWO])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How updates are made: SecantusDB can do both, only one of them quickly."""

    async def is_secantus(_: Database) -> bool:
        return request.param == IN_TWO

    monkeypatch.setattr(Database, "is_secantus", is_secantus)
    return request.param


async def apply(limits: Limits, *windows: WindowChange, slots: tuple[SlotsChange, ...] = ()) -> Found:
    return await limits.apply(Change("user:1", windows, slots), share=4 * PROCESSES, timeout_s=10)


def day(count: int, need: int, **more: int) -> WindowChange:
    return WindowChange(DAY, "day", count, need=need, **more)


def used(found: Found, field: str = DAY) -> int:
    return sum(n for _, n in found.windows[field].slices)


async def test_all_windows_let_it_in_or_nothing_is_taken(database: Database):
    limits = Limits(database)
    minute = WindowChange("tokens:minute", "minute", 100, need=60)
    first = await apply(limits, day(10, 1), minute)
    assert (first.ok, used(first), used(first, "tokens:minute")) == (True, 1, 60)
    second = await apply(limits, day(10, 1), minute)
    assert (second.ok, used(second), used(second, "tokens:minute")) == (False, 1, 60)
    assert {each.granted for each in second.windows.values()} == {0}


async def test_extra_is_a_small_part_of_what_is_left(database: Database):
    limits = Limits(database)
    assert (await apply(limits, day(1000, 1, extra=500))).windows[DAY].granted == 1 + 999 // 16
    assert (await apply(limits, day(1000, 1, extra=3))).windows[DAY].granted == 4
    left = 1000 - 1 - 62 - 4
    assert used(await apply(limits, day(1000, left - 10, extra=500))) == 1000 - 10
    assert (await apply(limits, day(1000, 1, extra=500))).windows[DAY].granted == 1


async def test_what_is_waited_for_is_had_as_far_as_there_is_any(database: Database):
    limits = Limits(database)
    assert (await apply(limits, day(100, 1, waiting=60))).windows[DAY].granted == 61
    assert (await apply(limits, day(100, 1, extra=5, waiting=60))).windows[DAY].granted == 39
    assert not (await apply(limits, day(100, 1, waiting=60))).ok


async def test_a_look_tells_how_it_stands_and_changes_nothing(database: Database):
    limits = Limits(database)
    assert await limits.look("user:1", timeout_s=10) is None
    found = await apply(limits, day(10, 4))
    before = await database.collection("limits").find_one({"_id": "user:1"})
    seen = await limits.look("user:1", timeout_s=10)
    assert seen is not None
    assert used(seen) == 4
    assert found.now_ms <= seen.now_ms < found.now_ms + 60_000
    assert await database.collection("limits").find_one({"_id": "user:1"}) == before


async def test_what_comes_back_goes_to_its_slice_and_what_is_charged_to_the_current_one(database: Database):
    limits = Limits(database)
    found = await apply(limits, day(100, 50))
    k = slice_at("day", found.now_ms)
    assert found.windows[DAY].slices == [(k, 50)]
    found = await apply(limits, WindowChange(DAY, "day", 100, returns=((k, -20), (k - 1, 7)), charge=3))
    assert found.windows[DAY].slices == [(k, 33)]
    assert used(await apply(limits, WindowChange(DAY, "day", 100, returns=((k, -99),)))) == 0


async def test_what_is_over_is_not_counted(database: Database):
    limits = Limits(database)
    found = await apply(limits, day(10, 1))
    k = slice_at("day", found.now_ms)
    old = [{"k": k - 21, "n": 9}, {"k": k - 20, "n": 4}, {"k": k, "n": 1}]
    await database.collection("limits").update_one({"_id": "user:1"}, {"$set": {f"w.{DAY}.s": old}})
    assert (await apply(limits, day(10, 5))).windows[DAY].slices == [(k - 20, 4), (k, 6)]
    assert not (await apply(limits, day(10, 1))).ok


async def test_months_are_the_databases_own(database: Database):
    limits = Limits(database)
    found = await apply(limits, WindowChange("spend:month", "month", 10**12, need=10**11))
    ((k, taken),) = found.windows["spend:month"].slices
    assert (k, taken) == (slice_at("month", found.now_ms), 10**11)
    assert found.now_ms < ends_at_ms("month", k)


async def test_a_burst_is_all_there_is_at_once(database: Database):
    limits = Limits(database)
    burst = WindowChange("requests:hour", "hour", 3600, 5, need=1)
    found = [await apply(limits, burst) for _ in range(5)]
    assert all(each.ok for each in found)
    assert 4000 <= found[-1].windows["requests:hour"].spread_ms - found[0].now_ms <= 6000
    more = [await apply(limits, WindowChange("requests:hour", "hour", 3600, 5, need=5)) for _ in range(3)]
    assert not any(each.ok for each in more)
    k = slice_at("hour", found[0].now_ms)
    returned = WindowChange("requests:hour", "hour", 3600, 5, returns=((k, -5),))
    await apply(limits, returned)
    assert (await apply(limits, WindowChange("requests:hour", "hour", 3600, 5, need=5))).ok


async def test_slots_are_held_by_processes(database: Database):
    one, two = Limits(database), Limits(database)

    async def ask(limits: Limits, base: int, need: int, extra: int = 0) -> tuple[bool, int, int]:
        found = await apply(limits, slots=(SlotsChange("at once", 5, base, need, extra),))
        return found.ok, found.slots["at once"].held, found.slots["at once"].others

    assert await ask(one, 0, 3) == (True, 3, 0)
    assert await ask(two, 0, 2) == (True, 2, 3)
    assert await ask(two, 2, 1) == (False, 2, 3)
    assert await ask(one, 1, 0) == (True, 1, 2)
    assert await ask(two, 2, 2) == (True, 4, 1)
    assert await ask(one, 0, 0) == (True, 0, 4)


async def test_slots_that_nobody_renews_come_free(database: Database):
    dead, lasting = Limits(database, slot_life_s=0.2), Limits(database)
    ask = (SlotsChange("at once", 1, 0, 1),)
    assert (await apply(dead, slots=ask)).ok
    async with asyncio.timeout(30):
        while not (await apply(lasting, slots=ask)).ok:
            await asyncio.sleep(0.05)


async def test_one_that_makes_the_document_and_one_that_comes_too_late_both_take(database: Database):
    several = [Limits(database) for _ in range(6)]
    for round_ in range(5):
        change = Change(f"user:{round_}", (day(100, 1),))
        await asyncio.gather(*(each.apply(change, share=16, timeout_s=10) for each in several))
        document = await database.collection("limits").find_one({"_id": f"user:{round_}"})
        assert document is not None
        assert sum(each["n"] for each in document["w"][DAY]["s"]) == 6


async def test_the_database_may_forget_it_once_all_of_it_is_over(database: Database):
    limits = Limits(database)
    await limits.prepare()
    indexes = await database.collection("limits").index_information()
    assert indexes["expires"]["expireAfterSeconds"] == 0
    found = await apply(limits, day(10, 1))
    await apply(limits, WindowChange("requests:second", "second", 10, need=1))
    document = await database.collection("limits").find_one({"_id": "user:1"})
    assert document is not None
    expires_ms = document["expires"].replace(tzinfo=UTC).timestamp() * 1000
    assert expires_ms >= found.now_ms + PERIOD_MS["day"] * 21 / 20


async def test_windows_that_are_over_are_removed_and_others_are_not(database: Database):
    limits = Limits(database)
    found = await apply(limits, day(10, 1), WindowChange("old:minute", "minute", 10, need=1))
    stale: tuple[tuple[str, Per], ...] = (("old:minute", "minute"), (DAY, "day"))
    kept = await limits.apply(Change("user:1", stale=stale), share=16, timeout_s=10)
    assert set(kept.windows) == {DAY, "old:minute"}
    k = slice_at("minute", found.now_ms)
    await database.collection("limits").update_one({"_id": "user:1"}, {"$set": {"w.old:minute.s.0.k": k - 30}})
    kept = await limits.apply(Change("user:1", stale=stale), share=16, timeout_s=10)
    assert set(kept.windows) == {DAY}


async def test_a_database_that_does_not_answer_is_given_up_within_the_deadline():
    async with black_hole() as port:
        database = Database(f"mongodb://127.0.0.1:{port}/?directConnection=true", "test", timeout_s=20, pool_size=4)
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable):
                await Limits(database).probe(timeout_s=0.2)
        database.close()
