"""The collection ``items``: of conversations by their position, and of responses.

What an item is made of is stored as text: its names are its writer's, and none of them the database's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from pymongo import ASCENDING
from pymongo.errors import BulkWriteError

from app.domain.item import OPEN, TURN_BITS, Item, Side, position, text_of
from app.domain.page import Page, PageRequest
from app.storage.conversation_words import ConversationWords
from app.storage.database import DUPLICATE, Collection, Database, Document, built
from app.storage.windows import Place, Windowed, page_of
from app.storage.written import json_text

PER_INSERT: Final = 100
"""Items at the most in one insert: each is an entry in several indexes."""

TURNS_A_PART: Final = 20
"""Turns whose items are deleted or moved in one operation: few, for each may have as many items as can be added."""

TURNS_AN_ITEM: Final = 0.5
"""How many turns an item takes: a question and its answer are one."""


class Items:
    """What was said, asked of functions and answered by them."""

    def __init__(self, database: Database, words: ConversationWords) -> None:
        self._database = database
        self._words = words
        self._items: Collection = database.collection("items")

    async def prepare(self) -> None:
        """Make the indexes that pages and histories rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        by_position = [("owner", ASCENDING), ("conversation", ASCENDING), ("position", ASCENDING)]
        async with self._database.operation():
            await self._items.create_index(by_position, name="position")
            await self._items.create_index([("response", ASCENDING)], name="response", sparse=True)

    async def put(self, owner: str, items: Sequence[Item]) -> None:
        """Store items. One that is stored stays as it is, unless it is one that was not at its end.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the items may be stored.
        """
        for part in (items[at : at + PER_INSERT] for at in range(0, len(items), PER_INSERT)):
            documents = [_document(owner, item) for item in part]
            async with self._database.operation():
                taken = await self._insert(documents)
            for document in (document for document in documents if document["_id"] in taken):
                where = {"_id": document["_id"], "owner": owner, "status": {"$in": sorted(OPEN)}}
                async with self._database.operation():
                    await self._items.replace_one(where, document)
        await self._add_words(owner, items)

    async def get(self, owner: str, conversation: str, id_: str) -> Item | None:
        """One item of a conversation.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._items.find_one(_one(owner, conversation, id_))
        return built(_item, document)

    async def by_ids(self, owner: str, ids: Iterable[str]) -> dict[str, Item]:
        """Those of these that somebody has, in whatever they are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where: Document = {"_id": {"$in": sorted(set(ids))}, "owner": {"$eq": owner}}
        async with self._database.operation():
            documents = await self._items.find(where).to_list(None)
        return {item.id: item for item in map(_item, documents)}

    async def list(self, owner: str, conversation: str, page: PageRequest, turns: int) -> Page[Item]:
        """Items of a conversation that has had so many turns.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an item that is not in the list.
        """
        return await self._by_turn(owner, conversation, turns).page(page)

    async def newest(self, owner: str, conversation: str, turns: int, below: int | None, limit: int) -> Sequence[Item]:
        """The last items of a conversation, or the last below a position, the oldest first.

        Turns are whole: there may be more than ``limit``; fewer are all that there are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        high = None if below is None else (below, "")
        windowed = self._by_turn(owner, conversation, turns)
        found = await windowed.read(limit, ascending=False, high=high)
        if len(found) == limit:
            first = found[-1].position
            turn = first >> TURN_BITS
            rest = await self._between(owner, conversation, position(turn, 0), first)
            found += sorted(rest, key=_place, reverse=True)
        return found[::-1]

    async def all_of_response(self, owner: str, response: str, side: Side) -> Sequence[Item]:
        """What went into a response, or came out of it, in order.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return (await self.of_responses(owner, [response], side))[response]

    async def of_responses(
        self, owner: str, responses: Iterable[str], side: Side | None = None
    ) -> dict[str, list[Item]]:
        """The items of each of these responses, its inputs before its outputs, in order.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found: dict[str, list[Item]] = {response: [] for response in responses}
        where: Document = {"response": {"$in": list(found)}, "owner": owner}
        if side is not None:
            where["side"] = side
        async with self._database.operation():
            documents = await self._items.find(where).to_list(None)
        for item in sorted(map(_item, documents), key=lambda item: (item.side, *_place(item))):
            found[item.response or ""].append(item)
        return found

    async def of_response(self, owner: str, response: str, side: Side, page: PageRequest) -> Page[Item]:
        """A part of what went into a response, or came out of it.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an item that is not in the list.
        """
        items = await self.all_of_response(owner, response, side)
        return await page_of(items, page, lambda item: item.id)

    async def set_extra(self, owner: str, item: Item) -> bool:
        """Store what only threads show of an item, as it is now; whether the item is there.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = _one(owner, item.conversation or "", item.id)
        extra = json_text(item.extra)
        async with self._database.operation():
            return (await self._items.update_one(where, {"$set": {"extra": extra}})).matched_count == 1

    async def delete(self, owner: str, conversation: str, id_: str) -> bool:
        """Delete an item of a conversation; whether there was one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._items.delete_one(_one(owner, conversation, id_))).deleted_count == 1

    async def delete_of_response(self, owner: str, response: str) -> None:
        """Delete what is of a response and in no conversation.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the items may be deleted.
        """
        where = {"response": response, "owner": owner, "conversation": None}
        async with self._database.operation():
            found = await self._items.find(where, {"_id": True}).to_list(None)
        for part in (found[at : at + PER_INSERT] for at in range(0, len(found), PER_INSERT)):
            async with self._database.operation():
                await self._items.delete_many({"_id": {"$in": [document["_id"] for document in part]}})

    async def delete_answer(self, owner: str, response: str) -> None:
        """Delete what came out of a response, wherever it is: it is to be answered anew.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the items may be deleted.
        """
        where = {"response": response, "owner": owner, "side": "output"}
        async with self._database.operation():
            await self._items.delete_many(where)

    async def delete_all(self, owner: str, conversation: str, turns: int) -> int:
        """Delete the items of a conversation that has had so many turns; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the items may be deleted.
        """
        count = 0
        for where in _in_parts(owner, conversation, turns):
            async with self._database.operation():
                count += (await self._items.delete_many(where)).deleted_count
        return count

    async def move_all(self, owner: str, conversation: str, turns: int, to: str) -> int:
        """Make the items of a conversation somebody else's; how many there are.

        Raises:
            DatabaseUnavailable: The database did not answer; some of the items may be theirs.
        """
        count = 0
        for where in _in_parts(owner, conversation, turns):
            async with self._database.operation():
                count += (await self._items.update_many(where, {"$set": {"owner": to}})).modified_count
        return count

    def _by_turn(self, owner: str, conversation: str, turns: int) -> Windowed[Item]:
        async def fetch(low: int, high: int) -> Sequence[Item]:
            return await self._between(owner, conversation, position(low, 0), position(high, 0))

        async def find(id_: str) -> Place | None:
            item = await self.get(owner, conversation, id_)
            return item and _place(item)

        return Windowed(fetch, _place, find, turns, width=TURNS_AN_ITEM, bits=TURN_BITS)

    async def _between(self, owner: str, conversation: str, low: int, high: int) -> Sequence[Item]:
        where = _range(owner, conversation, low, high)
        async with self._database.operation():
            return [_item(document) for document in await self._items.find(where).to_list(None)]

    async def _insert(self, documents: Sequence[Document]) -> set[str]:
        """Insert what is not there; the ids of what is."""
        try:
            await self._items.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details or {}
            failed: list[dict[str, Any]] = details.get("writeErrors", [])
            if any(each.get("code") != DUPLICATE for each in failed) or details.get("writeConcernErrors"):
                raise
            return {documents[each["index"]]["_id"] for each in failed}
        return set()

    async def _add_words(self, owner: str, items: Iterable[Item]) -> None:
        texts: dict[str, list[str]] = {}
        for item in items:
            if item.conversation is not None and (text := text_of(item.body)):
                texts.setdefault(item.conversation, []).append(text)
        for conversation, said in texts.items():
            await self._words.add(owner, conversation, said)


def _place(item: Item) -> Place:
    return item.position, item.id


def _range(owner: str, conversation: str, low: int, high: int) -> Document:
    place = {"$gte": low, "$lt": high}
    return {"owner": owner, "conversation": conversation, "position": place}


def _in_parts(owner: str, conversation: str, turns: int) -> Iterable[Document]:
    for turn in range(0, turns, TURNS_A_PART):
        yield _range(owner, conversation, position(turn, 0), position(turn + TURNS_A_PART, 0))


def _one(owner: str, conversation: str, id_: str) -> Document:
    return {"_id": id_, "owner": owner, "conversation": conversation}


def _document(owner: str, item: Item) -> Document:
    document: Document = {
        "_id": item.id,
        "owner": owner,
        "conversation": item.conversation,
        "position": item.position,
        "created_at_ms": item.created_at_ms,
        "side": item.side,
        "status": item.status,
        "body": json_text(item.body),
    }
    if item.response is not None:
        document["response"] = item.response
    if item.extra:
        document["extra"] = json_text(item.extra)
    return document


def _item(document: Document) -> Item:
    extra = document.get("extra")
    return Item(
        id=document["_id"],
        body=msgspec.json.decode(document["body"]),
        position=document["position"],
        created_at_ms=document["created_at_ms"],
        conversation=document["conversation"],
        response=document.get("response"),
        side=document["side"],
        extra={} if extra is None else msgspec.json.decode(extra),
    )
