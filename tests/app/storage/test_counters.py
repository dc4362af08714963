from __future__ import annotations

import asyncio

from app.storage.counters import Counters
from app.storage.database import Database


async def test_nobody_draws_a_number_twice(database: Database):
    processes = [Counters(database) for _ in range(3)]
    drawn = await asyncio.gather(*(processes[n % 3].next("user_1", "created", 1 + n % 2) for n in range(12)))
    taken = [number for n, first in enumerate(drawn) for number in range(first, first + 1 + n % 2)]
    assert sorted(taken) == list(range(18))
    assert await processes[0].end("user_1", "created") == 18
    assert await processes[0].end("user_1", "touched") == 0
    assert await processes[0].end("user_2", "created") == 0


async def test_several_counters_are_drawn_from_at_once(database: Database):
    counters = Counters(database)
    await counters.next("user_1", "touched", 5)
    assert await counters.draw("user_1", "created", "touched") == [0, 5]
    assert await counters.draw("user_1", "created", "touched", count=3) == [1, 6]
    assert await counters.draw("user_2", "created") == [0]
