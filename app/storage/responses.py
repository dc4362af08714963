"""The collection ``responses``: each with the object that its owner sees, and who works on it while it is under way.

A response that is over stays as it is: every change is made only to one that is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from pymongo import ASCENDING

from app.domain.stored_response import OPEN, StoredResponse
from app.storage.database import Database, Document, built, change_one, find_each
from app.storage.written import json_text

_OPEN: Final = {"$in": list(OPEN)}
_WHILE_OPEN: Final = {"runner": "", "busy": "", "task": "", "cancel": "", "lost": ""}
"""What is known only of those that are under way; its indexes are as long as there are such."""


class Responses:
    """Responses: those that are over, and those that are not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._responses = database.collection("responses")

    async def prepare(self) -> None:
        """Make the indexes that look-ups rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._responses.create_index([("owner", ASCENDING)], name="owner")
            await self._responses.create_index([("runner", ASCENDING)], name="runner", sparse=True)
            await self._responses.create_index([("busy", ASCENDING)], name="busy", sparse=True)

    async def insert(self, response: StoredResponse) -> None:
        """Store a new one; one that is stored already stays as it is.

        Raises:
            DatabaseUnavailable: The database did not answer: it may be stored.
        """
        document = _document(response)
        async with self._database.operation():
            await self._responses.update_one({"_id": response.id}, {"$setOnInsert": document}, upsert=True)

    async def get(self, owner: str, id_: str) -> StoredResponse | None:
        """One response.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._responses.find_one(_one(owner, id_))
        return built(_response, document)

    async def by_ids(self, owner: str, ids: Collection[str]) -> dict[str, StoredResponse]:
        """Those of these that somebody has.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await find_each(self._responses, ids, _response)
        return {id_: response for id_, response in found.items() if response.owner == owner}

    async def delete(self, owner: str, id_: str, created_at_ms: int | None = None) -> StoredResponse | None:
        """Delete one; it as it was, or None if there is none such.

        Args:
            created_at_ms: Only if it is the one that was begun then, and no later try under the same id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found = await self.get(owner, id_)
        if found is None:
            return None
        async with self._database.operation():
            begun = {} if created_at_ms is None else {"created_at_ms": created_at_ms}
            deleted = await self._responses.delete_one(_one(owner, id_) | begun)
        return found if deleted.deleted_count else None

    async def count_jobs(self, owner: str) -> int:
        """How many of somebody's are under way without their caller.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await self._responses.count_documents({"busy": {"$eq": owner}})

    async def begin(self, id_: str, runner: str, body: Mapping[str, Any]) -> bool:
        """Note that a queued one is worked on; False if it is not the runner's any more, or over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        change = {"status": "in_progress", "body": json_text(body)}
        async with self._database.operation():
            result = await self._responses.update_one(
                {"_id": {"$eq": id_}, "runner": {"$eq": runner}, "status": _OPEN}, {"$set": change}
            )
        return result.matched_count == 1

    async def finish(
        self, id_: str, body: Mapping[str, Any], *, runner: str | None = None, created_at_ms: int | None = None
    ) -> bool:
        """Note how one ended, and what it came to, as ``body`` says; False if that was noted before.

        One that was given up for lost may yet be found.

        Args:
            runner: Only if this process works on it.
            created_at_ms: Only if it is the one that was begun then, and no later try under the same id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        under_way: Document = {"status": _OPEN}
        if runner is not None:
            under_way["runner"] = {"$eq": runner}
        where: Document = {"_id": {"$eq": id_}, "$or": [under_way, {"lost": True}]}
        if created_at_ms is not None:
            where["created_at_ms"] = created_at_ms
        change = {"$set": {"status": body["status"], "body": json_text(body)}, "$unset": dict(_WHILE_OPEN)}
        async with self._database.operation():
            return (await self._responses.update_one(where, change)).matched_count == 1

    async def give_up(self, response: StoredResponse, body: Mapping[str, Any]) -> None:
        """Note that one is lost: nobody who works on it is heard of.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        unset = {name: "" for name in _WHILE_OPEN if name != "lost"}
        change = {"status": body["status"], "body": json_text(body), "lost": True}
        async with self._database.operation():
            await self._responses.update_one(
                {"_id": response.id, "runner": response.runner, "status": _OPEN}, {"$set": change, "$unset": unset}
            )

    async def mark_cancelled(self, owner: str, id_: str) -> StoredResponse | None:
        """Ask whoever works on one to end it; it as it is now, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {**_one(owner, id_), "status": _OPEN, "background": True}
        async with self._database.operation():
            document = await change_one(self._responses, where, {"$set": {"cancel": True}})
        return await self.get(owner, id_) if document is None else _response(document)

    async def of_runner(self, runner: str, limit: int, *, background: bool) -> Sequence[StoredResponse]:
        """Some of those that a process works on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"runner": {"$eq": runner}, "background": background}
        async with self._database.operation():
            return [_response(document) for document in await self._responses.find(where).limit(limit).to_list(limit)]

    async def jobs_of(self, runner: str, limit: int) -> Sequence[str]:
        """The ids of some that a process works on without their callers.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return [response.id for response in await self.of_runner(runner, limit, background=True)]

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """Make what a process works on another's, as a new attempt; False if it is not the old one's any more.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "runner": {"$eq": old_runner}, "status": _OPEN}
        async with self._database.operation():
            result = await self._responses.update_one(where, {"$set": {"runner": runner}, "$inc": {"attempt": 1}})
        return result.matched_count == 1

    async def still_of(self, runner: str, ids: Collection[str]) -> set[str]:
        """Those of these that a process still works on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._responses.find({"_id": {"$in": sorted(ids)}}, {"runner": 1}).to_list(None)
        return {document["_id"] for document in found if document.get("runner") == runner}

    async def cancelled_of(self, runner: str) -> list[str]:
        """Those that a process works on and somebody asked to be ended.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"runner": {"$eq": runner}, "cancel": True}
        async with self._database.operation():
            return [document["_id"] for document in await self._responses.find(where, {"_id": True}).to_list(None)]

    async def find(self, id_: str) -> StoredResponse | None:
        """One that a process has to work on, whoever's it is.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return built(_response, await self._responses.find_one({"_id": {"$eq": id_}}))


def _one(owner: str, id_: str) -> Document:
    return {"_id": {"$eq": id_}, "owner": {"$eq": owner}}


def _document(response: StoredResponse) -> Document:
    document: Document = {
        "owner": response.owner,
        "status": response.status,
        "created_at_ms": response.created_at_ms,
        "body": json_text(response.body),
        "previous": response.previous,
        "ancestors": list(response.ancestors),
        "conversation": response.conversation,
        "turn": response.turn,
        "background": response.background,
        "streams": response.streams,
        "attempt": response.attempt,
    }
    if response.runner is not None:
        document["runner"] = response.runner
    if response.background and not response.is_over:
        document["busy"] = response.owner
    if response.task is not None:
        document["task"] = json_text(response.task)
    return document


def _response(document: Document) -> StoredResponse:
    task = document.get("task")
    return StoredResponse(
        id=document["_id"],
        owner=document["owner"],
        status=document["status"],
        created_at_ms=document["created_at_ms"],
        body=msgspec.json.decode(document["body"]),
        previous=document["previous"],
        ancestors=tuple(document["ancestors"]),
        conversation=document["conversation"],
        turn=document["turn"],
        background=document["background"],
        streams=document["streams"],
        attempt=document["attempt"],
        runner=document.get("runner"),
        task=None if task is None else msgspec.json.decode(task),
        cancel=document.get("cancel", False),
    )
