"""The collection ``usage_rollup``: one document that says who rolls up, and which batch is under way."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.storage.database import Database, Document, built

_ID = "rollup"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lots of events on their way into the sums.

    Attributes:
        number: One more than that of the batch before.
        lots: Which lots: settled when the batch begins, so that whoever goes on with it does the same.
    """

    number: int
    lots: Sequence[str]


class UsageRollupState:
    """How far the rollup is, as all processes see it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state = database.collection("usage_rollup")

    async def prepare(self) -> None:
        """Make the document.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        start: Document = {"_id": _ID, "leader": "", "until_ms": 0, "done": 0, "batch": None}
        async with self._database.operation():
            with contextlib.suppress(DuplicateKeyError):
                await self._state.insert_one(start)

    async def lead(self, who: str, for_ms: int) -> int | None:
        """Become the one who rolls up, or stay it.

        Returns:
            The time by the database, in epoch milliseconds; None if somebody else leads.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        now = {"$toLong": "$$NOW"}
        # Decided in the update: a filter by the database's clock is not everywhere honoured.
        update: list[Document] = [
            {"$set": {"free": {"$or": [{"$eq": ["$leader", who]}, {"$lte": ["$until_ms", now]}]}}},
            {
                "$set": {
                    "leader": {"$cond": ["$free", who, "$leader"]},
                    "until_ms": {"$cond": ["$free", {"$add": [now, for_ms]}, "$until_ms"]},
                }
            },
            {"$unset": "free"},
        ]
        async with self._database.operation():
            document = await self._state.find_one_and_update({"_id": _ID}, update, return_document=ReturnDocument.AFTER)
        return document["until_ms"] - for_ms if document and document["leader"] == who else None

    async def resign(self, who: str) -> None:
        """Let somebody else roll up at once.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._state.update_one({"_id": _ID, "leader": who}, {"$set": {"leader": "", "until_ms": 0}})

    async def batch(self) -> Batch | None:
        """The batch that is under way, if there is one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._state.find_one({"_id": _ID})
        return built(_batch, document)

    async def begin(self, who: str, lots: Sequence[str]) -> Batch | None:
        """Begin a batch with these lots; None if somebody else leads by now, or one is under way.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._state.find_one_and_update(
                {"_id": _ID, "leader": who, "batch": None},
                {"$set": {"batch": list(lots)}},
                return_document=ReturnDocument.AFTER,
            )
        return built(_batch, document)

    async def finish(self, batch: Batch) -> None:
        """Note that a batch is in all of its sums.

        Raises:
            DatabaseUnavailable: The database did not answer: it may be noted, and noting it again changes nothing.
        """
        async with self._database.operation():
            await self._state.update_one(
                {"_id": _ID, "done": batch.number - 1}, {"$set": {"done": batch.number, "batch": None}}
            )

    async def first_open(self) -> int:
        """The number of the first batch that may not be in all of its sums.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._state.find_one({"_id": _ID}, {"done": True})
        return document["done"] + 1 if document else 1


def _batch(document: Document) -> Batch | None:
    return Batch(document["done"] + 1, document["batch"]) if document["batch"] else None
