"""The collection ``usage_events``: one document a request, the first that came.

Nothing changes in it but who it belongs to, and ``rolled``: the batch that took it into the sums by day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.errors import BulkWriteError

from app.domain.page import Page, PageRequest
from app.domain.usage import UsageEvent
from app.domain.usage_report import SUMS, UsageQuery
from app.storage.database import Database, Document, update_each
from app.storage.pages import find_page
from app.storage.usage_sums import DAY_MS, TIMES, Grouping, Key, matching

DUPLICATE = 11000
NOT_ROLLED = 0
FAILED: Final = ["failed", "lost"]
PER_OPERATION = 500
"""Documents at the most in one write, so that each stays within its deadline."""

_SUMS: Final[Document] = {
    "requests": {"$sum": 1},
    "failed_requests": {"$sum": {"$cond": [{"$in": ["$status", FAILED]}, 1, 0]}},
    **{name: {"$sum": f"${name}"} for name in SUMS[2:]},
}
_TIMES: Final[Document] = {
    "duration_us": {"$sum": "$duration_us"},
    "durations": {"$sum": {"$cond": [{"$eq": ["$duration_us", None]}, 0, 1]}},
    "ttft_us": {"$sum": "$ttft_us"},
    "ttfts": {"$sum": {"$cond": [{"$eq": ["$ttft_us", None]}, 0, 1]}},
}
_OF_A_DAY: Final = ("day_ms", "owner", "kind", "project_id", "key_id", "model")


class UsageEvents:
    """Requests that are over.

    Args:
        retention_days: How long they are kept; 0 for ever.
    """

    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._events = database.collection("usage_events")
        self._kept = timedelta(days=retention_days)

    async def prepare(self) -> None:
        """Make the indexes that reports and rollups rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("started_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._events.create_index([("rolled", ASCENDING), ("_id", ASCENDING)], name="rolled")
            await self._events.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")
            await self._events.create_index(newest, name="started")
            for name in ("owner", "project_id", "key_id", "model"):
                await self._events.create_index([(name, ASCENDING), *newest], name=name)

    async def insert(self, events: Sequence[UsageEvent]) -> None:
        """Store events; of those with one request id the first.

        Raises:
            DatabaseUnavailable: The database did not answer: some may be stored, and inserting again changes nothing.
            ValueError: One is no document that a database could hold.
        """
        if not events:
            return
        try:
            documents = [self._document(event) for event in events]
        except OverflowError as error:
            raise ValueError(str(error)) from None
        async with self._database.operation():
            try:
                await self._events.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if any(failure["code"] != DUPLICATE for failure in error.details["writeErrors"]):
                    raise
            except OverflowError as error:
                raise ValueError(str(error)) from None

    async def known(self, request_ids: Sequence[str]) -> set[str]:
        """Those of these that there are events of.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            cursor = self._events.find({"_id": {"$in": list(request_ids)}}, {"_id": True})
            return {document["_id"] for document in await cursor.to_list(len(request_ids))}

    async def recent(self, owner: str, page: PageRequest, *, key_id: str | None = None) -> Page[UsageEvent]:
        """Somebody's requests, the newest first unless the page says otherwise; those by one key, if one is named.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a request that is not theirs.
        """
        where: Document = {"owner": {"$eq": owner}}
        if key_id is not None:
            where["key_id"] = {"$eq": key_id}
        async with self._database.operation():
            return await find_page(self._events, where, page, _event, time="started_at_ms")

    async def not_rolled(self, limit: int) -> list[str]:
        """The ids of events that are in no batch yet.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            cursor = self._events.find({"rolled": NOT_ROLLED}, {"_id": True}).sort([("rolled", 1), ("_id", 1)])
            return [document["_id"] for document in await cursor.limit(limit).to_list(limit)]

    async def mark_rolled(self, request_ids: Sequence[str], batch: int) -> None:
        """Note which batch takes these into the sums; those in one already stay in it.

        Raises:
            DatabaseUnavailable: The database did not answer: some may be marked, and marking again changes nothing.
        """
        for first in range(0, len(request_ids), PER_OPERATION):
            # One update each: a filter with thousands of ids is slow in some servers.
            updates = [
                UpdateOne({"_id": {"$eq": request_id}, "rolled": NOT_ROLLED}, {"$set": {"rolled": batch}})
                for request_id in request_ids[first : first + PER_OPERATION]
            ]
            async with self._database.operation():
                await update_each(self._events, updates)

    async def sums_of_batch(self, batch: int) -> list[Document]:
        """The sums that a batch adds to days; see ``UsageDays.add``.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        day = {"$subtract": ["$started_at_ms", {"$mod": ["$started_at_ms", DAY_MS]}]}
        pipeline: list[Document] = [
            {"$match": {"rolled": batch}},
            {"$set": {"day_ms": day}},
            {
                "$group": {
                    "_id": "$sum_id",
                    **{name: {"$first": f"${name}"} for name in (*_OF_A_DAY, "purge_at")},
                    **_SUMS,
                    **_TIMES,
                }
            },
        ]
        async with self._database.operation():
            return await self._events.aggregate(pipeline).to_list(None)

    async def sums(
        self, query: UsageQuery, start_ms: int, end_ms: int, *, after: Key | None, limit: int
    ) -> dict[Key, list[int]]:
        """The sums of a stretch of time, by the query's groups.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        grouping = Grouping.of(query)
        pipeline: list[Document] = [
            {"$match": matching(query, "started_at_ms", start_ms, end_ms)},
            {"$group": {"_id": grouping.id("started_at_ms"), **_SUMS}},
            *grouping.part(after, limit),
        ]
        async with self._database.operation():
            found = await self._events.aggregate(pipeline).to_list(None)
        return {grouping.key(group["_id"]): [int(group[name]) for name in SUMS] for group in found}

    async def sums_since_batch(
        self, query: UsageQuery, start_ms: int, end_ms: int, *, batch: int, after: Key | None
    ) -> list[tuple[Key, str, int, list[int]]]:
        """The sums of what is in no batch, or in this one or a later one.

        Returns:
            The query's group, the day document that they belong to, the batch that they are in (0: none), the sums.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        grouping = Grouping.of(query)
        group_id = {**grouping.id("started_at_ms"), "sum_id": "$sum_id", "rolled": "$rolled"}
        once = {name: {"$first": f"${name}"} for name in (*SUMS[2:], *_FIELDS_OF_GROUPS)}
        pipeline: list[Document] = [
            {"$match": {"$or": [{"rolled": NOT_ROLLED}, {"rolled": {"$gte": batch}}]}},
            {"$match": matching(query, "started_at_ms", start_ms, end_ms)},
            # An event that is put into a batch meanwhile moves in the index, and may be met in both places.
            {"$group": {"_id": "$_id", **once}},
            {"$group": {"_id": group_id, **_SUMS}},
            *grouping.part(after, None),
        ]
        async with self._database.operation():
            found = await self._events.aggregate(pipeline).to_list(None)
        return [
            (grouping.key(at := group["_id"]), at["sum_id"], at["rolled"], [int(group[name]) for name in SUMS])
            for group in found
        ]

    def _document(self, event: UsageEvent) -> Document:
        started = event.started_at_ms
        document: Document = {
            "_id": event.request_id,
            "owner": event.owner,
            "kind": event.kind,
            "key_id": event.key_id,
            "project_id": event.project_id,
            "model": event.model,
            "route": event.route,
            "stream": event.stream,
            "started_at_ms": started,
            "status": event.status,
            "http_status": event.http_status,
            "ttft_us": _microseconds(event.ttft_ms),
            "duration_us": _microseconds(event.duration_ms),
            "input_tokens": event.input_tokens,
            "output_tokens": event.output_tokens,
            "cached_tokens": event.cached_tokens,
            "reasoning_tokens": event.reasoning_tokens,
            "cost_nano": event.cost_nano,
            "rolled": NOT_ROLLED,
            "sum_id": _sum_id(event),
        }
        if self._kept:
            # By the day, so that it is the same for all of a day and for their sum.
            day = datetime.fromtimestamp((started - started % DAY_MS) / 1000, UTC)
            document["purge_at"] = day + timedelta(days=1) + self._kept
        return document


_FIELDS_OF_GROUPS: Final = ("owner", "project_id", "key_id", "model", "started_at_ms", "status", "sum_id", "rolled")


def time_sums(sums: Document) -> Iterable[tuple[str, int]]:
    """The sums of a batch's group by name, those of times too."""
    return ((name, int(sums[name])) for name in (*SUMS, *TIMES))


def _microseconds(milliseconds: float | None) -> int | None:
    # Whole ones, whose sums are exact in any order.
    return None if milliseconds is None else round(milliseconds * 1000)


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _sum_id(event: UsageEvent) -> str:
    """Which day document the event belongs to, for good: also when it goes over to somebody else."""
    day = event.started_at_ms // DAY_MS
    group = (day, event.owner, event.kind, event.project_id, event.key_id, event.model)
    return hashlib.blake2b(msgspec.json.encode(group), digest_size=16).hexdigest()


def _event(document: Document) -> UsageEvent:
    return UsageEvent(
        request_id=document["_id"],
        owner=document["owner"],
        kind=document["kind"],
        key_id=document["key_id"],
        project_id=document["project_id"],
        model=document["model"],
        route=document["route"],
        stream=document["stream"],
        started_at_ms=document["started_at_ms"],
        status=document["status"],
        http_status=document["http_status"],
        ttft_ms=_milliseconds(document["ttft_us"]),
        duration_ms=_milliseconds(document["duration_us"]),
        input_tokens=document["input_tokens"],
        output_tokens=document["output_tokens"],
        cached_tokens=document["cached_tokens"],
        reasoning_tokens=document["reasoning_tokens"],
        cost_nano=document["cost_nano"],
    )
