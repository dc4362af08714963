"""The collection ``users``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.page import Page, PageRequest
from app.domain.principal import Role
from app.domain.user import Identity, User, UserStatus
from app.storage.database import Database, Document, built, change_one, find_each
from app.storage.pages import find_page

UserKind = Literal["any", "account", "person"]
"""``account``: no guests. ``person``: no service accounts either."""

_KINDS: Final[Mapping[UserKind, Document]] = {
    "any": {},
    "account": {"role": {"$ne": "guest"}},
    "person": {"role": {"$ne": "guest"}, "service_project": None},
}


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
            newest = [("created_at_ms", DESCENDING), ("_id", DESCENDING)]
            await self._users.create_index(newest, name="created")
            await self._users.create_index([("service_project", ASCENDING), *newest], name="service_project")
            await self._users.create_index([("email", ASCENDING), *newest], name="email")

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

    async def by_ids(self, ids: Iterable[str]) -> dict[str, User]:
        """Those of these that there are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await find_each(self._users, ids, _user)

    async def list(
        self,
        page: PageRequest,
        *,
        role: Role | None = None,
        emails: Iterable[str] = (),
        kind: UserKind = "any",
        service_project: str | None = None,
    ) -> Page[User]:
        """Users, those alone of whom everything holds that is said.

        Args:
            page: Which part.
            role: What they are.
            emails: One of these is theirs.
            kind: What sort of users.
            service_project: The project whose service accounts they are.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a user who is not in the list.
        """
        where: Document = dict(_KINDS[kind])
        if role is not None:
            where["role"] = {"$eq": role}
        if emails := list(emails):
            where["email"] = {"$in": emails}
        if service_project is not None:
            where["service_project"] = {"$eq": service_project}
        async with self._database.operation():
            return await find_page(self._users, where, page, _user)

    async def change(self, user_id: str, *, where: Mapping[str, Any] | None = None, **fields: Any) -> User | None:
        """Set fields of a user: ``name``, ``name_from``, ``role``, ``status``, ``email``, ``picture``, ``limits``,
        ``plan``.

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
        where = {"role": "guest", "status": "active"}
        return await self._update(user_id, where, {**fields, "role": "user", **_identity_fields(identity)})

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
                document = await change_one(self._users, {"_id": {"$eq": user_id}, **where}, {"$set": dict(fields)})
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
        "name_from": user.name_from,
        "email": user.email,
        "picture": user.picture,
        "status": user.status,
        "limits": dict(user.limits) if isinstance(user.limits, Mapping) else user.limits,
        "plan": user.plan,
        "service_project": user.service_project,
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
        name_from=document.get("name_from", "issuer"),
        limits=document.get("limits"),
        plan=document.get("plan"),
        service_project=document.get("service_project"),
    )
