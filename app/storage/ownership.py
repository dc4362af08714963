"""What belongs to users, over all collections: every document that somebody owns names them in ``owner``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from pymongo import ASCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from app.storage.conversation_ownership import ConversationOwnership
from app.storage.database import Database, Document, update_each
from app.storage.stored_chats import StoredChats

OWNED = (
    "api_keys",
    "sessions",
    "project_users",
    "responses",
    "response_events",
    "conversations",
    "items",
    "conversation_words",
    "stored_chats",
    "idempotency",
    "counters",
    "assistants",
    "runs",
    "run_steps",
)
"""What is deleted with its owner; of what is in conversations, what is left when they are gone."""

DERIVED = ("response_events", "conversation_words", "idempotency", "counters", "run_steps")
"""What nobody would know as theirs."""

MOVED = ("api_keys", "responses", "response_events", "items", "assistants", "runs", "run_steps")
"""What goes over to the account that a guest turns out to have already."""

USAGE = ("usage_events", "usage_days")
"""What stays, for whoever pays for it: a guest's goes over to their account, and a deleted user's is nobody's."""

NOBODY = "deleted"
"""Whom the usage of deleted users is under; no user has this id."""

PART = 500
"""How many documents one update changes at the most."""

IDS = 100
"""How many documents are deleted or moved by their ids at once."""

MANY_S = 60.0
"""How long it may take to find all that somebody has."""


class Ownership:
    """Deletes and hands over what is somebody's.

    The audit log is left: it names people by id alone, which after the deletion is nobody's. Of usage the sums are left
    and the person is taken away. It comes late at times, so ``usage_heirs`` keeps who has it of those who are no more.
    """

    def __init__(self, database: Database, conversations: ConversationOwnership, stored_chats: StoredChats) -> None:
        self._database = database
        self._stored_chats = stored_chats
        self._conversations = conversations
        self._heirs = database.collection("usage_heirs")

    async def prepare(self) -> None:
        """Make the index that a deletion rests on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._heirs.create_index([("heir", ASCENDING)], name="heir")

    async def delete(self, owner: str) -> dict[str, int]:
        """Delete all that is theirs; how many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        deleted = await self._conversations.delete(owner)
        for name in OWNED:
            collection = self._database.collection(name)
            count = 0
            async for part in self.ids(name, owner):
                async with self._database.operation():
                    count += (await collection.delete_many({"_id": {"$in": part}, "owner": owner})).deleted_count
            if name not in DERIVED:
                deleted[name] = deleted.get(name, 0) + count
        await self._leave(owner, NOBODY)
        return deleted

    async def move(self, owner: str, to: str) -> dict[str, int]:
        """Hand over what a guest keeps on signing in; how many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        # First: whoever keeps an answer meanwhile looks for its place with both.
        await self._note(owner, to)
        moved = await self._conversations.move(owner, to)
        moved["stored_chats"] = await self._stored_chats.move(owner, to)
        for name in MOVED:
            collection = self._database.collection(name)
            count = 0
            async for part in self.ids(name, owner):
                where = {"_id": {"$in": part}, "owner": owner}
                async with self._database.operation():
                    count += (await collection.update_many(where, {"$set": {"owner": to}})).modified_count
            moved[name] = moved.get(name, 0) + count
        await self._leave(owner, to)
        return moved

    async def ids(self, name: str, owner: str, at_once: int = IDS) -> AsyncIterator[list[Any]]:
        """The ids of all that is theirs in a collection, in order, so many at a time as one operation can take on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation(timeout_s=MANY_S):
            found = await self._database.collection(name).find({"owner": owner}, {"_id": True}).to_list(None)
        ids = sorted((document["_id"] for document in found), key=str)
        for at in range(0, len(ids), at_once):
            yield ids[at : at + at_once]

    async def pass_on(self, owners: Iterable[str]) -> None:
        """Give usage that came late to whoever has that of its owners by now.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            heirs = await self._heirs.find({"_id": {"$in": sorted(set(owners))}}).to_list(None)
        for heir in heirs:
            await self._give(heir["_id"], heir["heir"])

    async def heir_of(self, owner: str) -> str | None:
        """Who has what was somebody's, if they are no more and anybody has.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            found = await self._heirs.find_one({"_id": {"$eq": owner}})
        return None if found is None or found["heir"] == NOBODY else found["heir"]

    async def _note(self, owner: str, heir: str) -> None:
        async with self._database.operation():
            with contextlib.suppress(DuplicateKeyError):
                await self._heirs.insert_one({"_id": owner, "heir": heir})

    async def _leave(self, owner: str, heir: str) -> None:
        # Before anything is given: what comes later is then found and passed on. The first heir stays; one who goes
        # leaves what they had to theirs.
        await self._note(owner, heir)
        async with self._database.operation():
            await self._heirs.update_many({"heir": {"$eq": owner}}, {"$set": {"heir": heir}})
        await self.pass_on([owner])

    async def _give(self, owner: str, heir: str) -> None:
        # A key is one person's: what it did would still tell them apart.
        change: Document = {"owner": heir} if heir != NOBODY else {"owner": heir, "key_id": None}
        for name in USAGE:
            collection = self._database.collection(name)
            # It may be much: in parts, each within its deadline.
            while True:
                async with self._database.operation():
                    found = await collection.find({"owner": {"$eq": owner}}, {"_id": True}).limit(PART).to_list(PART)
                if not found:
                    break
                updates = [UpdateOne({"_id": document["_id"], "owner": owner}, {"$set": change}) for document in found]
                async with self._database.operation():
                    await update_each(collection, updates)
        lots = self._database.collection("usage_lots")
        within = {"$set": {f"sums.$[each].{name}": value for name, value in change.items()}}
        async with self._database.operation():
            await lots.update_many({"sums.owner": owner}, within, array_filters=[{"each.owner": owner}])
