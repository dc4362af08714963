from __future__ import annotations

import asyncio
import time

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure

from app.errors import DatabaseUnavailable, PayloadTooLarge
from app.settings import SettingsError
from app.storage.database import Database
from app.storage.stores import Stores
from tests.support.mongo import MongoServer, black_hole
from tests.support.ports import free_port

PATIENCE_S = 10.0
"""Far above the deadline of one operation, far below the driver's own 30 s."""


def open_database(port: int, **options: float) -> Database:
    return Database(f"mongodb://127.0.0.1:{port}/?directConnection=true", "test", timeout_s=0.5, pool_size=4, **options)


async def test_a_database_that_answers_answers_a_ping(database: Database):
    await database.ping()


async def test_where_nobody_listens_the_answer_comes_within_the_deadline():
    database = open_database(free_port())
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(DatabaseUnavailable):
            await database.ping()
    database.close()


async def test_a_database_that_never_answers_is_given_up_within_the_deadline():
    async with black_hole() as port:
        database = open_database(port)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(DatabaseUnavailable):
                await Stores.of(database).keys.find("digest")
        database.close()


async def test_many_operations_on_a_database_that_never_answers_do_not_wait_for_each_other():
    async with black_hole() as port:
        database = open_database(port)
        keys = Stores.of(database).keys
        started = time.monotonic()
        outcomes = await asyncio.gather(*(keys.find(str(n)) for n in range(200)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert time.monotonic() - started < PATIENCE_S / 2
        database.close()


async def test_a_process_that_slept_takes_the_answer_that_came_meanwhile(mongodb: MongoServer):
    database = open_database(mongodb.port)
    async with asyncio.timeout(PATIENCE_S):
        await database.ping()
        asking = asyncio.create_task(database.ping())
        await asyncio.sleep(0)
        # As one does that is stopped, or that gets no processor for a while.
        time.sleep(1)  # noqa: ASYNC251
        await asking
    database.close()


async def test_whoever_slept_does_not_wait_for_ever(mongodb: MongoServer):
    database = open_database(mongodb.port)

    async def sleep() -> None:
        async with database.operation():
            time.sleep(1)  # noqa: ASYNC251
            await asyncio.sleep(PATIENCE_S)

    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await sleep()
    assert time.monotonic() - started < PATIENCE_S / 2
    database.close()


async def test_a_database_that_comes_back_is_used_again(own_mongodb: MongoServer):
    database = Database(own_mongodb.uri, "test", timeout_s=2, pool_size=4)
    await database.ping()
    await asyncio.to_thread(own_mongodb.stop)
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await asyncio.to_thread(own_mongodb.start)
    async with asyncio.timeout(30):
        while True:
            try:
                await database.ping()
            except DatabaseUnavailable:
                continue
            break
    database.close()


@pytest.mark.parametrize("uri", ["", "http://localhost", "mongodb://", "mongodb://host:port", "mongodb://u:p@ss@h"])
def test_what_is_no_connection_string_is_refused(uri: str):
    with pytest.raises(SettingsError, match="MONGODB_URI"):
        Database(uri, "test", timeout_s=1, pool_size=1)


def test_a_wrong_connection_string_does_not_tell_the_password():
    for uri in ("mongodb://user:hid/den@host", "mongodb://user:hid:den@host:1:2", "mongodb://user:hid@den@host/x?y"):
        with pytest.raises(SettingsError) as refusal:
            Database(uri, "test", timeout_s=1, pool_size=1)
        assert "hid" not in str(refusal.value)


@pytest.mark.parametrize("foreign", [AutoReconnect("gone"), OperationFailure("no", 13), DuplicateKeyError("twice")])
async def test_the_drivers_errors_become_ours(database: Database, foreign: Exception):
    with pytest.raises(DatabaseUnavailable) as told:
        async with database.operation():
            raise foreign
    assert told.value.__cause__ is foreign
    assert "gone" not in told.value.message


async def test_what_no_database_takes_is_too_much(database: Database):
    with pytest.raises(PayloadTooLarge):
        async with database.operation():
            await database.collection("things").insert_one({"_id": "x", "text": "x" * 17_000_000})


async def test_other_errors_stay_what_they_are(database: Database):
    with pytest.raises(KeyError):
        async with database.operation():
            raise KeyError("x")


async def test_what_is_written_outlives_the_death_of_the_database(own_mongodb: MongoServer):
    database = Database(own_mongodb.uri, "test", timeout_s=30, pool_size=4)
    things = database.collection("things")
    for number in range(20):
        await things.insert_one({"_id": number})
    own_mongodb.kill()
    own_mongodb.start()
    async with database.operation():
        assert await things.count_documents({}) == 20
    database.close()


@pytest.mark.parametrize("said", ["w=1", "journal=false", "W=1&journal=true"])
async def test_a_connection_string_may_want_less(said: str):
    database = Database(f"mongodb://127.0.0.1:1/?{said}", "test", timeout_s=1, pool_size=1)
    concern = database.collection("things").write_concern.document
    assert concern != {"w": "majority", "j": True}
    database.close()
