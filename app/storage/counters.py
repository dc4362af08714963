"""The collection ``counters``: numbers for what an owner has, one behind the other."""

from __future__ import annotations

import contextlib
from typing import Literal

from pymongo.errors import DuplicateKeyError

from app.storage.database import Database

CounterName = Literal["created", "touched", "chats"]


class Counters:
    """What was counted, one document an owner. A number that was drawn and not used leaves a gap."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counters = database.collection("counters")

    async def next(self, owner: str, name: CounterName, count: int = 1) -> int:
        """Draw numbers that nobody else has; the first of them.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return (await self.draw(owner, name, count=count))[0]

    async def draw(self, owner: str, *names: CounterName, count: int = 1) -> list[int]:
        """Draw as many numbers of each of these; the first of each.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        while True:
            async with self._database.operation():
                document = await self._counters.find_one({"_id": owner})
                if document is None:
                    with contextlib.suppress(DuplicateKeyError):
                        await self._counters.insert_one({"_id": owner, "owner": owner})
                    document = {}
                # Compared and set: see ``change_one``. Who comes too late has only lost to somebody who did not.
                before = {name: document.get(name) for name in names}
                drawn = await self._counters.update_one({"_id": owner, **before}, {"$inc": dict.fromkeys(names, count)})
            if drawn.modified_count:
                return [before[name] or 0 for name in names]

    async def end(self, owner: str, name: CounterName) -> int:
        """The number that will be drawn next.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._counters.find_one({"_id": owner})
        return (document or {}).get(name, 0)
