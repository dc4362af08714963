"""The collection ``api_keys``: the owner, or that it is an admin's look, is in every query but the door's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.key_record import DEFAULT_PROJECT, KeyRecord
from app.domain.page import Page, PageRequest
from app.domain.user import User
from app.storage.database import Database, Document, built, change_one, find_each
from app.storage.pages import find_page
from app.storage.users import Users, now_ms

LAST_USED_EVERY_MS = 60_000
REVOKED: Mapping[str, Any] = {"status": "revoked"}


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """A key and whom it stands for, as they were at one moment."""

    key: KeyRecord
    owner: User


class ApiKeys:
    """Keys: their digests, and what they may do.

    A revoked key is kept, so that what it did can still be told, and shown to nobody.
    """

    def __init__(self, database: Database, users: Users) -> None:
        self._database = database
        self._users = users
        self._keys = database.collection("api_keys")

    async def prepare(self) -> None:
        """Make the indexes that look-ups and uniqueness rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("created_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._keys.create_index([("digest", ASCENDING)], unique=True, name="digest")
            await self._keys.create_index([("owner", ASCENDING), *newest], name="owner")
            await self._keys.create_index([("project", ASCENDING), *newest], name="project")
            await self._keys.create_index([("scopes", ASCENDING), *newest], name="scopes")
            await self._keys.create_index(newest, name="created")

    async def find(self, digest: str) -> OwnedKey | None:
        """Whom the key with this digest stands for, if it opens anything: the look-up behind the door.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._keys.find_one({"digest": {"$eq": digest}})
        key = built(_record, document)
        # Whose a key was that opens nothing is no longer of interest.
        if key is None or not key.valid(now_ms()):
            return None
        owner = await self._users.get(key.owner)
        return owner and OwnedKey(key, owner)

    async def touch(self, key_id: str) -> None:
        """Note that the key was used, once a minute at the most.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        now = now_ms()
        before = {"$or": [{"last_used_at_ms": None}, {"last_used_at_ms": {"$lt": now - LAST_USED_EVERY_MS}}]}
        async with self._database.operation():
            await self._keys.update_one({"_id": {"$eq": key_id}, **before}, {"$set": {"last_used_at_ms": now}})

    async def insert(self, key: KeyRecord, digest: str) -> None:
        """Store a new key.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._keys.insert_one(_document(key, digest))

    async def ensure(self, key: KeyRecord, digest: str) -> None:
        """Store the key if it is not stored: one that was revoked stays revoked, and one that was narrowed narrow.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            with contextlib.suppress(DuplicateKeyError):
                await self._keys.insert_one(_document(key, digest))

    async def list(self, page: PageRequest, **where: str | None) -> Page[KeyRecord]:
        """Keys of an ``owner``, of a ``project``, of those with one of the ``scopes``, or all.

        The newest first, unless the page says otherwise.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a key that is not in the list.
        """
        async with self._database.operation():
            return await find_page(self._keys, _live(where), page, _record)

    async def count(self, owner: str) -> int:
        """How many keys somebody has.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await self._keys.count_documents(_live({"owner": owner}))

    async def get(self, key_id: str, **where: str | None) -> KeyRecord | None:
        """One key, if it is of this ``owner`` or ``project``.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._keys.find_one({"_id": {"$eq": key_id}, **_live(where)})
        return built(_record, document)

    async def by_ids(self, ids: Iterable[str]) -> dict[str, KeyRecord]:
        """Those of these that there are or were: a revoked key has a past.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await find_each(self._keys, ids, _record)

    async def change(self, key_id: str, fields: Mapping[str, Any], **where: str | None) -> KeyRecord | None:
        """Set fields of a key as they are stored; the key as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await change_one(self._keys, {"_id": {"$eq": key_id}, **_live(where)}, {"$set": dict(fields)})
        return built(_record, document)

    async def revoke(self, key_id: str, **where: str | None) -> KeyRecord | None:
        """End a key; the key as it was, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self.change(key_id, {**REVOKED, "revoked_at_ms": now_ms()}, **where)

    async def revoke_all(self, **where: str | None) -> int:
        """End every key of an ``owner``, a ``project``, or of an owner in a project; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            ended = await self._keys.update_many(_live(where), {"$set": {**REVOKED, "revoked_at_ms": now_ms()}})
        return ended.modified_count

    async def delete_all(self, owner: str) -> int:
        """Forget every key of somebody, the revoked ones too; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._keys.delete_many({"owner": {"$eq": owner}})).deleted_count


def _live(where: Mapping[str, str | None]) -> Document:
    return {"status": "active", **{name: {"$eq": value} for name, value in where.items() if value is not None}}


def _document(key: KeyRecord, digest: str) -> Document:
    return {
        "_id": key.id,
        "owner": key.owner,
        "project": key.project,
        "name": key.name,
        "digest": digest,
        "redacted_value": key.redacted_value,
        "scopes": list(key.scopes),
        "models": None if key.models is None else list(key.models),
        "limits": dict(key.limits) if isinstance(key.limits, Mapping) else key.limits,
        "limits_by_admin": key.limits_by_admin,
        "status": "active",
        "expires_at_ms": key.expires_at_ms,
        "created_at_ms": key.created_at_ms,
        "last_used_at_ms": None,
    }


def _record(document: Document) -> KeyRecord:
    models = document.get("models")
    return KeyRecord(
        id=document["_id"],
        owner=document["owner"],
        name=document["name"],
        redacted_value=document["redacted_value"],
        scopes=tuple(document["scopes"]),
        created_at_ms=document["created_at_ms"],
        project=document.get("project", DEFAULT_PROJECT),
        models=None if models is None else tuple(models),
        limits=document.get("limits"),
        limits_by_admin=document.get("limits_by_admin", False),
        active=document["status"] == "active",
        expires_at_ms=document.get("expires_at_ms"),
        last_used_at_ms=document.get("last_used_at_ms"),
    )
