"""One MongoDB client per process, with a deadline on every operation and errors of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeVar

import pymongo
import pymongo.collection
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import UpdateOne
from pymongo.errors import ConfigurationError, DocumentTooLarge, InvalidURI, PyMongoError

from app.errors import DatabaseUnavailable, PayloadTooLarge
from app.settings import SettingsError

T = TypeVar("T")
Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Blocking = pymongo.collection.Collection[Document]
"""The same for whoever may wait."""

DUPLICATE = 11000
"""The server's code for a key that is there already."""

PER_OPERATION = 500
"""Documents at the most in one write, so that each stays within its deadline."""

ASLEEP = 1.5
"""A deadline that is met so many times too late says nothing of the database: it was this process that slept."""


class Database:
    """The database that this installation's documents live in.

    Args:
        uri: MongoDB connection string.
        name: Database name.
        timeout_s: Deadline of one operation, server selection and waiting for a connection included.
        pool_size: Connections at most.

    Raises:
        SettingsError: The connection string is not one.
    """

    def __init__(self, uri: str, name: str, *, timeout_s: float, pool_size: int) -> None:
        self._timeout_s = timeout_s
        timeout_ms = int(timeout_s * 1000)
        try:
            self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                uri,
                appname="manta",
                maxPoolSize=pool_size,
                timeoutMS=timeout_ms,
                waitQueueTimeoutMS=timeout_ms,
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                **_durable(uri),
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise SettingsError(f"MONGODB_URI is not a usable connection string: {error}") from None
        self._database = self._client[name]

    def collection(self, name: str) -> Collection:
        """A collection: for repositories in this package alone."""
        return self._database[name]

    @asynccontextmanager
    async def operation(self, timeout_s: float | None = None) -> AsyncGenerator[None]:
        """Bound what happens inside by the deadline, and turn the driver's errors into ours.

        The driver's own deadline is not enough: it starts when one of Motor's few threads is free.
        Database trouble is 503, never 401 and never 500; errors that carry a meaning (a duplicate key) are handled by
        the repository, inside.

        Args:
            timeout_s: A deadline of its own.

        Raises:
            DatabaseUnavailable: Anything went wrong between us and the database.
            PayloadTooLarge: No database takes so much at once.
        """
        try:
            # The driver is told too: a thread that waits on after us is one less for the others.
            async with _deadline(timeout_s or self._timeout_s):
                with nullcontext() if timeout_s is None else pymongo.timeout(timeout_s):
                    yield
        except DocumentTooLarge as error:
            raise PayloadTooLarge("This is more than can be stored at once. Send less.") from error
        except (PyMongoError, TimeoutError) as error:
            raise DatabaseUnavailable("The database did not answer in time. Try again shortly.") from error

    async def is_secantus(self) -> bool:
        """Whether this is SecantusDB, inside of an operation: not all that works there is quick."""
        return "secantusVersion" in await self._database.command("buildInfo")

    async def ping(self) -> None:
        """Return if the database answers what it is asked: its own ``ping`` may be answered where nothing else is.

        Raises:
            DatabaseUnavailable: It does not.
        """
        async with self.operation():
            await self._database["users"].find_one({"_id": ""}, {"_id": True})

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


def _durable(uri: str) -> dict[str, Any]:
    """What makes the database say that a write is done only when it outlives the database's own death.

    Without it the last moments are lost with the process, whatever they were said to be; and what is told to the
    database is deleted here. A connection string that says something else of it is left alone.
    """
    named = {option.partition("=")[0].lower() for option in uri.partition("?")[2].split("&")}
    return {} if named & {"w", "j", "journal"} else {"w": "majority", "journal": True}


@asynccontextmanager
async def _deadline(timeout_s: float) -> AsyncGenerator[None]:
    """Bound what happens inside; a process that was stopped meanwhile looks first at what came while it was.

    Of a timer and an answer that both wait for a loop which has not run for a while, the timer is always the first.

    Raises:
        TimeoutError: It took longer.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(None) as timeout:

        def passed() -> None:
            now = loop.time()
            slept = now - began >= ASLEEP * timeout_s
            timeout.reschedule(now + timeout_s if slept else now)

        timer = loop.call_later(timeout_s, passed)
        try:
            yield
        finally:
            timer.cancel()


def built(build: Callable[[Document], T], document: Document | None) -> T | None:
    """What a document stands for, if there is one."""
    return None if document is None else build(document)


async def in_one_go(collection: Collection, work: Callable[[Blocking], T]) -> T:
    """Do several things with a collection, one after the other, inside of an operation.

    To hand each of them to one of Motor's threads and back takes as long as the database does.
    """
    untyped: Any = collection
    return await untyped._framework.run_on_executor(asyncio.get_running_loop(), work, untyped.delegate)


async def find_each(collection: Collection, ids: Iterable[str], build: Callable[[Document], T]) -> dict[str, T]:
    """What documents stand for, by their ids, inside of an operation; of those ids that there are."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    documents = await collection.find({"_id": {"$in": wanted}}).to_list(len(wanted))
    return {document["_id"]: build(document) for document in documents}


async def change_one(collection: Collection, where: Mapping[str, Any], update: Any) -> Document | None:
    """Change a document by its ``_id``, inside of an operation; as it is then, or None if none matches.

    In place of ``find_one_and_update``, for which the embedded database reads the whole collection. What somebody else
    changes at the same moment may be in it.
    """
    if (await collection.update_one(where, update)).matched_count == 0:
        return None
    return await collection.find_one({"_id": where["_id"]})


async def update_each(collection: Collection, updates: Sequence[UpdateOne]) -> None:
    """Make many updates in one call, inside of an operation; one that fails stops no other."""
    untyped: Any = collection  # Motor's own type of this call is incomplete.
    await untyped.bulk_write(list(updates), ordered=False)


async def delete_some(collection: Collection, where: Mapping[str, Any]) -> bool:
    """Delete some documents, inside of an operation; whether there may be more."""
    cursor = collection.find(where, {"_id": True}).limit(PER_OPERATION)
    found = [document["_id"] for document in await cursor.to_list(PER_OPERATION)]
    if found:
        await collection.delete_many({"_id": {"$in": found}})
    return len(found) == PER_OPERATION
