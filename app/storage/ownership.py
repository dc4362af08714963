"""What belongs to users, over all collections: every document that somebody owns names them in ``owner``."""

from __future__ import annotations

from app.storage.database import Database

OWNED = ("api_keys", "sessions", "project_users")
"""What is deleted with its owner."""

MOVED = ("api_keys",)
"""What goes over to the account that a guest turns out to have already."""


class Ownership:
    """Deletes and hands over what is somebody's.

    The audit log is left: it names people by id alone, which after the deletion is nobody's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete(self, owner: str) -> dict[str, int]:
        """Delete all that is theirs; how many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        deleted: dict[str, int] = {}
        for name in OWNED:
            async with self._database.operation():
                result = await self._database.collection(name).delete_many({"owner": {"$eq": owner}})
            deleted[name] = result.deleted_count
        return deleted

    async def move(self, owner: str, to: str) -> dict[str, int]:
        """Hand over what a guest keeps on signing in; how many documents of which collection.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        moved: dict[str, int] = {}
        for name in MOVED:
            async with self._database.operation():
                result = await self._database.collection(name).update_many(
                    {"owner": {"$eq": owner}}, {"$set": {"owner": to}}
                )
            moved[name] = result.modified_count
        return moved
