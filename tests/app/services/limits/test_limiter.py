"""One process's limiter on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from app.domain.limits import Bound, Limit, What
from app.errors import DatabaseUnavailable, InsufficientQuota, RateLimited
from app.services.limits.limiter import Limiter
from app.storage.database import Database
from app.storage.limits import Limits

PATIENCE_S = 30.0

pytestmark = pytest.mark.usefixtures("clean_loop")


def bound(count: int, what: What = "requests", per: Any = "day", subject: str = "user:1", **more: Any) -> Bound:
    return Bound(subject, f"{what}-{count}", Limit(what, count, per, more.pop("burst", None)), **more)


Make = Callable[..., Limiter]


@pytest_asyncio.fixture
async def make(database: Database) -> AsyncIterator[Make]:
    """Makes limiters as several processes have them; they are closed in the end."""
    made: list[Limiter] = []

    def one(**options: Any) -> Limiter:
        store = Limits(database, slot_life_s=options.pop("slot_life_s", 30.0))
        made.append(Limiter(store, **{"gateways": 1, "timeout_s": 10, "grace_s": 60, **options}))
        return made[-1]

    yield one
    for limiter in made:
        await limiter.close()


async def used(database: Database, of: Bound) -> int:
    document = await database.collection("limits").find_one({"_id": of.subject})
    window = (document or {}).get("w", {}).get(f"{of.name}:{of.limit.per}", {})
    return sum(each["n"] for each in window.get("s", []))


async def settled(database: Database, of: Bound, expected: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await used(database, of) != expected:
            await asyncio.sleep(0.05)


async def taken(limiter: Limiter, bounds: tuple[Bound, ...], amounts: Any) -> int:
    count = 0
    try:
        while True:
            await limiter.reserve(bounds, amounts)
            count += 1
    except RateLimited:
        return count


async def test_without_bounds_there_is_nothing_to_do(make: Make, database: Database):
    reservation = await make().reserve((), {"requests": 1})
    reservation.settle({"requests": 5})
    assert reservation.standings == ()
    assert await database.collection("limits").find_one() is None


async def test_a_caller_sees_what_is_left(make: Make):
    limiter, bounds = make(), (bound(60, per="minute"), bound(1000))
    for left in (59, 58, 57):
        reservation = await limiter.reserve(bounds, {"requests": 1})
        minute, day = reservation.standings
        assert (minute.remaining, day.remaining) == (left, 940 + left)
        assert 50 < minute.reset_in_s <= 63
        assert minute.bound is bounds[0]


async def test_standings_take_nothing(make: Make):
    limiter, bounds = make(), (bound(10), bound(4, "concurrent_requests", None))
    assert [each.remaining for each in await limiter.standings(bounds)] == [10, 4]
    await limiter.reserve(bounds, {"requests": 3})
    for _ in range(3):
        assert [each.remaining for each in await limiter.standings(bounds)] == [7, 4]


async def test_a_denial_says_which_limit_and_when(make: Make):
    limiter, bounds = make(), (bound(1000), bound(2, per="minute", holder="this API key's"))
    assert await taken(limiter, bounds, {"requests": 1}) == 2
    with pytest.raises(RateLimited, match=r"more than this API key's 2 requests per minute\. Try again in") as denial:
        await limiter.reserve(bounds, {"requests": 1})
    error = denial.value
    assert (error.status, error.type, error.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert 55 <= int(error.headers["Retry-After"]) <= 64
    assert 0 <= int(error.headers["Retry-After"]) * 1000 - int(error.headers["retry-after-ms"]) < 1000
    assert [each.remaining for each in error.standings] == [998, 0]


async def test_a_budget_that_is_used_up_is_told_as_openai_does(make: Make):
    limiter, bounds = make(), (bound(3 * 10**9 // 2, "spend", "month", holder="your budget of"),)
    await limiter.reserve(bounds, {"spend": 10**9})
    with pytest.raises(InsufficientQuota, match=r"your budget of 1\.5 of spend per month") as denial:
        await limiter.reserve(bounds, {"spend": 10**9})
    assert (denial.value.status, denial.value.type, denial.value.code) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )


@pytest.mark.parametrize(
    ("limit", "amounts"),
    [
        (bound(100, "tokens"), {"tokens": 101}),
        (bound(100, "tokens", burst=10), {"tokens": 11}),
        (bound(0), {"requests": 1}),
        (bound(0, "concurrent_requests", None), {"concurrent_requests": 1}),
    ],
)
async def test_what_never_fits_is_told_so(limit: Bound, amounts: Any, make: Make, database: Database):
    with pytest.raises(RateLimited, match="Ask for less") as denial:
        await make().reserve((limit,), amounts)
    assert denial.value.headers == {"x-should-retry": "false"}
    assert await database.collection("limits").find_one() is None


async def test_a_denial_takes_nothing_of_another_subject(make: Make, database: Database):
    limiter, user, key = make(), bound(100), bound(3, subject="key:1")
    assert await taken(limiter, (user, key), {"requests": 1}) == 3
    # Refused by what is remembered, and by the database.
    for each in (limiter, make()):
        with pytest.raises(RateLimited):
            await each.reserve((user, key), {"requests": 1})
    for each in (limiter, make()):
        await each.close()
    await settled(database, user, 3)
    await settled(database, key, 3)


async def test_what_was_not_used_can_be_used(make: Make, database: Database):
    limiter, tokens = make(), bound(1000, "tokens")
    reservation = await limiter.reserve((tokens,), {"tokens": 900})
    with pytest.raises(RateLimited):
        await limiter.reserve((tokens,), {"tokens": 200})
    reservation.settle({"tokens": 300})
    reservation.settle({"tokens": 0})
    reservation.cancel()
    await settled(database, tokens, 300)
    assert await taken(make(), (tokens,), {"tokens": 100}) == 7


async def test_what_was_used_beyond_is_charged_even_over_the_limit(make: Make, database: Database):
    limiter, tokens = make(), bound(1000, "tokens")
    (await limiter.reserve((tokens,), {"tokens": 900})).settle({"tokens": 1500})
    await settled(database, tokens, 1500)
    with pytest.raises(RateLimited):
        await make().reserve((tokens,), {"tokens": 1})


async def test_what_was_not_reserved_is_charged_where_it_is_now(make: Make, database: Database):
    limiter, tokens = make(), bound(1000, "output_tokens")
    (await limiter.reserve((bound(10), tokens), {"requests": 1})).settle({"output_tokens": 70})
    await settled(database, tokens, 70)
    await settled(database, bound(10), 1)


async def test_what_was_not_served_is_given_back_whole(make: Make, database: Database):
    limiter, bounds = make(), (bound(10), bound(100, "tokens"))
    reservation = await limiter.reserve(bounds, {"requests": 1, "tokens": 60})
    reservation.cancel()
    reservation.settle({"tokens": 60})
    for each in bounds:
        await settled(database, each, 0)


async def test_what_comes_back_after_its_slice_is_over_changes_nothing(make: Make):
    limiter, tokens = make(), bound(100, "tokens", "second")
    old = [await limiter.reserve((tokens,), {"tokens": 50}) for _ in range(2)]
    async with asyncio.timeout(PATIENCE_S):
        while (await limiter.standings((tokens,)))[0].remaining < 100:
            await asyncio.sleep(0.05)
    # The two are not in what counts now any more: neither what comes back of one, nor what the other took beyond.
    old[0].cancel()
    old[1].settle({"tokens": 5000})
    await limiter.close()
    (standing,) = await make().standings((tokens,))
    assert standing.remaining == 100


async def test_a_hot_subject_rarely_asks(make: Make, database: Database):
    limiter, requests = make(), bound(100_000)
    operations = 0
    operate = limiter._operate

    async def counted(*args: Any) -> Any:
        nonlocal operations
        operations += 1
        return await operate(*args)

    limiter._operate = counted
    for _ in range(3000):
        await limiter.reserve((requests,), {"requests": 1})
    assert operations < 300
    assert (await limiter.reserve((requests,), {"requests": 1})).standings[0].remaining == 96_999
    await limiter.close()
    assert await used(database, requests) == 3001


async def test_a_cold_subject_takes_no_more_than_it_needs(make: Make, database: Database):
    limiter, requests = make(), bound(1000)
    for count in range(1, 4):
        await limiter.reserve((requests,), {"requests": 1})
        assert await used(database, requests) == count


async def test_what_is_not_spent_of_a_lease_goes_back(make: Make, database: Database):
    limiter, requests = make(), bound(10_000)
    for _ in range(200):
        await limiter.reserve((requests,), {"requests": 1})
    assert await used(database, requests) > 200
    await settled(database, requests, 200)


async def test_denials_cost_no_operations(make: Make):
    limiter, requests = make(clock=lambda: 1000.0), bound(1)
    await limiter.reserve((requests,), {"requests": 1})

    async def never(*_: Any) -> Any:
        raise AssertionError("the database was asked")

    with pytest.raises(RateLimited):
        await limiter.reserve((requests,), {"requests": 1})
    limiter._operate = never
    for _ in range(100):
        with pytest.raises(RateLimited):
            await limiter.reserve((requests,), {"requests": 1})


def counted(limiter: Limiter, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every change that it asks the database for."""
    apply, changes = limiter._store.apply, list[Any]()

    async def noted(change: Any, **more: Any) -> Any:
        changes.append(change)
        return await apply(change, **more)

    monkeypatch.setattr(limiter._store, "apply", noted)
    return changes


