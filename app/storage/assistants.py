"""The collection ``assistants``: the owner is in every query."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from pymongo import ASCENDING, DESCENDING

from app.domain.assistant import Assistant
from app.domain.page import Page, PageRequest
from app.storage.database import Database, Document, built
from app.storage.pages import find_page
from app.storage.written import json_text, pairs

_TEXT = ("name", "description", "model", "instructions", "temperature", "top_p", "reasoning_effort", "avatar")
_JSON = ("tools", "tool_resources", "response_format")


class Assistants:
    """People's assistants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._assistants = database.collection("assistants")

    async def prepare(self) -> None:
        """Make the index that lists rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        keys = [("owner", ASCENDING), ("created_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._assistants.create_index(keys, name="owner")

    async def insert(self, assistant: Assistant) -> None:
        """Store a new one; one that is stored under this id stays as it is.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._assistants.update_one(
                {"_id": assistant.id}, {"$setOnInsert": _document(assistant)}, upsert=True
            )

    async def get(self, owner: str, id_: str) -> Assistant | None:
        """One of somebody's.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._assistants.find_one({"_id": {"$eq": id_}, "owner": {"$eq": owner}})
        return built(_assistant, document)

    async def list(self, owner: str, page: PageRequest) -> Page[Assistant]:
        """Somebody's, in the order in which they were made.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an assistant that is not in the list.
        """
        async with self._database.operation():
            return await find_page(self._assistants, {"owner": {"$eq": owner}}, page, _assistant)

    async def change(self, owner: str, id_: str, fields: dict[str, Any]) -> Assistant | None:
        """Set fields, each as ``Assistant`` has it; the assistant as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        current = await self.get(owner, id_)
        if current is None or not fields:
            return current
        changed = replace(current, **fields)
        document = _document(changed)
        stored = {name: document[name] for name in fields}
        async with self._database.operation():
            done = await self._assistants.update_one({"_id": {"$eq": id_}, "owner": {"$eq": owner}}, {"$set": stored})
        return changed if done.matched_count else None

    async def delete(self, owner: str, id_: str) -> bool:
        """Forget one; whether it was there.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            done = await self._assistants.delete_one({"_id": {"$eq": id_}, "owner": {"$eq": owner}})
        return done.deleted_count > 0


def _document(assistant: Assistant) -> Document:
    return {
        "owner": assistant.owner,
        "created_at_ms": assistant.created_at_ms,
        **{name: getattr(assistant, name) for name in _TEXT},
        **{name: json_text(getattr(assistant, name)) for name in _JSON},
        "metadata": pairs(assistant.metadata),
    }


def _assistant(document: Document) -> Assistant:
    return Assistant(
        id=document["_id"],
        owner=document["owner"],
        created_at_ms=document["created_at_ms"],
        **{name: document[name] for name in _TEXT},
        **{name: msgspec.json.decode(document[name]) for name in _JSON},
        metadata=dict(document["metadata"]),
    )
