"""The policy table that admins set at run time: the installation's own, so without an owner in its filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.storage.database import Database, Document, built

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class StoredTable:
    """What admins set last.

    Attributes:
        values: The table as plain values; None where they went back to the file's.
        version: Grows with every change.
    """

    values: dict[str, Any] | None
    version: int


class LimitTables:
    """The collection ``limit_tables``: one document."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = database.collection("limit_tables")

    async def get(self) -> StoredTable | None:
        """What is set; None if nothing ever was.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return built(_table, await self._tables.find_one({"_id": CURRENT}))

    async def put(self, values: dict[str, Any] | None) -> None:
        """Set the table, or go back to the file's.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._tables.update_one(
                {"_id": CURRENT}, {"$set": {"table": values}, "$inc": {"version": 1}}, upsert=True
            )


def _table(document: Document) -> StoredTable:
    return StoredTable(document.get("table"), document["version"])
