from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from app.services.liveness import DEAD_S, DeadProcess, Liveness
from app.storage.database import Database
from app.storage.processes import Processes
from tests.support.clock import Clock


class World:
    """Processes over one database; time passes for all of them, by their own clocks and by the database's."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.processes = Processes(database)
        self._collection = database.collection("processes")

    def process(self) -> Liveness:
        return Liveness(self.processes, clock=self.clock)

    async def passes(self, seconds: float, *living: Liveness) -> None:
        step = DEAD_S / 4
        for _ in range(round(seconds / step)):
            self.clock.now += step
            # The database's clock cannot be turned, so what it noted is.
            for each in await self.processes.all():
                if not each.left:
                    await self._collection.update_one(
                        {"_id": each.id}, {"$set": {"beat_ms": each.beat_ms - round(step * 1000)}}
                    )
            for each in living:
                await each.round()


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    yield World(database)


async def test_one_that_is_heard_of_lives_and_one_that_is_not_is_dead(world: World):
    one, other = world.process(), world.process()
    await one.round()
    await other.round()
    await world.passes(2 * DEAD_S, one, other)
    assert await one.is_alive(other.id)
    assert await one.is_alive(one.id)

    await world.passes(2 * DEAD_S, one)
    assert not await one.is_alive(other.id)
    assert not await one.is_alive("never heard of")


async def test_whoever_just_came_takes_nobody_for_dead(world: World):
    one, other = world.process(), world.process()
    await other.round()
    await world.passes(2 * DEAD_S)
    await one.round()
    assert await one.is_alive(other.id)
    await world.passes(DEAD_S, one)
    assert not await one.is_alive(other.id)


async def test_nobody_is_dead_because_the_database_was_away(world: World):
    one, other = world.process(), world.process()
    await world.passes(2 * DEAD_S, one, other)
    await world.passes(2 * DEAD_S)
    await one.round()
    assert await one.is_alive(other.id)
    await other.round()
    await world.passes(2 * DEAD_S, one, other)
    assert await one.is_alive(other.id)


async def test_what_a_dead_one_left_is_taken_over_until_nothing_is_left(world: World):
    one, other = world.process(), world.process()
    asked: list[DeadProcess] = []

    async def heir(dead: DeadProcess) -> bool:
        asked.append(dead)
        return len(asked) == 3

    one.add_heir(heir)
    await world.passes(2 * DEAD_S, one, other)
    assert not asked
    await world.passes(3 * DEAD_S, one)
    assert [dead.id for dead in asked] == [other.id] * 3
    assert [dead.for_s for dead in asked] == [0, DEAD_S / 4, DEAD_S / 2]
    assert [each.id for each in await world.processes.all()] == [one.id]


async def test_one_that_says_that_it_ends_is_dead_at_once(world: World):
    one, other = world.process(), world.process()
    other.start()
    while not await world.processes.get(other.id):
        await asyncio.sleep(0.01)
    await other.close()
    assert not await one.is_alive(other.id)


async def test_work_is_begun_under_a_name_that_others_see_live(world: World):
    one, other = world.process(), world.process()
    assert not await other.is_alive(one.id)
    assert await one.me() == one.id
    assert await other.is_alive(one.id)


async def test_it_ends_with_the_gateway(world: World):
    one, before = world.process(), asyncio.all_tasks()
    one.start()
    one.start()
    await one.close()
    await one.close()
    assert asyncio.all_tasks() <= before
