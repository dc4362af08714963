"""The collection ``limits``: one document per subject, in which its windows and slots are counted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.slices import Slices
from app.errors import DatabaseUnavailable
from app.storage.database import Database, Document, in_one_go
from app.storage.limit_pipeline import Change, Stage, WindowChange, pipeline
from app.storage.limit_updates import Updates, updates_on

SLOT_LIFE_S = 30.0
TRIES = 3
"""Two that make a document at once take two; one that is removed meanwhile, another."""
PROBE = Change("probe", (WindowChange("probe:second", "second", 1),))
"""Writes, as every change does: a database that can only be read is of no use here."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How a window stands after a change.

    Attributes:
        slices: What is taken and counts, the oldest first.
        granted: What the change took of it: what it needed, and extra.
        spread_ms: When all that a burst took is spread over; 0 without a burst.
    """

    slices: Slices
    granted: int = 0
    spread_ms: float = 0


@dataclass(frozen=True, slots=True)
class Held:
    """How slots stand after a change: how many this process holds, and how many all others do."""

    held: int
    others: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a change came to.

    Attributes:
        now_ms: The database's clock.
        ok: Whether all was to be had that was asked for; otherwise none was taken.
        windows: Every window of the subject, by field.
        slots: Those that were changed, by name.
    """

    now_ms: int
    ok: bool
    windows: Mapping[str, Counted]
    slots: Mapping[str, Held]


class Limits:
    """What is taken of limits.

    Args:
        slot_life_s: How long slots are held by a process that is not heard of.
        updates: How documents are updated; None: in the way that suits the database.
    """

    def __init__(self, database: Database, *, slot_life_s: float = SLOT_LIFE_S, updates: Updates | None = None) -> None:
        self._database = database
        self._limits = database.collection("limits")
        self._process = secrets.token_hex(6)
        self._updates = updates
        self.slot_life_s = slot_life_s

    async def prepare(self) -> None:
        """Make the index by which the database forgets who was not seen for longer than any of their windows.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._limits.create_index([("expires", ASCENDING)], expireAfterSeconds=0, name="expires")

    async def apply(self, change: Change, *, share: int, timeout_s: float) -> Found:
        """Change a subject's document, all at once.

        Args:
            share: What is left is divided by it before anybody gets something extra.
            timeout_s: The operation's deadline.

        Raises:
            DatabaseUnavailable: The database did not answer in time: nobody knows whether it was done.
        """
        life_ms = int(self.slot_life_s * 1000)
        update = pipeline(change, process=self._process, share=share, slot_life_ms=life_ms)
        async with self._database.operation(timeout_s):
            if self._updates is None:
                self._updates = await updates_on(self._database, self._limits)
            for _ in range(TRIES):
                document = await self._updates.make({"_id": change.subject}, update)
                document = document or await _create(self._updates, change.subject, update)
                if document is not None:
                    return _found(document)
        raise DatabaseUnavailable("The database did not take a change. Try again shortly.")

    async def look(self, subject: str, *, timeout_s: float) -> Found | None:
        """How a subject's windows stand, by reading alone; None where there is no document.

        Args:
            timeout_s: The operation's deadline.

        Raises:
            DatabaseUnavailable: The database did not answer in time.
        """
        # Not every server tells its clock to a ``find``.
        stages: list[Stage] = [{"$match": {"_id": subject}}, {"$project": {"w": True, "now": {"$toLong": "$$NOW"}}}]
        async with self._database.operation(timeout_s):
            documents = await in_one_go(self._limits, lambda limits: list(limits.aggregate(stages)))
        if not documents:
            return None
        return Found(int(documents[0]["now"]), ok=True, windows=_windows(documents[0], {}), slots={})

    async def probe(self, *, timeout_s: float) -> None:
        """Return if changes can be made.

        Raises:
            DatabaseUnavailable: They cannot.
        """
        await self.apply(PROBE, share=1, timeout_s=timeout_s)


async def _create(updates: Updates, subject: str, update: list[Stage]) -> Document | None:
    """The same where there is no document yet; None, and nothing done, if there is one by now.

    Not every server tells what an upsert came to that met a document after all, so this one never changes any.
    """
    try:
        return await updates.make({"_id": subject, "expires": {"$exists": False}}, update, upsert=True)
    except DuplicateKeyError:
        return None


def _found(document: Document) -> Found:
    result: Document = document["r"]
    others: Document = result.get("o", {})
    return Found(
        now_ms=int(result["now"]),
        ok=bool(result["ok"]),
        windows=_windows(document, result.get("g", {})),
        slots={name: Held(int(held), int(others.get(name, 0))) for name, held in result.get("h", {}).items()},
    )


def _windows(document: Document, granted: Document) -> dict[str, Counted]:
    return {
        field: Counted(_slices(window), int(granted.get(field, 0)), float(window.get("t", 0)))
        for field, window in document.get("w", {}).items()
    }


def _slices(window: Document) -> Slices:
    return sorted((int(each["k"]), int(each["n"])) for each in window.get("s", []))
