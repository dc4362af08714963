"""The collection ``audit_log``: written to and read, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import ASCENDING, DESCENDING

from app.domain.audit_event import EVERY_EVENT, AuditEvent, EventFilter
from app.domain.page import Page, PageRequest
from app.storage.database import Database, Document
from app.storage.pages import find_page


class AuditLog:
    """Events, oldest first in the collection and newest first in lists."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events = database.collection("audit_log")

    async def prepare(self) -> None:
        """Make the indexes that lists rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("created_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._events.create_index(newest, name="created")
            for name in ("actor", "target", "action"):
                await self._events.create_index([(name, ASCENDING), *newest], name=name)

    async def append(self, event: AuditEvent) -> None:
        """Write an event down.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._events.insert_one(_document(event))

    async def list(self, page: PageRequest, wanted: EventFilter = EVERY_EVENT) -> Page[AuditEvent]:
        """Events that the filter lets through.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an event that is not in the list.
        """
        async with self._database.operation():
            return await find_page(self._events, _where(wanted), page, _event)


def _where(wanted: EventFilter) -> Document:
    times = {"$gte": wanted.since_ms, "$lt": wanted.until_ms}
    bounds: Mapping[str, Any] = {name: value for name, value in times.items() if value is not None}
    conditions: list[Document] = [{"created_at_ms": bounds}] if bounds else []
    if wanted.actors is not None:
        conditions.append({"actor": {"$in": list(wanted.actors)}})
    for names, values in (
        (("action",), wanted.actions),
        (("target",), wanted.targets),
        (("actor", "credential"), wanted.actors_or_credentials),
        # an act on a project has it as its target
        (("detail.project", "target"), wanted.projects),
    ):
        if values:
            conditions.append({"$or": [{name: {"$in": list(values)}} for name in names]})
    return {"$and": conditions} if conditions else {}


def _document(event: AuditEvent) -> Document:
    return {
        "_id": event.id,
        "created_at_ms": event.at_ms,
        "action": event.action,
        "outcome": event.outcome,
        "actor": event.actor,
        "credential": event.credential,
        "target": event.target,
        "address": event.address,
        "user_agent": event.user_agent,
        "request_id": event.request_id,
        "detail": dict(event.detail),
    }


def _event(document: Document) -> AuditEvent:
    return AuditEvent(
        id=document["_id"],
        at_ms=document["created_at_ms"],
        action=document["action"],
        outcome=document["outcome"],
        actor=document["actor"],
        credential=document["credential"],
        target=document["target"],
        address=document["address"],
        user_agent=document["user_agent"],
        request_id=document["request_id"],
        detail=document["detail"],
    )
