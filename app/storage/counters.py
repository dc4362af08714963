"""The collection ``counters``: numbers for what an owner has, one behind the other."""

from __future__ import annotations

from typing import Literal

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.storage.database import Database, Document

CounterName = Literal["created", "touched", "chats"]


class Counters:
    """What was counted, one document an owner. A number that was drawn and not used leaves a gap."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counters = database.collection("counters")

    async def next(self, owner: str, name: CounterName, count: int = 1) -> int:
        """Draw numbers that nobody else has; the first of them.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            try:
                document = await self._drawn(owner, name, count)
            except DuplicateKeyError:
                # Somebody else began to count for this owner at the same moment.
                document = await self._drawn(owner, name, count)
        return document[name] - count

    async def end(self, owner: str, name: CounterName) -> int:
        """The number that will be drawn next.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._counters.find_one({"_id": {"$eq": owner}})
        return (document or {}).get(name, 0)

    async def _drawn(self, owner: str, name: CounterName, count: int) -> Document:
        document = await self._counters.find_one_and_update(
            {"_id": owner},
            {"$inc": {name: count}, "$setOnInsert": {"owner": owner}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert document is not None, "an upsert answers a document"
        return document
