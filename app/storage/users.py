"""The collection ``users``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.domain.page import Page, PageRequest
from app.domain.principal import Role
from app.domain.user import Identity, User, UserStatus
from app.storage.database import Database, Document, built
from app.storage.pages import find_page


class IdentityTaken(Exception):
    """Another user has this identity."""


class Users:
    """Whoever owns something: looked up before there is a principal, or by admins, so not owned by one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._users = database.collection("users")

    async def prepare(self) -> None:
        """Make the indexes that look-ups and uniqueness rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._users.create_index(
                [("identity", ASCENDING)],
                unique=True,
                name="identity",
                # guests and those whom an admin added have none, which is no clash
                sparse=True,
            )
            await self._users.create_index([("created_at_ms", DESCENDING), ("_id", DESCENDING)], name="created")

    async def ensure(self, user_id: str, *, name: str, role: Role) -> None:
        """Create the user if there is none of this id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            with contextlib.suppress(DuplicateKeyError):
                await self._users.insert_one(_document(User(user_id, role, name, now_ms())))

    async def insert(self, user: User) -> None:
        """Store a new user.

        Raises:
            DatabaseUnavailable: The database did not answer.
            IdentityTaken: Somebody has this identity already.
        """
        async with self._database.operation():
            try:
                await self._users.insert_one(_document(user))
            except DuplicateKeyError:
                raise IdentityTaken from None

    async def get(self, user_id: str) -> User | None:
        """The user of this id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._users.find_one({"_id": {"$eq": user_id}})
        return built(_user, document)

    async def by_identity(self, identity: Identity) -> User | None:
        """The user whom an issuer knows by this subject.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._users.find_one({"identity": {"$eq": _identity_key(identity)}})
        return built(_user, document)

    async def list(self, page: PageRequest, *, role: Role | None = None, email: str | None = None) -> Page[User]:
        """Users, those of a role or of an e-mail address alone if one is given.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a user who is not in the list.
        """
        where: Document = {}
        if role is not None:
            where["role"] = {"$eq": role}
        if email is not None:
            where["email"] = {"$eq": email}
        async with self._database.operation():
            return await find_page(self._users, where, page, _user)

    async def change(
        self, user_id: str, *, where: Mapping[str, Any] | None = None, **fields: str | None
    ) -> User | None:
        """Set fields of a user: ``name``, ``role``, ``status``, ``email``, ``picture``, ``limits``.

        Args:
            where: What must hold of the stored user besides.

        Returns:
            The user as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._update(user_id, where or {}, fields)

    async def adopt(self, user_id: str, identity: Identity, **fields: str | None) -> User | None:
        """Turn a guest into the user of an identity, in place.

        Raises:
            DatabaseUnavailable: The database did not answer.
            IdentityTaken: Somebody has this identity already.
        """
        return await self._update(user_id, {"role": "guest"}, {**fields, "role": "user", **_identity_fields(identity)})

    async def delete(self, user_id: str) -> bool:
        """Forget a user; whether there was one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._users.delete_one({"_id": {"$eq": user_id}})).deleted_count == 1

    async def _update(self, user_id: str, where: Mapping[str, Any], fields: Mapping[str, Any]) -> User | None:
        async with self._database.operation():
            try:
                document = await self._users.find_one_and_update(
                    {**where, "_id": {"$eq": user_id}}, {"$set": dict(fields)}, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                raise IdentityTaken from None
        return built(_user, document)


def now_ms() -> int:
    """Epoch milliseconds: what every document's times are in."""
    return int(time.time() * 1000)


def _document(user: User) -> Document:
    return {
        "_id": user.id,
        "role": user.role,
        "name": user.name,
        "email": user.email,
        "picture": user.picture,
        "status": user.status,
        "limits": user.limits,
        "created_at_ms": user.created_at_ms,
        **(_identity_fields(user.identity) if user.identity else {}),
    }


def _identity_key(identity: Identity) -> str:
    # Issuers are URLs, in which no blank can be.
    return f"{identity.issuer} {identity.subject}"


def _identity_fields(identity: Identity) -> Document:
    return {"identity": _identity_key(identity), "issuer": identity.issuer, "issuer_subject": identity.subject}


def _user(document: Document) -> User:
    issuer = document.get("issuer")
    status: UserStatus = document["status"]
    return User(
        id=document["_id"],
        role=document["role"],
        name=document["name"],
        created_at_ms=document["created_at_ms"],
        email=document.get("email"),
        picture=document.get("picture"),
        status=status,
        identity=Identity(issuer, document["issuer_subject"]) if issuer else None,
        limits=document.get("limits"),
    )
