"""Who waits for a lease: tenants take turns, nobody is overtaken, and what is refused is refused at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from app.domain.model_spec import RequestLimits
from app.services.backend import Share
from deployments import lease as module
from deployments import places
from deployments.lease import LeasePool, Place
from deployments.links import Links
from deployments.outcomes import Crowded
from deployments.turnover import Turnover
from tests.deployments.test_lease import Serve, replicas

pytestmark = pytest.mark.usefixtures("clean_loop")

WIDE = RequestLimits(max_queued_requests=1000)
TURN_S = 0.01


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases do not come by themselves while the test looks."""
    monkeypatch.setattr(module, "FOLLOW_S", 60)


@contextlib.asynccontextmanager
async def model(places: int) -> AsyncGenerator[tuple[Serve, LeasePool]]:
    """One replica with so many places, and its pool."""
    links = Links()
    async with replicas("a", places) as serve:
        yield serve, LeasePool(serve.ask, links)
        links.close()


def share(tenant: str, priority: int = 0, output_tokens: int = 0) -> Share:
    return Share(tenant, 1.0, priority, 100, output_tokens)


def ask(pool: LeasePool, tenant: str, limits: RequestLimits = WIDE) -> asyncio.Task[Place]:
    return asyncio.create_task(pool.acquire(share=share(tenant), limits=limits), name=tenant)


async def drain(pool: LeasePool, held: list[Place], waiting: list[asyncio.Task[Place]]) -> str:
    """Let requests end one after the other; whose came in what order."""
    order = ""
    while held:
        pool.release(held.pop(0))
        await asyncio.sleep(0)
        for task in [task for task in waiting if task.done()]:
            waiting.remove(task)
            if not task.cancelled() and task.exception() is None:
                order += task.get_name()
                held.append(task.result())
    return order


async def begin(serve: Serve, pool: LeasePool, places: int) -> list[Place]:
    """Fill all places."""
    held = [await pool.acquire(share=share("a"), limits=WIDE) for _ in range(places)]
    serve.room = asyncio.Semaphore(0)
    return held


async def test_tenants_take_turns_however_many_wait():
    async with model(2) as (serve, pool):
        held = await begin(serve, pool, 2)
        waiting = [ask(pool, "a") for _ in range(12)]
        await asyncio.sleep(TURN_S)
        waiting += [ask(pool, "b") for _ in range(4)]
        await asyncio.sleep(TURN_S)
        order = await drain(pool, held, waiting)
        assert Counter(order) == {"a": 12, "b": 4}
        assert order[:9].count("b") == 4


async def test_nobody_overtakes_those_who_wait_on_trust_either():
    async with model(4) as (serve, pool):
        held = await begin(serve, pool, 4)
        waiting = [ask(pool, "a") for _ in range(2)]
        await asyncio.sleep(TURN_S)
        # A place on trust comes free without anybody being told.
        trusted = next(place for place in held if place.lease is None)
        held.remove(trusted)
        pool._no_longer_trust(trusted)
        late = ask(pool, "b")
        await asyncio.sleep(TURN_S)
        assert [task.done() for task in (*waiting, late)].count(True) == 1
        waiting.append(late)
        pool._trusted[trusted] = None
        pool._trusted_by[trusted.link.replica] += 1
        await drain(pool, [*held, trusted], waiting)
        for task in waiting:
            pool.release(await task)


async def test_a_request_that_finds_a_free_place_waits_for_nobody():
    async with model(4) as (serve, pool):
        held = [await pool.acquire(share=share(tenant), limits=WIDE) for tenant in "aaab"]
        for place in held:
            pool.release(place)
        assert len(serve.calls) == 1


async def test_what_an_answer_took_counts_for_the_next_turn():
    async with model(2) as (serve, pool):
        held = [await pool.acquire(share=share("b"), limits=WIDE), await pool.acquire(share=share("a"), limits=WIDE)]
        serve.room = asyncio.Semaphore(0)
        waiting = [ask(pool, tenant) for tenant in "aaabbb"]
        await asyncio.sleep(TURN_S)
        pool.served(held[0], 100, 5000)
        assert await drain(pool, held, waiting) == "aaabbb"


