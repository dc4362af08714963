"""The collection ``usage_lots``: events that came together, and what they sum up to, until the days have it.

A lot is written before its events are stored, and has all of them: whoever dies meanwhile, another can store the rest.
Each attempt to store events is a lot of its own, and an event is of the one that it was stored with; so of what is told
twice each event is summed up once, and nobody has to remember which lots there were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Final, Self

import bson
import msgspec
from pymongo import ASCENDING

from app.domain.secrets import random_base62
from app.domain.usage_report import SUMS, UsageQuery
from app.storage.database import Database, Document
from app.storage.usage_sums import DAY_MS, TIMES, Grouping, Key, matching, sums_of_sums

COMING = -1
"""In place of a batch: its events may not all be stored."""

NOT_ROLLED = 0
FAILED: Final = frozenset(("failed", "lost"))
MANY: Final = 20
"""Lots at the most that are read with their events."""

KEPT: Final = timedelta(minutes=5)
"""How long a lot stays when the days have it, for reports that are being read."""

_OF_A_DAY: Final = ("owner", "kind", "project_id", "key_id", "model")


@dataclass(frozen=True, slots=True)
class Lot:
    """Events that come together.

    Attributes:
        events: By their request ids, as they are stored.
    """

    events: dict[str, Document]
    id: str = field(default_factory=lambda: random_base62(16))

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Self:
        """A new one; of several events of one request it has the first."""
        lot = cls({})
        for document in documents:
            lot.events.setdefault(document["_id"], {**document, "lot": lot.id})
        return lot

    def sums(self, *, but: Collection[str] = ()) -> list[Document]:
        """What its events add to days, but for those that are not its own."""
        return sums_of(event for id_, event in self.events.items() if id_ not in but)


class UsageLots:
    """Events on their way into the sums by day."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lots = database.collection("usage_lots")

    async def prepare(self) -> None:
        """Make the indexes that rollups rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._lots.create_index([("rolled", ASCENDING)], name="rolled")
            await self._lots.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")

    async def come(self, lot: Lot) -> None:
        """Write down that these events are about to be stored.

        Raises:
            DatabaseUnavailable: The database did not answer; it may be written down.
            OverflowError: They, or their sums, are nothing that a database could hold.
        """
        events = b"".join(map(bson.encode, lot.events.values()))
        document = {"_id": lot.id, "rolled": COMING, "events": events, "sums": lot.sums()}
        async with self._database.operation():
            await self._lots.insert_one(document)

    async def stored(self, lot: Lot, strangers: Collection[str]) -> None:
        """Note that all of its events are stored, these with other lots.

        Raises:
            DatabaseUnavailable: The database did not answer: it may be noted, and noting it again changes nothing.
        """
        change: Document = {"rolled": NOT_ROLLED}
        if strangers:
            change["sums"] = lot.sums(but=strangers)
        async with self._database.operation():
            await self._lots.update_one({"_id": lot.id, "rolled": COMING}, {"$set": change, "$unset": {"events": ""}})

    async def coming(self) -> list[Lot]:
        """Those whose events may not all be stored; of many the oldest.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._lots.find({"rolled": COMING}, {"events": True}).limit(MANY).to_list(MANY)
        return [_lot(document) for document in found]

    async def not_rolled(self, limit: int) -> list[str]:
        """The ids of lots that are in no batch yet.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._lots.find({"rolled": NOT_ROLLED}, {"_id": True}).limit(limit).to_list(limit)
        return [document["_id"] for document in found]

    async def mark_rolled(self, lots: Sequence[str], batch: int) -> None:
        """Note which batch takes these into the days; those in one already stay in it.

        Raises:
            DatabaseUnavailable: The database did not answer: some may be marked, and marking again changes nothing.
        """
        async with self._database.operation():
            await self._lots.update_many(
                {"_id": {"$in": list(lots)}, "rolled": NOT_ROLLED}, {"$set": {"rolled": batch}}
            )

    async def sums_of_batch(self, batch: int) -> list[Document]:
        """What the lots of a batch add to days; see ``UsageDays.add``.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._lots.find({"rolled": batch}, {"sums": True}).to_list(None)
        return [sums for document in found for sums in document["sums"]]

    async def forget(self, batch: int) -> None:
        """Have the lots of a batch deleted, before long: the days have them.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._lots.update_many({"rolled": batch}, {"$set": {"purge_at": datetime.now(UTC) + KEPT}})

    async def sums_since_batch(
        self, query: UsageQuery, start_ms: int, end_ms: int, *, batch: int, after: Key | None
    ) -> list[tuple[Key, str, int, list[int]]]:
        """The sums of lots that are in no batch, or in this one or a later one.

        Returns:
            The query's group, the day document that they belong to, the batch that they are in (0: none), the sums.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        grouping = Grouping.of(query)
        group_id = {**grouping.id("day_ms"), "sum_id": "$sum_id", "rolled": "$rolled"}
        pipeline: list[Document] = [
            {"$match": {"$or": [{"rolled": NOT_ROLLED}, {"rolled": {"$gte": batch}}]}},
            # A lot that is put into a batch meanwhile moves in the index, and may be met in both places.
            {"$group": {"_id": "$_id", "rolled": {"$first": "$rolled"}, "sums": {"$first": "$sums"}}},
            {"$unwind": "$sums"},
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$sums", {"rolled": "$rolled"}]}}},
            {"$match": matching(query, "day_ms", start_ms, end_ms)},
            {"$group": {"_id": group_id, **sums_of_sums()}},
            *grouping.part(after, None),
        ]
        async with self._database.operation():
            found = await self._lots.aggregate(pipeline).to_list(None)
        return [
            (grouping.key(at := group["_id"]), at["sum_id"], at["rolled"], [int(group[name]) for name in SUMS])
            for group in found
        ]


def sums_of(events: Iterable[Document]) -> list[Document]:
    """What events add to days: one document for each that they belong to."""
    days: dict[tuple[int | str | None, ...], Document] = {}
    for event in events:
        day_ms = event["started_at_ms"] - event["started_at_ms"] % DAY_MS
        group = (day_ms, *(event[name] for name in _OF_A_DAY))
        if (sums := days.get(group)) is None:
            # Which day document it is, for good: also when it goes over to somebody else.
            id_ = hashlib.blake2b(msgspec.json.encode(group), digest_size=16).hexdigest()
            of = dict(zip(("day_ms", *_OF_A_DAY), group, strict=True))
            sums = days[group] = {"sum_id": id_, **of, **dict.fromkeys((*SUMS, *TIMES), 0)}
        sums["requests"] += 1
        sums["failed_requests"] += event["status"] in FAILED
        for name in SUMS[2:]:
            sums[name] += event[name]
        for time, times in (TIMES[:2], TIMES[2:]):
            if event[time] is not None:
                sums[time] += event[time]
                sums[times] += 1
    return list(days.values())


def _lot(document: Document) -> Lot:
    events = bson.decode_file_iter(BytesIO(document["events"]))
    return Lot({event["_id"]: event for event in events}, document["_id"])
