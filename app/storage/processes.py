"""The collection ``processes``: the gateways, each with when it was last heard of, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass

from app.storage.database import Database, Document

LEFT = 0
"""The beat of a process that has ended by itself."""


@dataclass(frozen=True, slots=True)
class ProcessBeat:
    """When a process was last heard of, in epoch milliseconds of the database's clock."""

    id: str
    beat_ms: int

    @property
    def left(self) -> bool:
        """Whether it said that it ends: nobody needs to wait whether it comes back."""
        return self.beat_ms == LEFT


class Processes:
    """Who is there. A process that is not listed is none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._processes = database.collection("processes")

    async def beat(self, process: str) -> int:
        """Note that a process lives; the time by the database, in epoch milliseconds.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        update: list[Document] = [{"$set": {"beat_ms": {"$toLong": "$$NOW"}}}]
        while True:
            async with self._database.operation():
                # In two steps: of two beats at once the embedded database tells one that there is no such document.
                await self._processes.update_one({"_id": process}, update, upsert=True)
                document = await self._processes.find_one({"_id": process})
            if document is not None:
                return document["beat_ms"]

    async def leave(self, process: str) -> None:
        """Note that a process ends, so that nobody waits for it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._processes.update_one({"_id": {"$eq": process}}, {"$set": {"beat_ms": LEFT}})

    async def get(self, process: str) -> ProcessBeat | None:
        """One process, if it is listed.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._processes.find_one({"_id": {"$eq": process}})
        return None if document is None else _beat(document)

    async def all(self) -> list[ProcessBeat]:
        """Every process that is listed: few, since those that nothing is left of are forgotten.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return [_beat(document) for document in await self._processes.find({}).to_list(None)]

    async def forget(self, process: ProcessBeat) -> None:
        """Take a dead process off the list; one that was heard of meanwhile stays.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._processes.delete_one({"_id": {"$eq": process.id}, "beat_ms": process.beat_ms})


def _beat(document: Document) -> ProcessBeat:
    return ProcessBeat(document["_id"], document["beat_ms"])
