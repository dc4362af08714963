from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployments import queues as module
from deployments.queues import Queues

pytestmark = pytest.mark.usefixtures("clean_loop")


class Manager:
    """Hears."""

    def __init__(self) -> None:
        self.heard: list[dict[str, int]] = []
        self.fails = False
        self.lets_go = asyncio.Event()
        self.lets_go.set()
        self.demand = SimpleNamespace(remote=self._demand)

    async def _demand(self, gateway: str, queued: dict[str, int]) -> None:
        assert gateway == "g"
        if self.fails:
            raise RuntimeError("gone")
        self.heard.append(queued)
        await self.lets_go.wait()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setattr(module, "REPEAT_S", 0.02)
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    return Manager()


async def heard(manager: Manager, queued: dict[str, int]) -> None:
    async with asyncio.timeout(5):
        while queued not in manager.heard:
            await asyncio.sleep(0.005)


async def test_whoever_waits_for_a_model_that_is_not_up_is_told_of_at_once_and_until_it_is_over(manager: Manager):
    queues = Queues(cast(Any, manager), "g")
    first, second = queues.enter("m", ready=False), queues.enter("m", ready=False)
    await heard(manager, {"m": 2})
    first.set()
    await heard(manager, {"m": 1})
    second.set()
    second.set()
    await heard(manager, {})
    await asyncio.sleep(0.05)
    assert manager.heard[-1] == {}
    assert manager.heard.count({}) == 1


async def test_whoever_comes_while_it_is_told_that_nobody_waits_is_told_of_next(manager: Manager):
    queues = Queues(cast(Any, manager), "g")
    queues.enter("m", ready=False).set()
    waiting = queues.enter("m", ready=False)
    await heard(manager, {"m": 1})
    waiting.set()
    manager.lets_go.clear()
    await heard(manager, {})
    late = queues.enter("late", ready=False)
    manager.lets_go.set()
    await heard(manager, {"late": 1})
    late.set()
    await queues.stop()


async def test_a_moment_s_wait_for_a_model_that_is_up_is_nobodys_business(manager: Manager):
    queues = Queues(cast(Any, manager), "g")
    queues.enter("m", ready=True).set()
    await asyncio.sleep(0.05)
    assert manager.heard == []


async def test_a_long_wait_for_a_model_that_is_full_is_told_of(manager: Manager):
    queues = Queues(cast(Any, manager), "g")
    waiting = queues.enter("m", ready=True)
    await heard(manager, {"m": 1})
    waiting.set()
    await heard(manager, {})
    await asyncio.sleep(0.05)


async def test_a_manager_that_is_gone_for_a_while_is_told_when_it_is_back(manager: Manager):
    manager.fails = True
    queues = Queues(cast(Any, manager), "g")
    waiting = queues.enter("m", ready=False)
    await asyncio.sleep(0.05)
    manager.fails = False
    await heard(manager, {"m": 1})
    waiting.set()
    await queues.stop()
