from __future__ import annotations

import asyncio
import time
from datetime import UTC

from app.storage.database import Database
from app.storage.logins import CLOCKS_DIFFER_S, Logins


async def test_a_sign_in_is_used_once(database: Database):
    logins = Logins(database)
    assert await logins.use("one", time.time() + 60) is True
    assert await logins.use("one", time.time() + 60) is False
    assert await logins.use("another", time.time() + 60) is True


async def test_of_many_who_use_it_at_once_one_does(database: Database):
    logins = Logins(database)
    used = await asyncio.gather(*(logins.use("one", time.time() + 60) for _ in range(20)))
    assert sorted(used) == [False] * 19 + [True]


async def test_it_is_forgotten_after_every_clock_says_that_it_ended(database: Database):
    logins = Logins(database)
    await logins.prepare()
    indexes = await database.collection("logins").index_information()
    assert indexes["purge"]["expireAfterSeconds"] == 0
    await logins.use("one", 1_900_000_000)
    document = await database.collection("logins").find_one({"_id": "one"})
    assert document is not None
    assert document["purge_at"].replace(tzinfo=UTC).timestamp() == 1_900_000_000 + CLOCKS_DIFFER_S
