"""The collection ``usage_days``: sums of events by day, owner, kind, project, key and model.

A document keeps the number of the last batch that is in it, and no batch gets into it twice: batches are numbered, and
one begins when the one before is in all of its documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pymongo import ASCENDING, UpdateOne
from pymongo.errors import BulkWriteError

from app.domain.usage_report import SUMS, UsageQuery
from app.storage.database import DUPLICATE, PER_OPERATION, Database, Document, delete_some, update_each
from app.storage.usage_sums import TIMES, Grouping, Key, matching, sums_of_sums

_ADDED: Final = (*SUMS, *TIMES)
_KEPT: Final = ("day_ms", "owner", "kind", "project_id", "key_id", "model")


@dataclass(frozen=True, slots=True)
class DaySums:
    """What the days of a report sum up to, and how far they are.

    Attributes:
        groups: The sums by the query's groups.
        batches: The last batch that is in a day document; of those alone that have a late one.
    """

    groups: dict[Key, list[int]]
    batches: dict[str, int]


class UsageDays:
    """Sums by day."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._days = database.collection("usage_days")

    async def prepare(self) -> None:
        """Make the indexes that reports rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        day = ("day_ms", ASCENDING)
        async with self._database.operation():
            await self._days.create_index([day], name="day")
            await self._days.create_index([("owner", ASCENDING), day], name="owner")

    async def add(self, batch: int, sums: Sequence[Document]) -> None:
        """Add what a batch sums up to, to the documents that do not have it.

        Args:
            batch: Its number; none smaller comes after it.
            sums: As ``UsageLots.sums_of_batch`` says them; several may be for one document.

        Raises:
            DatabaseUnavailable: The database did not answer: some may have it, and adding again changes nothing.
        """
        updates = _additions(batch, sums)
        for first in range(0, len(updates), PER_OPERATION):
            async with self._database.operation():
                try:
                    await update_each(self._days, updates[first : first + PER_OPERATION])
                except BulkWriteError as error:
                    # The document is there and has the batch: the filter missed it, so it was to be made anew.
                    if any(failure["code"] != DUPLICATE for failure in error.details["writeErrors"]):
                        raise

    async def sums(  # noqa: PLR0913 - a stretch of a report
        self, query: UsageQuery, start_ms: int, end_ms: int, *, batch: int, after: Key | None, limit: int
    ) -> DaySums:
        """The sums of whole days by the query's groups.

        Args:
            batch: The first that may not be in all of its documents.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        grouping = Grouping.of(query)
        # Read together with the sums, so that what is in them and what is not is known of this very moment.
        late = {"$cond": [{"$gte": ["$batch", batch]}, {"id": "$_id", "batch": "$batch"}, "$$REMOVE"]}
        pipeline: list[Document] = [
            {"$match": matching(query, "day_ms", start_ms, end_ms)},
            {"$group": {"_id": grouping.id("day_ms"), **sums_of_sums(), "late": {"$push": late}}},
            *grouping.part(after, limit),
        ]
        async with self._database.operation():
            found = await self._days.aggregate(pipeline).to_list(None)
        return DaySums(
            {grouping.key(group["_id"]): [int(group[name]) for name in SUMS] for group in found},
            {mark["id"]: mark["batch"] for group in found for mark in group["late"]},
        )

    async def purge(self, before_ms: int) -> bool:
        """Delete some of the days that began before; whether there may be more of them.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await delete_some(self._days, {"day_ms": {"$lt": before_ms}})


def _additions(batch: int, sums: Sequence[Document]) -> list[UpdateOne]:
    totals: dict[str, Document] = {}
    for part in sums:
        total = totals.setdefault(part["sum_id"], {**part, **dict.fromkeys(_ADDED, 0)})
        for name in _ADDED:
            total[name] += part[name]
    return [_addition(batch, id_, total) for id_, total in totals.items()]


def _addition(batch: int, id_: str, total: Document) -> UpdateOne:
    return UpdateOne(
        {"_id": id_, "batch": {"$lt": batch}},
        {
            "$inc": {name: total[name] for name in _ADDED},
            "$set": {"batch": batch},
            "$setOnInsert": {name: total[name] for name in _KEPT},
        },
        upsert=True,
    )