async def test_a_full_queue_refuses_at_once_and_asks_serve_nothing():
    limits = RequestLimits(max_queued_requests=5)
    async with model(1) as (serve, pool):
        held = await begin(serve, pool, 1)
        waiting = [ask(pool, "a", limits) for _ in range(5)]
        await asyncio.sleep(TURN_S)
        before = len(serve.calls)
        for _ in range(100):
            with pytest.raises(Crowded):
                await pool.acquire(share=share("a"), limits=limits)
        assert len(serve.calls) == before
        assert await drain(pool, held, waiting) == "aaaaa"


async def test_a_flood_loses_its_newest_to_another_tenant():
    limits = RequestLimits(max_queued_requests=6)
    async with model(1) as (serve, pool):
        held = await begin(serve, pool, 1)
        flood = [ask(pool, "a", limits) for _ in range(6)]
        await asyncio.sleep(TURN_S)
        asked = len(serve.calls)
        others = [ask(pool, "b", limits) for _ in range(2)]
        await asyncio.sleep(TURN_S)
        assert [isinstance(task.exception(), Crowded) for task in flood if task.done()] == [True, True]
        assert not any(task.done() for task in (*flood[:4], *others))
        assert len(serve.calls) == asked, "as many wait as before"
        assert not any(call.cancelled for call in serve.calls)
        assert Counter(await drain(pool, held, [*flood[:4], *others])) == {"a": 4, "b": 2}


async def test_who_leaves_makes_room_at_once():
    limits = RequestLimits(max_queued_requests=2)
    async with model(1) as (serve, pool):
        held = await begin(serve, pool, 1)
        waiting = [ask(pool, "a", limits) for _ in range(2)]
        await asyncio.sleep(TURN_S)
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(ask(pool, "a", limits))
        await asyncio.sleep(TURN_S)
        assert await drain(pool, held, waiting) == "aa"


async def test_a_turn_that_came_as_its_caller_left_is_not_counted():
    async with model(1) as (serve, pool):
        (held,) = await begin(serve, pool, 1)
        leaving = ask(pool, "b")
        await asyncio.sleep(TURN_S)
        before = pool._waiters.fairness.counter((0, "b"))
        pool.release(held)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert pool._waiters.fairness.counter((0, "b")) == before
        pool.release(await pool.acquire())


async def test_while_others_wait_leases_that_came_together_do_not_end_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MAX_AGE_S", 0.0)
    async with model(1) as (serve, pool):
        first = await pool.acquire(limits=WIDE)
        serve.room = asyncio.Semaphore(0)
        second, third = ask(pool, "a"), ask(pool, "a")
        await asyncio.sleep(TURN_S)
        assert pool._turnover.take_turn()
        pool.release(first)
        assert (await second).lease is first.lease, "the last one to end has not been made good"
        pool._turnover = Turnover()
        pool.release(await second)
        place = await third
        assert place.lease is not first.lease
        pool.release(place)


async def test_a_lease_that_comes_is_for_those_who_run_on_trust_or_the_replica_would_run_more_than_it_can():
    async with model(4) as (serve, pool):
        held = await begin(serve, pool, 4)
        waiting = [ask(pool, "a") for _ in range(3)]
        await asyncio.sleep(TURN_S)
        assert sum(place.lease is None for place in held) == 3
        # Serve knows of one request, and gives leases for three more.
        for _ in waiting:
            serve.room.release()
        await asyncio.sleep(TURN_S)
        assert all(place.lease is not None for place in held)
        assert not any(task.done() for task in waiting)
        assert await drain(pool, held, waiting) == "aaa"


async def test_a_crowd_that_comes_and_goes_leaves_nothing_behind():
    limits = RequestLimits(max_queued_requests=20)
    async with model(2) as (serve, pool):
        held = await begin(serve, pool, 2)
        for turn in range(20):
            tasks = [
                asyncio.create_task(pool.acquire(share=share(f"t{turn}-{each}"), limits=limits)) for each in range(50)
            ]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert not len(pool._waiters)
        assert not pool._wanted - len(pool._trusted)
        for place in held:
            pool.release(place)
        assert not pool._waiters._tenants
