"""The collection ``usage_remains``: how far requests had come at replicas that died, one document for each of both.

No report reads it. A gateway that lives says itself what became of its requests; of one that is dead too, this is what
is left of them, until they are settled. What goes through Serve's handle is here from every replica at its end, since
its gateway may not have heard of it. Nothing changes in it, and it is deleted by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pymongo import ASCENDING
from pymongo.errors import BulkWriteError

from app.domain.usage import NOTHING, Usage
from app.storage.database import DUPLICATE, Database, Document

KEPT: Final = timedelta(days=7)


class UsageRemains:
    """What dead replicas had on their slates."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remains = database.collection("usage_remains")

    async def prepare(self) -> None:
        """Make the indexes.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._remains.create_index([("request_id", ASCENDING)], name="request_id")
            await self._remains.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")

    async def insert(self, slate: str, usage: Mapping[str, Usage]) -> None:
        """Keep what stood on a slate, by request id.

        Raises:
            DatabaseUnavailable: The database did not answer: some may be kept, and inserting again changes nothing.
        """
        documents = [_document(slate, request_id, each) for request_id, each in usage.items()]
        if not documents:
            return
        async with self._database.operation():
            try:
                await self._remains.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if any(failure["code"] != DUPLICATE for failure in error.details["writeErrors"]):
                    raise

    async def of(self, request_ids: Sequence[str]) -> dict[str, Usage]:
        """How far those of these had come that were at a replica that died; over all such replicas.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found: dict[str, Usage] = {}
        async with self._database.operation():
            cursor = self._remains.find({"request_id": {"$in": list(request_ids)}})
            for document in await cursor.to_list(None):
                request_id: str = document["request_id"]
                found[request_id] = found.get(request_id, NOTHING) + Usage(*document["usage"])
        return found


def _document(slate: str, request_id: str, usage: Usage) -> Document:
    return {
        "_id": f"{slate}:{request_id}",
        "request_id": request_id,
        "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens],
        "purge_at": datetime.now(UTC) + KEPT,
    }
