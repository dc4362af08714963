"""Conversations on their way to another owner, or to nobody: in parts that each stay within their deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from app.domain.conversation import Conversation
from app.storage.conversation_documents import conversation_of
from app.storage.conversation_words import ConversationWords
from app.storage.conversations import Conversations
from app.storage.counters import Counters
from app.storage.database import Collection, Database
from app.storage.items import Items

PART: Final = 200
"""Numbers at the most whose conversations are read at once."""


class ConversationOwnership:
    """Deletes and hands over somebody's conversations, with what is in them.

    What is in a conversation goes before it: whoever dies meanwhile, the next try finds it and goes on.
    """

    def __init__(
        self,
        database: Database,
        counters: Counters,
        conversations: Conversations,
        items: Items,
        words: ConversationWords,
    ) -> None:
        self._database = database
        self._counters = counters
        self._conversations = conversations
        self._items = items
        self._words = words
        self._documents: Collection = database.collection("conversations")

    async def delete(self, owner: str) -> dict[str, int]:
        """Delete all of somebody's; how many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        deleted = {"conversations": 0, "items": 0}
        async for conversation in self._all(owner):
            deleted["items"] += await self._items.delete_all(owner, conversation.id, conversation.turns)
            await self._words.delete_all(owner, conversation.id)
            async with self._database.operation():
                await self._documents.delete_one({"_id": conversation.id, "owner": owner})
            deleted["conversations"] += 1
        return deleted

    async def move(self, owner: str, to: str) -> dict[str, int]:
        """Make all of somebody's somebody else's, among whose own they come where their times belong.

        Returns:
            How many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        moved = {"conversations": 0, "items": 0}
        async for conversation in self._all(owner):
            number, touched = await self._conversations.places_for(to, conversation)
            moved["items"] += await self._items.move_all(owner, conversation.id, conversation.turns, to)
            await self._words.move_all(owner, conversation.id, to, number)
            async with self._database.operation():
                await self._documents.update_one(
                    {"_id": conversation.id, "owner": owner},
                    {"$set": {"owner": to, "number": number, "touched": touched}},
                )
            moved["conversations"] += 1
        return moved

    async def _all(self, owner: str) -> AsyncIterator[Conversation]:
        end = await self._counters.end(owner, "created")
        for low in range(0, end, PART):
            for conversation in await self._part(owner, low, min(low + PART, end)):
                yield conversation

    async def _part(self, owner: str, low: int, high: int) -> Sequence[Conversation]:
        where = {"owner": owner, "number": {"$gte": low, "$lt": high}}
        async with self._database.operation():
            documents = await self._documents.find(where).to_list(None)
        return sorted(map(conversation_of, documents), key=lambda each: (each.number, each.id))
