"""A replica's orphans are delivered until they are taken."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.usage import NOTHING
from deployments import orphans as module
from deployments.orphans import Orphans
from deployments.reports import Orphan
from deployments.slate.slate import Line

pytestmark = pytest.mark.usefixtures("clean_loop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", (0.0, 0.0))
    monkeypatch.setattr(module, "BATCH", 2)


def some(*names: str) -> list[Line]:
    return [Line(name.encode()) for name in names]


def told(*names: str) -> list[Orphan]:
    return [Orphan(name.encode(), NOTHING, 0) for name in names]


class Manager:
    """Takes what it is handed, but not the first times.

    Attributes:
        refusals: How often it does not.
    """

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.taken: list[Orphan] = []

    async def __call__(self, orphans: list[Orphan]) -> None:
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("not now")
        self.taken += orphans


async def test_they_are_delivered_in_batches_also_after_refusals():
    manager = Manager(refusals=3)
    orphans = Orphans(manager)
    orphans.take(some("a", "b", "c"))
    await asyncio.sleep(0)
    orphans.take(some("d"))
    await orphans.settle(10)
    assert manager.taken == told("a", "b", "c", "d")
    orphans.take(some("e"))
    await orphans.settle(10)
    assert manager.taken == told("a", "b", "c", "d", "e")


async def test_the_oldest_are_forgotten_where_nobody_takes_them(caplog: pytest.LogCaptureFixture):
    manager = Manager(refusals=1)
    orphans = Orphans(manager, capacity=3)
    orphans.take(some("a", "b"))
    await asyncio.sleep(0)
    orphans.take(some("c", "d"))
    assert "forgot the oldest 1" in caplog.text
    await orphans.settle(10)
    assert manager.taken == told("b", "c", "d")


async def test_a_delivery_takes_no_other_ones_place_that_came_while_it_was_under_way():
    orphans: Orphans

    async def deliver(batch: list[Orphan]) -> None:
        taken.extend(batch)
        if len(taken) == 2:
            orphans.take(some("c", "d", "e"))

    taken: list[Orphan] = []
    orphans = Orphans(deliver, capacity=3)
    orphans.take(some("a", "b"))
    await orphans.settle(10)
    assert taken == told("a", "b", "c", "d", "e")


async def test_the_end_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture):
    async def never(_: list[Orphan]) -> None:
        await asyncio.Event().wait()

    orphans = Orphans(never)
    await orphans.settle(10)
    orphans.take(some("a"))
    await orphans.settle(0.01)
    assert "was not taken in time" in caplog.text
