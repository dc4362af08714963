"""Before Serve's own queue: few go in, the others take turns."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.model_spec import RequestLimits
from app.services.backend import Share
from deployments.door import Door
from deployments.outcomes import Crowded

pytestmark = pytest.mark.usefixtures("clean_loop")

LIMITS = RequestLimits(max_ongoing_requests=2, max_queued_requests=8)


class Serve:
    """Lets one in when it is told to."""

    def __init__(self) -> None:
        self.door = Door()
        self.asked = ""
        self.room = asyncio.Semaphore(0)

    def ask(self, tenant: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._ask(tenant))

    async def _ask(self, tenant: str) -> None:
        async with self.door.open(Share(tenant, input_tokens=10), LIMITS):
            self.asked += tenant
            await self.room.acquire()


async def test_few_ask_at_once_and_tenants_take_turns():
    serve = Serve()
    tasks = [serve.ask("a") for _ in range(6)]
    await asyncio.sleep(0)
    tasks += [serve.ask("b") for _ in range(2)]
    await asyncio.sleep(0)
    assert serve.asked == "aa"
    for _ in tasks:
        serve.room.release()
    await asyncio.gather(*tasks)
    assert sorted(serve.asked) == list("aaaaaabb")
    assert serve.asked.rindex("b") < 6
    assert not serve.door.inside


async def test_a_flood_is_refused_and_nobody_else():
    serve = Serve()
    flood = [serve.ask("a") for _ in range(12)]
    await asyncio.sleep(0.01)
    assert sum(isinstance(task.exception(), Crowded) for task in flood if task.done()) == 4
    other = serve.ask("b")
    await asyncio.sleep(0.01)
    assert not other.done()
    assert sum(task.done() for task in flood) == 5
    for _ in range(20):
        serve.room.release()
    await asyncio.gather(*flood, other, return_exceptions=True)
    assert not serve.door.inside


async def test_who_leaves_makes_room_whenever_he_leaves():
    serve = Serve()
    tasks = [serve.ask("a") for _ in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert serve.asked == "aaa"
    # The next one's turn comes in the moment in which he leaves.
    serve.room.release()
    await asyncio.sleep(0)
    tasks[4].cancel()
    await asyncio.sleep(0.01)
    serve.room.release()
    serve.room.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not serve.door.inside
