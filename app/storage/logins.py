"""The collection ``logins``: the sign-ins that came back from the provider, so that none comes back twice.

What a sign-in under way is about is with the browser, sealed; here is only that it was used.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.storage.database import Database

CLOCKS_DIFFER_S = 60
"""A used one is remembered for as long as any replica, by its own clock, could take it for fresh."""


class Logins:
    """Which sign-ins were used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._logins = database.collection("logins")

    async def prepare(self) -> None:
        """Make the index by which the database forgets.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._logins.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")

    async def use(self, digest: str, expires_at: float) -> bool:
        """Note that a sign-in is used up; whether it was not before. One insert: of two at once, one gets False.

        Args:
            digest: The sign-in's.
            expires_at: When it counts no more in any case, in epoch seconds.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        purge_at = datetime.fromtimestamp(expires_at + CLOCKS_DIFFER_S, UTC)
        async with self._database.operation():
            try:
                await self._logins.insert_one({"_id": digest, "purge_at": purge_at})
            except DuplicateKeyError:
                return False
        return True