async def test_those_who_come_at_once_are_asked_for_at_once(make: Make, monkeypatch: pytest.MonkeyPatch):
    limiter, requests = make(gateways=4), bound(25)
    changes = counted(limiter, monkeypatch)
    await asyncio.gather(*(limiter.reserve((requests,), {"requests": 1}) for _ in range(25)))
    assert len(changes) == 1


async def test_denials_are_kept_by_reading_alone(make: Make, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    limiter, requests = make(clock=lambda: now), bound(1)
    await limiter.reserve((requests,), {"requests": 1})
    changes = counted(limiter, monkeypatch)
    for _ in range(20):
        now += 0.8
        with pytest.raises(RateLimited):
            await limiter.reserve((requests,), {"requests": 1})
        await limiter._looks.close()
    assert not changes


async def test_what_others_give_back_is_seen_while_callers_are_refused(make: Make):
    now = 1000.0
    other, limiter, requests = make(), make(clock=lambda: now), bound(1)
    reservation = await other.reserve((requests,), {"requests": 1})
    with pytest.raises(RateLimited):
        await limiter.reserve((requests,), {"requests": 1})
    reservation.cancel()
    await other.close()
    now += 0.8
    with pytest.raises(RateLimited):
        await limiter.reserve((requests,), {"requests": 1})
    await limiter._looks.close()
    await limiter.reserve((requests,), {"requests": 1})


async def test_a_look_that_fails_is_no_outage(make: Make, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    limiter, requests = make(clock=lambda: now), bound(1)
    await limiter.reserve((requests,), {"requests": 1})

    async def fails(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(limiter._store, "look", fails)
    changes = counted(limiter, monkeypatch)
    for expected in (0, 1):
        now += 0.8
        with pytest.raises(RateLimited):
            await limiter.reserve((requests,), {"requests": 1})
        await limiter._looks.close()
        assert (limiter.mode, len(changes)) == ("exact", expected)


async def test_who_waits_as_long_as_they_are_told_is_let_in(make: Make):
    limiter = make()
    for limit in (bound(3, per="second"), bound(3600, per="hour", burst=3)):
        for _ in range(2):
            await taken(limiter, (limit,), {"requests": 1})
            with pytest.raises(RateLimited) as denial:
                await limiter.reserve((limit,), {"requests": 1})
            await asyncio.sleep(int(denial.value.headers["retry-after-ms"]) / 1000)
            await limiter.reserve((limit,), {"requests": 1})


async def test_who_is_refused_by_several_subjects_is_told_of_the_longest(make: Make):
    limiter, user, key = make(), bound(1, per="minute"), bound(1, subject="key:1")
    await limiter.reserve((user, key), {"requests": 1})
    for each in ((user, key), (key, user)):
        with pytest.raises(RateLimited) as denial:
            await limiter.reserve(each, {"requests": 1})
        assert int(denial.value.headers["Retry-After"]) > 3600


async def test_who_asks_for_less_is_not_refused_for_who_asked_for_more(make: Make):
    limiter, tokens = make(), bound(100, "tokens")
    await limiter.reserve((tokens,), {"tokens": 70})
    with pytest.raises(RateLimited):
        await limiter.reserve((tokens,), {"tokens": 40})
    await limiter.reserve((tokens,), {"tokens": 30})


async def test_many_at_once_get_what_there_is(make: Make, database: Database):
    limiter, requests = make(), bound(50)
    outcomes = await asyncio.gather(
        *(limiter.reserve((requests,), {"requests": 1}) for _ in range(300)), return_exceptions=True
    )
    assert sum(not isinstance(each, Exception) for each in outcomes) == 50
    assert {type(each) for each in outcomes if isinstance(each, Exception)} == {RateLimited}
    await limiter.close()
    assert await used(database, requests) == 50


async def test_who_leaves_while_the_database_is_asked_leaves_nothing_taken(make: Make, database: Database):
    limiter, bounds = make(), (bound(50), bound(3, "concurrent_requests", None))
    for wait in (0, 0.001, 0.003, 0.01):
        calls = [
            asyncio.create_task(limiter.reserve(bounds, {"requests": 1, "concurrent_requests": 1})) for _ in range(5)
        ]
        await asyncio.sleep(wait)
        for each in calls:
            each.cancel()
        for each in await asyncio.gather(*calls, return_exceptions=True):
            if not isinstance(each, BaseException):
                each.cancel()
    await limiter.close()
    assert await used(database, bounds[0]) == 0
    document = await database.collection("limits").find_one({"_id": "user:1"})
    assert document is not None
    assert document["slots"] == []


async def test_who_leaves_while_they_look_how_it_stands_takes_nothing_along(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
):
    # Of a burst there is no lease that would keep what comes back.
    limiter, tokens = make(), bound(1000, "tokens", burst=1000)
    apply, gate = limiter._store.apply, asyncio.Event()

    async def slow(*args: Any, **more: Any) -> Any:
        await gate.wait()
        return await apply(*args, **more)

    reservation = await limiter.reserve((tokens,), {"tokens": 100})
    monkeypatch.setattr(limiter._store, "apply", slow)
    reservation.settle({"tokens": 10})
    looking = asyncio.create_task(limiter.standings((tokens,)))
    await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    gate.set()
    await settled(database, tokens, 10)


async def test_slots_are_never_more_than_the_limit(make: Make):
    slots = (bound(4, "concurrent_requests", None),)
    limiters, under_way, most = [make() for _ in range(3)], 0, 0
    told: set[str] = set()

    async def call(limiter: Limiter) -> int:
        nonlocal under_way, most
        served = 0
        for _ in range(60):
            try:
                reservation = await limiter.reserve(slots, {"concurrent_requests": 1})
            except RateLimited as error:
                told.add(error.headers["Retry-After"])
                await asyncio.sleep(0.02)
                continue
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.005)
            under_way -= 1
            served += 1
            reservation.settle({})
        return served

    served = await asyncio.gather(*(call(limiter) for limiter in limiters for _ in range(4)))
    assert most == 4
    assert told <= {"1"}
    assert sum(served) > 4


async def test_slots_that_others_hold_are_seen(make: Make):
    slots = (bound(4, "concurrent_requests", None),)
    busy, looks = make(), make()
    held = [await busy.reserve(slots, {"concurrent_requests": 1}) for _ in range(3)]
    assert [each.remaining for each in await looks.standings(slots)] == [1]
    assert [each.remaining for each in await busy.standings(slots)] == [1]
    for each in held:
        each.settle({})
    async with asyncio.timeout(PATIENCE_S):
        while (await looks.standings(slots))[0].remaining < 4:
            await asyncio.sleep(0.05)


async def test_slots_of_a_process_that_is_gone_come_free(make: Make):
    slots = (bound(2, "concurrent_requests", None),)
    dead, lasting = make(slot_life_s=1.0), make(slot_life_s=1.0)
    await dead.reserve(slots, {"concurrent_requests": 1})
    kept = await lasting.reserve(slots, {"concurrent_requests": 1})
    with pytest.raises(RateLimited):
        await lasting.reserve(slots, {"concurrent_requests": 1})
    # As if it was killed: nobody renews what it holds.
    dead._keeper._closed = True
    round_ = dead._keeper._round
    assert round_ is not None
    round_.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await lasting.reserve(slots, {"concurrent_requests": 1})
                break
            except RateLimited:
                await asyncio.sleep(0.05)
    # What is renewed, stays.
    for _ in range(10):
        await asyncio.sleep(0.2)
        with pytest.raises(RateLimited):
            await make().reserve(slots, {"concurrent_requests": 1})
    kept.settle({})


async def test_subjects_that_are_forgotten_give_back_what_they_held(make: Make, database: Database):
    limiter, hot = make(subjects=5), bound(10_000)
    for _ in range(100):
        await limiter.reserve((hot,), {"requests": 1})
    for number in range(20):
        await limiter.reserve((bound(10, subject=f"user:{number + 2}"),), {"requests": 1})
    assert len(limiter._plans) == 5
    await settled(database, hot, 100)
    assert (await limiter.reserve((hot,), {"requests": 1})).standings[0].remaining == 9899


async def test_a_limit_that_changes_counts_what_was_taken(make: Make):
    limiter = make()

    def limit(count: int) -> tuple[Bound, ...]:
        return (Bound("user:1", "requests", Limit("requests", count, "day")),)

    assert await taken(limiter, limit(5), {"requests": 1}) == 5
    assert await taken(limiter, limit(8), {"requests": 1}) == 3
    with pytest.raises(RateLimited):
        await limiter.reserve(limit(2), {"requests": 1})


async def test_windows_that_are_over_leave_the_document(make: Make, database: Database):
    limiter = make()
    await limiter.reserve((bound(5, per="second"),), {"requests": 1})
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # By another caller of the same subject, whom that window does not bind.
            await make().standings((bound(1000),))
            await limiter.reserve((bound(1_000_000, per="hour"),), {"requests": 1})
            await make().standings((bound(1000),))
            document = await database.collection("limits").find_one({"_id": "user:1"})
            assert document is not None
            if "requests-5:second" not in document["w"]:
                break
            await asyncio.sleep(0.1)
    assert "requests-1000000:hour" in document["w"]


async def test_who_took_more_than_was_reserved_is_told_when_there_is_as_much_again(make: Make) -> None:
    limiter, of = make(), bound(1000, "tokens", "hour")
    first = await limiter.reserve((of,), {"tokens": 500})
    first.settle({"tokens": 900})
    with pytest.raises(RateLimited) as denied:
        await limiter.reserve((of,), {"tokens": 950})
    assert 3600 <= int(denied.value.headers["Retry-After"]) <= 3600 + 180
