"""The database stands still, and comes back: what each gateway does meanwhile, and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.domain.limits import Bound, Limit
from app.errors import DatabaseUnavailable, RateLimited
from app.services.limits.limiter import Limiter
from app.services.limits.outage import Mode
from app.storage.database import Database
from app.storage.limits import Limits
from tests.support.mongo import MongoServer

PATIENCE_S = 30.0
REQUESTS = Bound("user:1", "requests", Limit("requests", 40, "day"))
TOKENS = Bound("user:1", "tokens", Limit("tokens", 4000, "day"))
BUDGET = Bound("user:1", "spend", Limit("spend", 10**12, "month"))
SLOTS = Bound("user:1", "slots", Limit("concurrent_requests", 8, None))

pytestmark = pytest.mark.usefixtures("clean_loop")


@contextlib.asynccontextmanager
async def limiter_on(server: MongoServer, modes: list[Mode], **options: Any) -> AsyncIterator[Limiter]:
    database = Database(server.uri, "test", timeout_s=10, pool_size=8)
    # Generous until it stands still: a busy machine is no outage.
    given = {"gateways": 4, "timeout_s": 3.0, "grace_s": 60, "probe_s": 0.1, **options}
    limiter = Limiter(Limits(database), on_mode=modes.append, **given)
    try:
        yield limiter
    finally:
        await limiter.close()
        database.close()


@contextlib.contextmanager
def stopped(server: MongoServer) -> Iterator[None]:
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    # On a busy machine, others of its threads answer until one of them has seen the signal.
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def until(limiter: Limiter, mode: Mode) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while limiter.mode != mode:
            await asyncio.sleep(0.02)


async def admitted(limiter: Limiter, bounds: tuple[Bound, ...], amounts: Any) -> int:
    count = 0
    with contextlib.suppress(RateLimited):
        while True:
            await limiter.reserve(bounds, amounts)
            count += 1
    return count


async def left(limiter: Limiter, of: Bound, *expected: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await limiter.standings((of,)))[0].remaining not in expected:
            await asyncio.sleep(0.05)


async def test_a_share_is_let_in_meanwhile_and_charged_afterwards(
    own_mongodb: MongoServer, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "manta")
    modes: list[Mode] = []
    async with limiter_on(own_mongodb, modes) as limiter:
        await limiter.reserve((REQUESTS,), {"requests": 1})
        with stopped(own_mongodb):
            assert await admitted(limiter, (REQUESTS,), {"requests": 1}) == 10
            assert limiter.mode == "degraded"
            started = time.monotonic()
            for _ in range(50):
                with pytest.raises(RateLimited, match="Try again in"):
                    await limiter.reserve((REQUESTS,), {"requests": 1})
            assert time.monotonic() - started < 3.0, "each of them waited for the database"
        await until(limiter, "exact")
        # The one of before, ten of the share, and one of which nobody knew whether the database would hear of it.
        await left(limiter, REQUESTS, 28, 29)
        assert modes == ["degraded", "exact"]
        assert limiter.mode_changes == 2
    told = [record.limits_mode for record in caplog.records if hasattr(record, "limits_mode")]
    assert told == modes


async def test_an_outage_gives_nobody_a_share_on_top_of_what_they_had(own_mongodb: MongoServer):
    async with limiter_on(own_mongodb, [], gateways=1) as limiter:
        for _ in range(38):
            await limiter.reserve((REQUESTS,), {"requests": 1})
        for expected in (2, 0):
            with stopped(own_mongodb):
                # One may be lost to the operation of which nobody knows whether it was done.
                assert expected - 1 <= await admitted(limiter, (REQUESTS,), {"requests": 1}) <= expected
            await until(limiter, "exact")


async def test_what_is_given_back_meanwhile_makes_room_and_is_not_charged(own_mongodb: MongoServer):
    async with limiter_on(own_mongodb, []) as limiter:
        with stopped(own_mongodb):
            for _ in range(30):
                (await limiter.reserve((TOKENS,), {"tokens": 500})).settle({"tokens": 10})
            late = await limiter.reserve((TOKENS,), {"tokens": 500})
        await until(limiter, "exact")
        await left(limiter, TOKENS, 4000 - 30 * 10 - 500, 4000 - 30 * 10 - 500 - 500)
        late.settle({"tokens": 100})
        await left(limiter, TOKENS, 4000 - 30 * 10 - 100, 4000 - 30 * 10 - 100 - 500)


async def test_what_was_about_to_be_told_when_the_database_went_away_again_is_told_when_it_is_back(
    own_mongodb: MongoServer, monkeypatch: pytest.MonkeyPatch
):
    async def away(*args: Any, **more: Any) -> Any:
        raise DatabaseUnavailable("away")

    async with limiter_on(own_mongodb, []) as limiter:
        (part,) = limiter._plans.of((REQUESTS,))
        with monkeypatch.context() as patched:
            patched.setattr(limiter._store, "apply", away)
            for _ in range(3):
                await limiter.reserve((REQUESTS,), {"requests": 1})
            # Somebody else's turn, until it is away once more.
            await part.subject.turn.acquire()
        await until(limiter, "exact")
        async with asyncio.timeout(PATIENCE_S):
            while part.subject not in limiter._keeper._telling:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        limiter._outage.begin()
        part.subject.turn.release()
        await until(limiter, "exact")
        await left(limiter, REQUESTS, 37)


async def test_slots_are_shared_too_and_held_again_afterwards(own_mongodb: MongoServer):
    async with limiter_on(own_mongodb, []) as limiter:
        with stopped(own_mongodb):
            held = [await limiter.reserve((SLOTS,), {"concurrent_requests": 1}) for _ in range(2)]
            with pytest.raises(RateLimited):
                await limiter.reserve((SLOTS,), {"concurrent_requests": 1})
        await until(limiter, "exact")
        async with limiter_on(own_mongodb, []) as other:
            async with asyncio.timeout(PATIENCE_S):
                while len(more := await _all(other)) != 6:
                    for each in more:
                        each.cancel()
                    await asyncio.sleep(0.1)
            for each in [*held, *more]:
                each.settle({})


async def _all(limiter: Limiter) -> list[Any]:
    taken: list[Any] = []
    with contextlib.suppress(RateLimited):
        while True:
            taken.append(await limiter.reserve((SLOTS,), {"concurrent_requests": 1}))
    return taken


async def test_budgets_close_after_a_while_and_other_limits_do_not(own_mongodb: MongoServer):
    modes: list[Mode] = []
    async with limiter_on(own_mongodb, modes, grace_s=0.5, timeout_s=1.0) as limiter:
        await limiter.reserve((REQUESTS, BUDGET), {"requests": 1, "spend": 5})
        with stopped(own_mongodb):
            await limiter.reserve((REQUESTS, BUDGET), {"requests": 1, "spend": 5})
            await until(limiter, "closed")
            with pytest.raises(DatabaseUnavailable) as closed:
                await limiter.reserve((REQUESTS, BUDGET), {"requests": 1, "spend": 5})
            assert int(closed.value.headers["Retry-After"]) >= 1
            await limiter.reserve((REQUESTS,), {"requests": 1})
            # What costs nothing asks nothing of a budget.
            await limiter.reserve((REQUESTS, BUDGET), {"requests": 1})
            with pytest.raises(DatabaseUnavailable):
                await limiter.standings((BUDGET,))
        await until(limiter, "exact")
        await limiter.reserve((REQUESTS, BUDGET), {"requests": 1, "spend": 5})
        assert modes == ["degraded", "closed", "exact"]


async def test_a_server_that_is_gone_is_an_outage_too(own_mongodb: MongoServer):
    async with limiter_on(own_mongodb, []) as limiter:
        await limiter.reserve((REQUESTS,), {"requests": 1})
        await asyncio.to_thread(own_mongodb.stop)
        assert await admitted(limiter, (REQUESTS,), {"requests": 1}) == 10
        await asyncio.to_thread(own_mongodb.start)
        await until(limiter, "exact")
        await limiter.reserve((REQUESTS,), {"requests": 1})


async def test_a_process_that_slept_through_the_answer_counts_at_the_database_still(own_mongodb: MongoServer) -> None:
    modes: list[Mode] = []
    async with limiter_on(own_mongodb, modes, timeout_s=1.5) as limiter:
        await limiter.reserve((REQUESTS,), {"requests": 1})
        asking = asyncio.create_task(limiter.reserve((REQUESTS,), {"requests": 1}))
        for _ in range(3):
            await asyncio.sleep(0)
        time.sleep(3.5)  # noqa: ASYNC251 - as a process does that is stopped for a while
        standings = (await asking).standings
        assert modes == []
        # What it asked for and never heard of may be taken, and is nobody's then.
        assert {each.remaining for each in standings} <= {38, 37}
