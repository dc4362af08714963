"""Several processes, each with its own limiter, on one database: never one more than the limit, and none fewer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid

import pytest

from app.domain.limits import Amounts, Bound, Limit
from app.errors import RateLimited
from app.services.limits.limiter import Limiter
from app.storage.database import Database
from app.storage.limits import Limits
from tests.support.limit_hammer import hammers, job
from tests.support.mongo import MongoServer

# Long enough that nothing comes back while a test runs.
REQUESTS = Bound("user:1", "requests", Limit("requests", 300, "day"))
TOKENS = Bound("user:1", "tokens", Limit("tokens", 30_000, "day"))
OF_THE_KEY = Bound("key:1", "requests", Limit("requests", 250, "day"))
BURST = Bound("user:1", "bursts", Limit("requests", 100_000, "day", burst=120))

CASES: dict[str, tuple[tuple[Bound, ...], Amounts, int]] = {
    "requests": ((REQUESTS,), {"requests": 1}, 300),
    "tokens": ((TOKENS,), {"tokens": 150}, 200),
    "both": ((REQUESTS, TOKENS), {"requests": 1, "tokens": 120}, 250),
    "of two subjects": ((REQUESTS, TOKENS, OF_THE_KEY), {"requests": 1, "tokens": 100}, 250),
}


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def admitted(request: pytest.FixtureRequest, mongodb: MongoServer) -> dict[str, int]:
    """How many requests of each case so many processes let in, all of which play all cases at once."""
    processes = request.param
    jobs = [
        job(mongodb, f"exactness_{uuid.uuid4().hex}", bounds, amounts, gateways=processes)
        for bounds, amounts, _ in CASES.values()
    ]
    with hammers([jobs] * processes) as started:
        found = [each.results() for each in started]
    return {case: sum(each["admitted"] for each in results) for case, *results in zip(CASES, *found, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_as_much_is_let_in_as_the_limit_says(case: str, admitted: dict[str, int]):
    assert admitted[case] == CASES[case][2]


async def test_what_is_not_used_is_let_in_again_to_the_last_token(mongodb: MongoServer, database_name: str):
    what = job(mongodb, database_name, (TOKENS,), {"tokens": 100}, uses={"tokens": 25})
    with hammers([what] * 4) as started:
        results = await asyncio.gather(*(asyncio.to_thread(each.result) for each in started))
    # The last ones need room for 100 to use 25: the fewer than 100 that are left then stay.
    assert sum(each["admitted"] for each in results) == (30_000 - 75) // 25


async def test_a_process_that_is_killed_takes_along_what_it_held_and_no_more(
    mongodb: MongoServer, database_name: str, database: Database
):
    bounds = (Bound("user:1", "requests", Limit("requests", 3000, "day")),)
    dying = job(mongodb, database_name, bounds, {"requests": 1}, most=300)
    lasting = job(mongodb, database_name, bounds, {"requests": 1})
    with hammers([dying, lasting, lasting, lasting]) as started:
        await asyncio.to_thread(started[0].admitted)
        os.kill(started[0].process.pid, signal.SIGKILL)
        results = await asyncio.gather(*(asyncio.to_thread(each.result) for each in started[1:]))
    others = sum(each["admitted"] for each in results)
    assert 3000 - 300 - 3000 // 16 <= others < 3000
    document = await database.collection("limits").find_one({"_id": "user:1"})
    assert document is not None
    assert sum(each["n"] for each in document["w"]["requests:day"]["s"]) == 3000


async def test_a_clock_that_is_hours_off_has_no_effect(mongodb: MongoServer, database_name: str):
    bounds = (Bound("user:1", "requests", Limit("requests", 300, "hour")),)
    jobs = [job(mongodb, database_name, bounds, {"requests": 1}, shift_s=hours * 3600) for hours in (-5, 0, 7, 500)]
    with hammers(jobs) as started:
        results = await asyncio.gather(*(asyncio.to_thread(each.result) for each in started))
    assert sum(each["admitted"] for each in results) == 300


async def test_a_window_that_slides_never_holds_more_than_its_limit(database: Database):
    """By the database's clock, over several periods and several processes' worth of limiters."""
    bounds = (Bound("user:1", "requests", Limit("requests", 20, "second")),)
    limiters = [Limiter(Limits(database), gateways=3, timeout_s=10, grace_s=60) for _ in range(3)]
    slices: list[int] = []

    async def call(limiter: Limiter) -> None:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            try:
                reservation = await limiter.reserve(bounds, {"requests": 1})
            except RateLimited:
                await asyncio.sleep(0.005)
                continue
            ((*_, where, _, _),) = reservation._taken[0].pieces
            assert isinstance(where, int)
            slices.append(where)

    await asyncio.gather(*(call(limiter) for limiter in limiters for _ in range(4)))
    for limiter in limiters:
        await limiter.close()
    assert max(slices) - min(slices) > 20
    for first in set(slices):
        assert sum(first <= k <= first + 20 for k in slices) <= 20


async def test_a_burst_is_followed_by_an_even_pace(database: Database):
    limiters = [Limiter(Limits(database), gateways=2, timeout_s=10, grace_s=60) for _ in range(2)]
    admitted = 0
    for _ in range(100):
        for limiter in limiters:
            try:
                await limiter.reserve((BURST,), {"requests": 1})
            except RateLimited:
                continue
            admitted += 1
    for limiter in limiters:
        await limiter.close()
    # One more each 0.86 s.
    assert 120 <= admitted <= 200
