"""The collection ``run_steps``: a run has few, which are read together."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from pymongo import ASCENDING, DESCENDING

from app.domain.page import Page, PageRequest
from app.domain.run import LastError, Tokens
from app.domain.run_step import RunStep
from app.storage.database import Database, Document, built, delete_some
from app.storage.pages import find_page
from app.storage.written import json_text

_PLAIN = ("run", "thread", "assistant", "owner", "created_at_ms", "message", "status", "ended_at_ms")


class RunSteps:
    """What runs did."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps = database.collection("run_steps")

    async def prepare(self) -> None:
        """Make the indexes that lists and deletion rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("created_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._steps.create_index([("run", ASCENDING), *newest], name="run")
            await self._steps.create_index([("thread", ASCENDING)], name="thread")
            await self._steps.create_index([("owner", ASCENDING)], name="owner")

    async def put(self, steps: Collection[RunStep]) -> None:
        """Store steps as they are now.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        if not steps:
            return
        async with self._database.operation():
            for step in steps:
                await self._steps.replace_one({"_id": step.id}, _document(step), upsert=True)

    async def get(self, owner: str, run: str, id_: str) -> RunStep | None:
        """One step of a run.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "owner": {"$eq": owner}, "run": {"$eq": run}}
        async with self._database.operation():
            return built(_step, await self._steps.find_one(where))

    async def list(self, owner: str, run: str, page: PageRequest) -> Page[RunStep]:
        """Steps of a run.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a step that is not in the list.
        """
        where = {"run": {"$eq": run}, "owner": {"$eq": owner}}
        async with self._database.operation():
            return await find_page(self._steps, where, page, _step)

    async def said(self, owner: str, run: str) -> Sequence[str]:
        """The ids of the messages that a run made.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"run": {"$eq": run}, "owner": {"$eq": owner}, "message": {"$ne": None}}
        async with self._database.operation():
            found = await self._steps.find(where, {"message": True}).to_list(None)
        return [document["message"] for document in found]

    async def delete_some(self, owner: str, thread: str) -> bool:
        """Delete some steps of a thread's runs; whether there may be more.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"thread": {"$eq": thread}, "owner": {"$eq": owner}}
        async with self._database.operation():
            return await delete_some(self._steps, where)


def _document(step: RunStep) -> Document:
    return {
        "_id": step.id,
        **{name: getattr(step, name) for name in _PLAIN},
        "calls": json_text(list(step.calls)),
        "tokens": step.tokens and [step.tokens.prompt, step.tokens.completion],
        "error": step.error and step.error.to_dict(),
    }


def _step(document: Document) -> RunStep:
    return RunStep(
        id=document["_id"],
        **{name: document[name] for name in _PLAIN},
        calls=msgspec.json.decode(document["calls"]),
        tokens=None if document["tokens"] is None else Tokens(*document["tokens"]),
        error=None if document["error"] is None else LastError(**document["error"]),
    )
