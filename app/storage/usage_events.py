"""The collection ``usage_events``: one document a request, the first that came.

Nothing changes in it but who it belongs to. It has few indexes: each costs as much as storing the event does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError

from app.domain.page import Page, PageRequest
from app.domain.usage import UsageEvent
from app.domain.usage_report import SUMS, UsageQuery
from app.storage.database import DUPLICATE, Database, Document, delete_some
from app.storage.pages import find_page
from app.storage.usage_lots import FAILED, Lot, UsageLots
from app.storage.usage_remains import UsageRemains
from app.storage.usage_sums import Grouping, Key, matching

_SUMS: Final[Document] = {
    "requests": {"$sum": 1},
    "failed_requests": {"$sum": {"$cond": [{"$in": ["$status", sorted(FAILED)]}, 1, 0]}},
    **{name: {"$sum": f"${name}"} for name in SUMS[2:]},
}


class UsageEvents:
    """Requests that are over.

    Attributes:
        remains: What is known of some of which nobody lives who could tell.
    """

    def __init__(self, database: Database) -> None:
        self.remains = UsageRemains(database)
        self._database = database
        self._events = database.collection("usage_events")
        self._lots = UsageLots(database)

    async def prepare(self) -> None:
        """Make the indexes that reports rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("started_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._events.create_index([("owner", ASCENDING), *newest], name="owner")
            await self._events.create_index([("started_at_ms", ASCENDING)], name="time")

    async def insert(self, events: Sequence[UsageEvent]) -> None:
        """Store events; of those with one request id the first.

        Raises:
            DatabaseUnavailable: The database did not answer: some may be stored, and inserting again changes nothing.
            ValueError: One is no document that a database could hold.
        """
        if not events:
            return
        lot = Lot.of(map(_document, events))
        try:
            await self._lots.come(lot)
        except OverflowError as error:
            raise ValueError(str(error)) from None
        await self.store(lot)

    async def store(self, lot: Lot) -> None:
        """Store what is not stored yet of a lot that is written down; done again, by anybody, it has no effect.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        known = await self._insert(lot)
        strangers: set[str] = set()
        if known:
            # By id alone: with another condition, some servers look at every document.
            async with self._database.operation():
                cursor = self._events.find({"_id": {"$in": known}}, {"lot": True})
                found = await cursor.to_list(len(known))
            # What an older release stored is of no lot.
            strangers = {document["_id"] for document in found if document.get("lot") != lot.id}
        await self._lots.stored(lot, strangers)

    async def _insert(self, lot: Lot) -> list[str]:
        """Store a lot's events; the ids of those that were there, whoever stored them."""
        async with self._database.operation():
            try:
                await self._events.insert_many(list(lot.events.values()), ordered=False)
            except BulkWriteError as error:
                failures: list[Document] = error.details["writeErrors"]
                if any(failure["code"] != DUPLICATE for failure in failures):
                    raise
                ids = list(lot.events)
                return [ids[failure["index"]] for failure in failures]
        return []

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

    async def purge(self, before_ms: int) -> bool:
        """Delete some of what began before; whether there may be more of it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await delete_some(self._events, {"started_at_ms": {"$lt": before_ms}})


def _document(event: UsageEvent) -> Document:
    return {
        "_id": event.request_id,
        "owner": event.owner,
        "kind": event.kind,
        "key_id": event.key_id,
        "project_id": event.project_id,
        "model": event.model,
        "route": event.route,
        "stream": event.stream,
        "started_at_ms": event.started_at_ms,
        "status": event.status,
        "http_status": event.http_status,
        "ttft_us": _microseconds(event.ttft_ms),
        "duration_us": _microseconds(event.duration_ms),
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "cached_tokens": event.cached_tokens,
        "reasoning_tokens": event.reasoning_tokens,
        "cost_nano": event.cost_nano,
    }


def _microseconds(milliseconds: float | None) -> int | None:
    # Whole ones, whose sums are exact in any order.
    return None if milliseconds is None else round(milliseconds * 1000)


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


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
