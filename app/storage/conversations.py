"""The collection ``conversations``: each has a number by creation and one by its last change, dense for every owner.

A conversation that was deleted stays as a mark without numbers until its items are gone: see ``ConversationPurge``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.conversation import EVERY_CONVERSATION, Conversation, ConversationFilter
from app.domain.page import Page, PageRequest
from app.errors import Conflict
from app.storage.conversation_documents import as_stored, conversation_of, document_of
from app.storage.conversation_words import ConversationWords
from app.storage.counters import Counters
from app.storage.database import Collection, Database, Document, built, change_one
from app.storage.ordered_conversations import OrderedConversations
from app.storage.users import now_ms

BUCKETS: Final = 64
"""Marks are in so many parts, each of which is read at once."""

PER_DELETION: Final = 200
"""Numbers whose conversations are deleted in one operation."""

LIVE: Final[Mapping[str, Any]] = {"gone_at_ms": None}
_CHANGED: Final = ("title", "title_given", "model", "metadata", "tool_resources")


class Conversations:
    """What people said and were answered, by conversation; the items are in a collection of their own."""

    def __init__(self, database: Database, counters: Counters, words: ConversationWords) -> None:
        self._database = database
        self._counters = counters
        self._words = words
        self._conversations: Collection = database.collection("conversations")
        self._ordered = OrderedConversations(database, counters, words)

    async def prepare(self) -> None:
        """Make the indexes that lists rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            for name in ("number", "touched"):
                await self._conversations.create_index([("owner", ASCENDING), (name, ASCENDING)], name=name)
            await self._conversations.create_index([("gone", ASCENDING)], name="gone", sparse=True)

    async def insert(self, conversation: Conversation) -> Conversation:
        """Store a new conversation; one of this id that is stored stays as it is.

        Returns:
            What is stored.

        Raises:
            DatabaseUnavailable: The database did not answer.
            Conflict: One of this id was deleted.
        """
        owner = conversation.owner
        number, touched = await self._counters.draw(owner, "created", "touched")
        document = document_of(conversation) | {"number": number, "touched": touched}
        try:
            async with self._database.operation():
                await self._insert(document)
        except _Stored:
            stored = await self.get(owner, conversation.id)
            if stored is None:
                raise Conflict("The conversation that this made was deleted since.") from None
        else:
            stored = conversation_of(document)
        # Again too: whoever stored it may not have come this far.
        if stored.title is not None:
            await self._words.set_title(owner, stored.id, stored.number, stored.title)
        return stored

    async def get(self, owner: str, id_: str) -> Conversation | None:
        """One that is theirs.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._conversations.find_one(_one(owner, id_))
        return built(conversation_of, document)

    async def list(
        self, owner: str, page: PageRequest, wanted: ConversationFilter = EVERY_CONVERSATION
    ) -> Page[Conversation]:
        """Conversations of somebody that the filter lets through.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on one that is not in the list.
        """
        return await self._ordered.page(owner, page, wanted)

    async def change(self, owner: str, id_: str, **fields: Any) -> Conversation | None:
        """Set ``title``, ``model``, ``metadata`` or ``tool_resources``, as they are in a ``Conversation``.

        Returns:
            The conversation as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        assert fields.keys() <= set(_CHANGED)
        if "title" in fields:
            fields["title_given"] = fields["title"] is not None
        newest = await self._newest(owner)
        async with self._database.operation():
            document = await change_one(self._conversations, _one(owner, id_), {"$set": as_stored(fields), **newest})
        changed = built(conversation_of, document)
        if changed is not None and "title" in fields:
            await self._words.set_title(owner, id_, changed.number, changed.title)
        return changed

    async def begin_turn(self, owner: str, id_: str, turns: int = 1, *, model: str | None = None) -> int | None:
        """Reserve turns for somebody who is about to write.

        Args:
            model: What answers in it: the conversation's own from now on, if it has none.

        Returns:
            The first of them, or None if there is no such conversation.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        update = {"$inc": {"turns": turns}, **await self._newest(owner)}
        while True:
            async with self._database.operation():
                document = await self._conversations.find_one(_one(owner, id_), {"turns": True, "model": True})
                if document is None:
                    return None
                # Compared and set: see ``change_one``. Who comes too late tries again behind whoever was first.
                first: int = document["turns"]
                where, change = {**_one(owner, id_), "turns": first}, update
                if model is not None and document.get("model") is None:
                    where["model"], change = None, {**update, "$set": {"model": model}}
                reserved = await self._conversations.update_one(where, change)
            if reserved.modified_count:
                return first

    async def title_if_none(self, owner: str, id_: str, title: str) -> None:
        """Call a conversation so that is not called anything.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            where = {**_one(owner, id_), "title": None}
            document = await change_one(self._conversations, where, {"$set": {"title": title}})
        if (titled := built(conversation_of, document)) is not None:
            await self._words.set_title(owner, id_, titled.number, title)

    async def delete(self, owner: str, id_: str) -> bool:
        """Take a conversation out of sight, at once and for good; whether there was one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._conversations.update_one(_one(owner, id_), _gone())).modified_count == 1

    async def delete_all(self, owner: str) -> int:
        """Take all of somebody's out of sight; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer; some may be out of sight.
        """
        count, end = 0, await self._counters.end(owner, "created")
        for low in range(0, end, PER_DELETION):
            where = {"owner": owner, "number": {"$gte": low, "$lt": min(low + PER_DELETION, end)}}
            async with self._database.operation():
                count += (await self._conversations.update_many(where, _gone())).modified_count
        return count

    async def gone(self, bucket: int) -> Sequence[tuple[str, str, int]]:
        """The marks in one part: owners, ids, and when they were deleted.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._conversations.find({"gone": bucket}, {"owner": True, "gone_at_ms": True}).to_list(None)
        return [(document["owner"], document["_id"], document["gone_at_ms"]) for document in found]

    async def turns_of_gone(self, owner: str, id_: str) -> int:
        """How many turns a conversation had that was deleted.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._conversations.find_one(_mark(owner, id_), {"turns": True})
        return document["turns"] if document else 0

    async def forget(self, owner: str, id_: str) -> None:
        """Take away what is left of a conversation that was deleted.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._conversations.delete_one(_mark(owner, id_))

    async def places_for(self, owner: str, conversation: Conversation) -> tuple[int, int]:
        """The numbers by creation and by change under which a conversation of another's comes where its times belong.

        Where that is before others it shares the number of the one that it comes before.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        number = await self._ordered.first_since(owner, "created_at", conversation.created_at_ms)
        touched = await self._ordered.first_since(owner, "updated_at", conversation.updated_at_ms)
        return (
            await self._counters.next(owner, "created") if number is None else number,
            await self._counters.next(owner, "touched") if touched is None else touched,
        )

    async def _newest(self, owner: str) -> Document:
        """The part of an update that makes a conversation the last one that was changed."""
        # Drawn first: whoever changes it later has the greater number, whichever of them comes first to the document.
        touched = await self._counters.next(owner, "touched")
        return {"$max": {"touched": touched, "updated_at_ms": now_ms()}}

    async def _insert(self, document: Document) -> None:
        try:
            await self._conversations.insert_one(document)
        except DuplicateKeyError:
            raise _Stored from None


class _Stored(Exception):
    """There is one of this id."""


def _one(owner: str, id_: str) -> Document:
    return {"_id": id_, "owner": owner, **LIVE}


def _mark(owner: str, id_: str) -> Document:
    return {"_id": id_, "owner": owner, "gone_at_ms": {"$gt": 0}}


def _gone() -> list[Document]:
    return [
        {"$set": {"gone": {"$mod": ["$number", BUCKETS]}, "gone_at_ms": now_ms()}},
        {"$unset": ["number", "touched", "title", "model", "metadata", "tool_resources"]},
    ]
