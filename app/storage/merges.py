"""Guests on their way into an account: in the collection ``users`` theirs say where they go, and who sees to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ASCENDING

from app.domain.origin import Origin
from app.storage.database import Database, Document


@dataclass(frozen=True, slots=True)
class Merge:
    """One of them.

    Attributes:
        guest: Who they were.
        into: The user who gets all that was theirs.
        by: The process that sees to it.
        origin: Of the sign-in that it began with.
    """

    guest: str
    into: str
    by: str
    origin: Origin


class Merges:
    """It is over when the guest's document is gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._users = database.collection("users")

    async def prepare(self) -> None:
        """Make the index that going on rests on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._users.create_index([("merging_by", ASCENDING)], name="merging_by", sparse=True)

    async def begin(self, merge: Merge) -> bool:
        """Note one, which ends the guest; False if they are no guest any more, or on their way already.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": merge.guest}, "role": "guest", "merging_by": None}
        async with self._database.operation():
            noted = await self._users.update_one(where, {"$set": {"status": "disabled", **_fields(merge)}})
        return noted.modified_count == 1

    async def of(self, process: str) -> Sequence[Merge]:
        """Those that a process sees to.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return [_merge(found) for found in await self._users.find({"merging_by": {"$eq": process}}).to_list(None)]

    async def claim(self, merge: Merge, process: str) -> bool:
        """See to one in place of whoever did; False if somebody else does by now.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": merge.guest}, "merging_by": {"$eq": merge.by}}
        async with self._database.operation():
            return (await self._users.update_one(where, {"$set": {"merging_by": process}})).modified_count == 1


def _fields(merge: Merge) -> Document:
    origin = merge.origin
    return {
        "merging_by": merge.by,
        "merging_into": merge.into,
        "merging_origin": [origin.address, origin.user_agent, origin.request_id],
    }


def _merge(document: Document) -> Merge:
    origin = Origin(*document["merging_origin"])
    return Merge(document["_id"], document["merging_into"], document["merging_by"], origin)
