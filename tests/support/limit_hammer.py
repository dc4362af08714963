"""A gateway's worth of callers on a few limits, as a process of its own: ``python -m tests.support.limit_hammer JOBS``.

It waits for a line on its standard input, takes as much as it gets, ends when nothing was to be had for a while, and
prints how much it got: for each of several jobs, which it does side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.domain.limits import Amounts, Bound, Limit
from app.errors import RateLimited
from app.services.limits.limiter import Limiter
from app.storage.database import Database
from app.storage.limits import Limits
from tests.support.mongo import MongoServer

DRY_S = 3.0
"""Longer than a denial is remembered and a lease is kept by those who have no use for it."""


@dataclass
class Job:
    """What a process is to do.

    Attributes:
        uses: How much of what a request really takes; None leaves it as it was reserved.
        callers: How many take turns.
        shift_s: How wrong this process's clock is.
        dry_s: When it ends, after the last that it got.
    """

    uri: str
    database: str
    bounds: Sequence[dict[str, Any]]
    amounts: Amounts
    uses: Amounts | None = None
    gateways: int = 4
    callers: int = 8
    shift_s: float = 0.0
    dry_s: float = DRY_S
    slot_life_s: float = 30.0
    most: int = field(default=10**9)


def job(mongodb: MongoServer, name: str, bounds: Sequence[Bound], amounts: Amounts, **more: Any) -> Job:
    """A job on a test's database."""
    return Job(mongodb.uri, name, [asdict(bound) for bound in bounds], amounts, **more)


class Hammer:
    """A process that was started."""

    def __init__(self, *jobs: Job) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.limit_hammer", json.dumps([asdict(each) for each in jobs])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it can begin."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def admitted(self) -> int:
        """Wait for its first admission, and return how many there were by then."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def result(self) -> dict[str, int]:
        """What it says in the end of its job: how many requests were let in, and how many operations that took."""
        (result,) = self.results()
        return result

    def results(self) -> list[dict[str, int]]:
        """The same, of all of its jobs."""
        said, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0
        return json.loads(said.splitlines()[-1])


@contextlib.contextmanager
def hammers(jobs: Sequence[Job | Sequence[Job]]) -> Iterator[list[Hammer]]:
    """Processes that begin together, each with its job or jobs."""
    started = [Hammer(*([each] if isinstance(each, Job) else each)) for each in jobs]
    try:
        for each in started:
            each.ready()
        for each in started:
            each.go()
        yield started
    finally:
        for each in started:
            each.process.kill()
            each.process.communicate()


async def _hammer_all(jobs: Sequence[Job]) -> list[dict[str, int]]:
    if jobs[0].shift_s:
        real = time.time
        time.time = lambda: real() + jobs[0].shift_s
    databases = [Database(each.uri, each.database, timeout_s=30, pool_size=4) for each in jobs]
    for database in databases:
        await database.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    return await asyncio.gather(*map(_hammer, jobs, databases))


async def _hammer(what: Job, database: Database) -> dict[str, int]:
    store = Limits(database, slot_life_s=what.slot_life_s)
    operations = 0
    apply = store.apply

    async def counted(*args: Any, **more: Any) -> Any:
        nonlocal operations
        operations += 1
        return await apply(*args, **more)

    store.apply = counted
    limiter = Limiter(store, gateways=what.gateways, timeout_s=30, grace_s=60)
    bounds = tuple(Bound(**{**each, "limit": Limit(**each["limit"])}) for each in what.bounds)
    admitted, asked, last = 0, 0, time.monotonic()

    async def call() -> None:
        nonlocal admitted, asked, last
        while time.monotonic() - last < what.dry_s and admitted < what.most:
            asked += 1
            try:
                reservation = await limiter.reserve(bounds, what.amounts)
            except RateLimited:
                await asyncio.sleep(0.01)
                continue
            admitted, last = admitted + 1, time.monotonic()
            if admitted == 1:
                print(1, flush=True)
            if what.uses is not None:
                reservation.settle(what.uses)
            await asyncio.sleep(0)

    await asyncio.gather(*(call() for _ in range(what.callers)))
    if what.most < 10**9:
        # As one that holds what it has, until it is killed.
        await asyncio.sleep(3600)
    await limiter.close()
    database.close()
    return {"admitted": admitted, "asked": asked, "operations": operations}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_hammer_all([Job(**each) for each in json.loads(sys.argv[1])]))))
