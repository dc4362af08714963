"""Users and the keys that open the door: looked up before there is a principal, so not owned by one."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.api_key import ApiKey
from app.domain.principal import Principal, Role, Scope
from app.storage.database import Collection, Database, Document


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as stored: who it stands for, and whether it still counts.

    Attributes:
        expires_at_ms: Epoch milliseconds, or None for never.
    """

    principal: Principal
    active: bool
    expires_at_ms: int | None

    def valid(self, now_ms: float) -> bool:
        """Whether the key opens anything at this moment."""
        return self.active and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


class Credentials:
    """The collections ``users`` and ``api_keys``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._users = database.collection("users")
        self._keys = database.collection("api_keys")

    async def prepare(self) -> None:
        """Make the indexes that look-ups and uniqueness rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._keys.create_index([("digest", ASCENDING)], unique=True, name="digest")
            await self._keys.create_index([("owner", ASCENDING), ("_id", ASCENDING)], name="owner")

    async def find(self, digest: str) -> StoredKey | None:
        """The key with this digest, its owner's role joined in.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            key = await self._keys.find_one({"digest": digest})
            user = key and await self._users.find_one({"_id": key["owner"]})
        if not key or not user:
            return None
        return _stored(key, user)

    async def ensure_user(self, user_id: str, *, name: str, role: Role) -> None:
        """Create the user if there is none of this id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document = {"name": name, "role": role, "status": "active", "created_at_ms": _now_ms()}
        await self._insert_once(self._users, {"_id": user_id, **document})

    async def ensure_key(self, key: ApiKey, digest: str, *, owner: str, name: str, scopes: list[Scope]) -> None:
        """Store the key if it is not stored: one that was revoked stays revoked.

        One that is stored gets the digest, which is another one after a change of the installation's secret.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document: Document = {
            "_id": f"key_{key.id}",
            "owner": owner,
            "name": name,
            "digest": digest,
            "redacted_value": key.redacted,
            "scopes": scopes,
            "status": "active",
            "expires_at_ms": None,
            "created_at_ms": _now_ms(),
        }
        await self._insert_once(self._keys, document)
        async with self._database.operation():
            await self._keys.update_one({"_id": document["_id"]}, {"$set": {"digest": digest}})

    async def _insert_once(self, collection: Collection, document: Document) -> None:
        async with self._database.operation():
            with contextlib.suppress(DuplicateKeyError):
                await collection.insert_one(document)


def _stored(key: Document, user: Document) -> StoredKey:
    principal = Principal(
        kind="api_key", subject=user["_id"], role=user["role"], scopes=frozenset(key["scopes"]), key_id=key["_id"]
    )
    active = key["status"] == "active" and user["status"] == "active"
    return StoredKey(principal, active, key.get("expires_at_ms"))


def _now_ms() -> int:
    return int(time.time() * 1000)
