"""The collection ``response_events``: what is streamed of responses in the background, some events a document.

Events have dense numbers, so whatever is read is one narrow range of an index, however long the answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bson import Binary
from pymongo import ASCENDING

from app.storage.database import Database, Document, delete_some

MOST_EVENTS: Final = 128
"""Events at the most in a document."""

AT_ONCE: Final = 512
"""How many events are read at the most: so that there are some, if there are any behind."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Some events of a response, as they are sent.

    Attributes:
        attempt: The attempt that they are of: those of an earlier one count no more.
        first: The number of the first.
        last: The number of the last.
    """

    response: str
    attempt: int
    first: int
    last: int
    data: bytes


class ResponseEvents:
    """The events of responses that somebody may yet read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events = database.collection("response_events")

    async def prepare(self) -> None:
        """Make the indexes that reading rests on, and the one by which the database forgets.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        by_number = [("response", ASCENDING), ("attempt", ASCENDING), ("last", ASCENDING)]
        async with self._database.operation():
            await self._events.create_index(by_number, name="number")
            await self._events.create_index([("owner", ASCENDING)], name="owner")
            await self._events.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")

    async def put(self, owner: str, batch: EventBatch, purge_at: float) -> None:
        """Store events; storing them again changes nothing.

        Args:
            purge_at: When nobody can ask for them any more, in epoch seconds.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document: Document = {
            "owner": owner,
            "response": batch.response,
            "attempt": batch.attempt,
            "first": batch.first,
            "last": batch.last,
            "data": Binary(batch.data),
            "purge_at": datetime.fromtimestamp(purge_at, UTC),
        }
        id_ = f"{batch.response}:{batch.attempt}:{batch.first}"
        async with self._database.operation():
            await self._events.update_one({"_id": id_}, {"$setOnInsert": document}, upsert=True)

    async def after(self, response: str, attempt: int, number: int) -> Sequence[EventBatch]:
        """Batches with events behind this number, in order, as long as they are without a gap; empty if there are none.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {
            "response": {"$eq": response},
            "attempt": {"$eq": attempt},
            "last": {"$gt": number, "$lte": number + AT_ONCE},
        }
        async with self._database.operation():
            found = await self._events.find(where).to_list(None)
        return sorted(map(_batch, found), key=lambda batch: batch.first)

    async def last_number(self, response: str) -> int:
        """The greatest number of an event of any attempt; -1 if there is none.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._events.find({"response": {"$eq": response}}, {"last": True}).to_list(None)
        return max((document["last"] for document in found), default=-1)

    async def delete(self, response: str, before_attempt: int | None = None) -> None:
        """Delete the events of a response, or those of its earlier attempts.

        Raises:
            DatabaseUnavailable: The database did not answer; some may be deleted.
        """
        where: Document = {"response": {"$eq": response}}
        if before_attempt is not None:
            where["attempt"] = {"$lt": before_attempt}
        more = True
        while more:
            async with self._database.operation():
                more = await delete_some(self._events, where)


def _batch(document: Document) -> EventBatch:
    return EventBatch(
        document["response"], document["attempt"], document["first"], document["last"], bytes(document["data"])
    )
