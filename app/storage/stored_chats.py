"""The collection ``stored_chats``: chat completions whose callers asked that they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from pymongo import ASCENDING, UpdateOne

from app.domain.page import Page, PageRequest
from app.domain.stored_chat import StoredChat, StoredChatFilter, StoredChatStatus
from app.storage.counters import Counters
from app.storage.database import Collection, Database, Document, built, change_one, update_each
from app.storage.windows import Place, Windowed
from app.storage.written import json_text

MANY_S: Final = 60.0
"""How long it may take to find all that somebody has."""

AT_ONCE: Final = 100
"""How many are handed over at once."""

_OPEN: Final = {"$in": ["in_progress", "incomplete"]}
_SHOWN: Final = {"$ne": "in_progress"}


class StoredChats:
    """Each has a number, dense for every owner; what it was made of is stored as text."""

    def __init__(self, database: Database, counters: Counters) -> None:
        self._database = database
        self._counters = counters
        self._chats: Collection = database.collection("stored_chats")

    async def prepare(self) -> None:
        """Make the indexes that lists rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            for name, fields in {"number": (), "model": ("model",), "metadata": ("metadata",)}.items():
                keys = [(field, ASCENDING) for field in ("owner", *fields, "number")]
                await self._chats.create_index(keys, name=name)

    async def begin(self, chat: StoredChat, *, again: bool = False) -> None:
        """Store one that has no answer yet, and is not shown; one that is stored stays as it is.

        Args:
            again: Whether an earlier try may have stored it, which from here on may no more have it forgotten.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        if again and await self._take_over(chat):
            return
        document = _document(chat) | {"number": await self._counters.next(chat.owner, "chats")}
        async with self._database.operation():
            await self._chats.update_one({"_id": chat.id}, {"$setOnInsert": document}, upsert=True)

    async def _take_over(self, chat: StoredChat) -> bool:
        where = {**_one(chat.owner, chat.id), "status": "in_progress"}
        async with self._database.operation():
            taken = await self._chats.update_one(where, {"$set": {"created_at_ms": chat.created_at_ms}})
        return taken.matched_count == 1

    async def finish(self, owner: str, id_: str, body: Mapping[str, Any], status: StoredChatStatus) -> None:
        """Store the answer, unless a whole one is stored already.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {**_one(owner, id_), "status": _OPEN}
        async with self._database.operation():
            await self._chats.update_one(where, {"$set": {"body": json_text(body), "status": status}})

    async def forget(self, owner: str, id_: str, created_at_ms: int) -> None:
        """Delete one that nothing came of, unless it is another try's by now.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {**_one(owner, id_), "status": "in_progress", "created_at_ms": created_at_ms}
        async with self._database.operation():
            await self._chats.delete_one(where)

    async def get(self, owner: str, id_: str) -> StoredChat | None:
        """One that is theirs.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._chats.find_one({**_one(owner, id_), "status": _SHOWN})
        return built(_chat, document)

    async def list(self, owner: str, page: PageRequest, wanted: StoredChatFilter) -> Page[StoredChat]:
        """Those of somebody that the filter lets through.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on one that is not in the list.
        """

        async def fetch(low: int, high: int) -> Sequence[StoredChat]:
            where = {**_narrowing(owner, wanted), "number": {"$gte": low, "$lt": high}}
            async with self._database.operation():
                documents = await self._chats.find(where).to_list(None)
            return [_chat(document) for document in documents if _is_wanted(document, wanted)]

        async def find(id_: str) -> Place | None:
            chat = await self.get(owner, id_)
            return None if chat is None else (chat.number, id_)

        end = await self._counters.end(owner, "chats")
        return await Windowed(fetch, lambda chat: (chat.number, chat.id), find, end).page(page)

    async def set_metadata(self, owner: str, id_: str, metadata: Mapping[str, str]) -> StoredChat | None:
        """Write something else on one; the chat as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            where = {**_one(owner, id_), "status": _SHOWN}
            document = await change_one(self._chats, where, {"$set": {"metadata": _pairs(metadata)}})
        return built(_chat, document)

    async def move(self, owner: str, to: str) -> int:
        """Hand over all of somebody's to somebody else, in their order, behind what those have; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer; some may have been handed over.
        """
        async with self._database.operation(timeout_s=MANY_S):
            found = await self._chats.find({"owner": {"$eq": owner}}, {"number": True}).to_list(None)
        found.sort(key=lambda document: document["number"])
        for at in range(0, len(found), AT_ONCE):
            part = found[at : at + AT_ONCE]
            first = await self._counters.next(to, "chats", len(part))
            updates = [
                UpdateOne(_one(owner, document["_id"]), {"$set": {"owner": to, "number": first + index}})
                for index, document in enumerate(part)
            ]
            async with self._database.operation():
                await update_each(self._chats, updates)
        return len(found)

    async def delete(self, owner: str, id_: str) -> bool:
        """Delete one; whether there was one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._chats.delete_one({**_one(owner, id_), "status": _SHOWN})).deleted_count == 1


def _one(owner: str, id_: str) -> Document:
    return {"_id": {"$eq": id_}, "owner": {"$eq": owner}}


def _narrowing(owner: str, wanted: StoredChatFilter) -> Document:
    """What one index is asked for; see ``Windowed``. The rest is ``_is_wanted``'s."""
    if wanted.metadata:
        return {"owner": owner, "metadata": _pairs(dict(wanted.metadata))[0]}
    return {"owner": owner} if wanted.model is None else {"owner": owner, "model": wanted.model}


def _is_wanted(document: Document, wanted: StoredChatFilter) -> bool:
    is_shown = document["status"] != "in_progress"
    is_of_model = wanted.model is None or document["model"] == wanted.model
    return is_shown and is_of_model and set(_pairs(dict(wanted.metadata))) <= set(document["metadata"])


def _pairs(metadata: Mapping[str, str]) -> list[str]:
    """Each pair is one text, which an index finds; none of its names is the database's."""
    return [json_text(pair) for pair in metadata.items()]


def _document(chat: StoredChat) -> Document:
    return {
        "_id": chat.id,
        "owner": chat.owner,
        "model": chat.model,
        "created_at_ms": chat.created_at_ms,
        "metadata": _pairs(chat.metadata),
        "messages": json_text(chat.messages),
        "body": json_text(chat.body),
        "status": chat.status,
    }


def _chat(document: Document) -> StoredChat:
    return StoredChat(
        id=document["_id"],
        owner=document["owner"],
        model=document["model"],
        created_at_ms=document["created_at_ms"],
        metadata=dict(msgspec.json.decode(pair) for pair in document["metadata"]),
        messages=msgspec.json.decode(document["messages"]),
        body=msgspec.json.decode(document["body"]),
        status=document["status"],
        number=document["number"],
    )
