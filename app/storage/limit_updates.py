"""How a subject's document is updated so that what the update found is known: in one operation, or in two."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pymongo import ReturnDocument

from app.errors import DatabaseUnavailable
from app.storage.database import Blocking, Collection, Database, Document, in_one_go
from app.storage.limit_pipeline import Stage

KEPT_MS = 60_000
"""How long what an update found is kept for whoever made it: longer than anybody looks for it."""


class Updates(Protocol):
    """A way to update a document."""

    async def make(self, where: Mapping[str, Any], update: Sequence[Stage], *, upsert: bool = False) -> Document | None:
        """Make an update; the document with what this update found as its ``r``, or None if none was to be updated.

        Raises:
            DuplicateKeyError: The document that was to be made is there already.
            DatabaseUnavailable: It was made, but nobody can tell what it found.
        """
        ...


class InOne:
    """By ``find_one_and_update``."""

    def __init__(self, limits: Collection) -> None:
        self._limits = limits

    async def make(self, where: Mapping[str, Any], update: Sequence[Stage], *, upsert: bool = False) -> Document | None:
        """As in ``Updates``."""
        return await self._limits.find_one_and_update(
            where, list(update), upsert=upsert, return_document=ReturnDocument.AFTER
        )


class InTwo:
    """By ``update_one``, which leaves what it found in the document, and a look at that.

    For SecantusDB, whose ``find_one_and_update`` reads the whole collection. Others may update the document before the
    look: what they found is kept beside it, under names and numbers of their own.
    """

    def __init__(self, limits: Collection) -> None:
        self._limits = limits
        self._name = secrets.token_hex(6)
        self._numbers = itertools.count()
        # Those that are made and not looked at yet. Motor's threads change it.
        self._under_way: set[int] = set()
        self._lock = threading.Lock()

    async def make(self, where: Mapping[str, Any], update: Sequence[Stage], *, upsert: bool = False) -> Document | None:
        """As in ``Updates``."""
        return await in_one_go(self._limits, lambda limits: self._make(limits, where, update, upsert=upsert))

    def _make(
        self, limits: Blocking, where: Mapping[str, Any], update: Sequence[Stage], *, upsert: bool
    ) -> Document | None:
        with self._lock:
            number = next(self._numbers)
            self._under_way.add(number)
            under_way = list(self._under_way)
        try:
            done = limits.update_one(where, [*update, *self._keeping(number, under_way)], upsert=upsert)
            made = done.matched_count or done.upserted_id is not None
            return self._look(limits, where["_id"], number) if made else None
        finally:
            with self._lock:
                self._under_way.remove(number)

    def _keeping(self, number: int, under_way: Sequence[int]) -> list[Stage]:
        # Later numbers may be under way by then: only of those before it is known which are.
        looked_for = {"$or": [{"$in": ["$$x.o", under_way]}, {"$gt": ["$$x.o", number]}]}
        lasts = {"$gte": ["$$x.r.now", {"$subtract": ["$r.now", KEPT_MS]}]}
        kept = {"$and": [lasts, {"$or": [{"$ne": ["$$x.p", self._name]}, looked_for]}]}
        others: Document = {"$filter": {"input": {"$ifNull": ["$done", []]}, "as": "x", "cond": kept}}
        mine = {"p": self._name, "o": number, "r": "$r"}
        return [{"$set": {"done": {"$concatArrays": [others, [mine]]}}}, {"$unset": "r"}]

    def _look(self, limits: Blocking, id_: str, number: int) -> Document:
        document: Document = limits.find_one({"_id": id_}) or {}
        for each in document.get("done", ()):
            if each["p"] == self._name and each["o"] == number:
                return {**document, "r": each["r"]}
        raise DatabaseUnavailable("The database did not keep what a change came to. Try again shortly.")


async def updates_on(database: Database, limits: Collection) -> Updates:
    """The way that suits a database, inside of an operation."""
    return InTwo(limits) if await database.is_secantus() else InOne(limits)
