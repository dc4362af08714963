"""One gateway's worth of requests on a limit, as a process of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, Any

from app.domain.limits import Bound, Limit
from app.errors import RateLimited
from app.services.limits.limiter import Limiter
from app.settings import ROOT
from app.storage.database import Database
from app.storage.limit_pipeline import Change, WindowChange
from app.storage.limit_updates import InOne
from app.storage.limits import Limits
from scripts.bench.calls import listen
from scripts.bench.servers import BenchError
from scripts.bench.stats import percentile

DATABASE = "limits_bench"
TIMEOUT_S = 120.0
TOGETHER = 10
"""Requests that come at the same moment."""

OURS = "ours"
ONE_EACH = "one operation a request"
PACKAGE = {
    "limits, sliding window": "SlidingWindowCounterRateLimiter",
    "limits, moving window": "MovingWindowRateLimiter",
}
"""What the package calls its ways."""

Decide = Callable[[], Awaitable[bool]]
"""Whether one more request is let in."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a process is to do.

    Attributes:
        arm: Which way decides.
        limit: Of requests in an hour.
        rate: Requests a second.
    """

    arm: str
    uri: str
    subject: str
    limit: int
    processes: int
    rate: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Calls:
    """What came of it.

    Attributes:
        operations: Commands that were sent to the database.
        cpu_s: Processor seconds of the process meanwhile.
        pacing_s: The same for as many requests without a limiter.
        wait_ms: How long a decision took, 99th percentile.
    """

    requests: int
    admitted: int
    operations: int
    cpu_s: float
    pacing_s: float
    wait_ms: float


def run(call: Call, processes: int) -> list[Calls]:
    """Let so many processes do the same at once.

    Raises:
        BenchError: One of them failed.
    """
    with ExitStack() as stack:
        started: list[subprocess.Popen[str]] = []
        errors: list[IO[str]] = []
        for _ in range(processes):
            command = [sys.executable, "-m", "scripts.bench.limits_caller", json.dumps(asdict(call))]
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            errors.append(said)
            started.append(process)
        # Each says so once it has started, and has measured what pacing costs.
        ready = [process.stdout is not None and process.stdout.readline() for process in started]
        if all(ready):
            answers = _let_go(started, call.seconds * 10 + 60)
            if not any(process.returncode for process in started):
                return [Calls(**json.loads(each)) for each in answers]
        for said in errors:
            said.seek(0)
        raise BenchError(f"{call.arm}: {next(filter(None, map(_last_line, errors)), 'no answer')}")


def _let_go(started: Sequence[subprocess.Popen[str]], timeout_s: float) -> list[str]:
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=timeout_s)[0] for process in started]


def _last_line(said: IO[str]) -> str:
    return (said.read().strip().splitlines() or [""])[-1].strip("| +-")[:200]


async def _main(call: Call) -> Calls:
    calls = listen()
    database = Database(call.uri, DATABASE, timeout_s=TIMEOUT_S, pool_size=16)
    await database.ping()
    decide, close = _decider(call, database)
    # Everything is imported and connected before it is measured.
    gc.collect()
    gc.freeze()
    before_s, *_ = await _paced(call, _always)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before = calls.of(DATABASE).total()
    cpu_s, waits, admitted = await _paced(call, decide)
    operations = calls.of(DATABASE).total() - before
    # What surrounds it changes with time, too.
    after_s, *_ = await _paced(call, _always)
    await close()
    database.close()
    pacing_s = (before_s + after_s) / 2
    return Calls(len(waits), admitted, operations, cpu_s, pacing_s, percentile(waits, 0.99) * 1000)


async def _paced(call: Call, decide: Decide) -> tuple[float, list[float], int]:
    """Processor seconds, how long each decision took, and how many were let in."""
    waits: list[float] = []
    admitted = 0

    async def one() -> None:
        nonlocal admitted
        asked = time.perf_counter()
        fits = await decide()
        admitted += fits
        waits.append(time.perf_counter() - asked)

    began, used = time.monotonic(), time.process_time()
    # One that fails ends them all.
    async with asyncio.TaskGroup() as group:
        for number in range(call.rate * call.seconds):
            # A few at a time: to wake up for each costs more than what is measured.
            if number % TOGETHER == 0:
                await asyncio.sleep(max(0.0, began + number / call.rate - time.monotonic()))
            group.create_task(one())
    return time.process_time() - used, waits, admitted


async def _always() -> bool:
    return True


def _decider(call: Call, database: Database) -> tuple[Decide, Callable[[], Awaitable[None]]]:
    if call.arm == OURS:
        return _ours(call, database)
    if call.arm in PACKAGE:
        return _package(call)
    if call.arm == ONE_EACH:
        return _one_each(call, database)
    raise BenchError(f"no such way: {call.arm}")


def _ours(call: Call, database: Database) -> tuple[Decide, Callable[[], Awaitable[None]]]:
    limiter = Limiter(Limits(database), gateways=call.processes, timeout_s=TIMEOUT_S, grace_s=60)
    bounds = (Bound(call.subject, "requests", Limit("requests", call.limit, "hour")),)

    async def decide() -> bool:
        try:
            reservation = await limiter.reserve(bounds, {"requests": 1})
        except RateLimited:
            return False
        reservation.settle({})
        return True

    return decide, limiter.close


def _one_each(call: Call, database: Database) -> tuple[Decide, Callable[[], Awaitable[None]]]:
    # Also where ours takes two for the sake of large collections: this one is small.
    store = Limits(database, updates=InOne(database.collection("limits")))
    change = Change(call.subject, (WindowChange("requests:hour", "hour", call.limit, need=1),))

    async def decide() -> bool:
        return (await store.apply(change, share=1, timeout_s=TIMEOUT_S)).ok

    return decide, _nothing


def _package(call: Call) -> tuple[Decide, Callable[[], Awaitable[None]]]:
    import limits  # noqa: PLC0415 - it need not be there
    from limits.aio import storage, strategies  # noqa: PLC0415

    options: dict[str, Any] = {"database_name": DATABASE}
    store = storage.MongoDBStorage(f"async+{call.uri}", **options)
    limiter = getattr(strategies, PACKAGE[call.arm])(store)
    item = limits.RateLimitItemPerHour(call.limit)

    async def decide() -> bool:
        return await limiter.hit(item, call.subject)

    return decide, _nothing


async def _nothing() -> None:
    return None


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_main(Call(**json.loads(sys.argv[1])))))))
