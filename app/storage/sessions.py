"""The collection ``sessions``: one document per sign-in, however often it is gone on with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING

from app.storage.database import Database, Document, built


@dataclass(frozen=True, slots=True)
class Session:
    """A family of refresh tokens: the current one, and what it took the place of.

    Attributes:
        id: ``sess_...``.
        owner: The user who signed in.
        current: Digest of the token that goes on with it.
        previous: Digest of the token before that, or None.
        salt: What was drawn when ``previous`` was used, or None.
        client: Digest of what the client called itself then, or None.
        rotated_at_ms: When that was.
        expires_at_ms: When it ends unless somebody goes on with it.
        ends_at_ms: When it ends in any case.
        active: Whether it was not ended.
    """

    id: str
    owner: str
    current: str
    expires_at_ms: int
    ends_at_ms: int
    created_at_ms: int
    previous: str | None = None
    salt: str | None = None
    client: str | None = None
    rotated_at_ms: int = 0
    active: bool = True

    def valid(self, now_ms: float) -> bool:
        """Whether it can be gone on with, and access tokens of it count."""
        return self.active and now_ms < min(self.expires_at_ms, self.ends_at_ms)


class Sessions:
    """Who is signed in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = database.collection("sessions")

    async def prepare(self) -> None:
        """Make the indexes that look-ups rest on, and the one by which the database forgets what is over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._sessions.create_index([("owner", ASCENDING)], name="owner")
            await self._sessions.create_index([("purge_at", ASCENDING)], expireAfterSeconds=0, name="purge")

    async def insert(self, session: Session) -> None:
        """Store a new session.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._sessions.insert_one(_document(session))

    async def get(self, session_id: str) -> Session | None:
        """The session of this id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._sessions.find_one({"_id": {"$eq": session_id}})
        return built(_session, document)

    async def rotate(self, session: Session, *, current: str) -> Session | None:
        """Put ``session`` in the place of what is stored, if its current token is still ``current``.

        One update: of two who show the same token at once, one gets None.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            changed = await self._sessions.update_one(
                {"_id": {"$eq": session.id}, "current": {"$eq": current}, "active": True},
                {"$set": {name: value for name, value in _document(session).items() if name != "_id"}},
            )
        return session if changed.matched_count else None

    async def end(self, session_id: str, reason: str) -> bool:
        """End a session; whether it was not ended before.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            ended = await self._sessions.update_one({"_id": {"$eq": session_id}, "active": True}, _ending(reason))
        return ended.modified_count == 1

    async def end_all(self, owner: str, reason: str) -> int:
        """End every session of somebody; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            ended = await self._sessions.update_many({"owner": {"$eq": owner}, "active": True}, _ending(reason))
        return ended.modified_count

    async def delete_all(self, owner: str) -> int:
        """Forget every session of somebody; how many there were.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._sessions.delete_many({"owner": {"$eq": owner}})).deleted_count


def _ending(reason: str) -> dict[str, Any]:
    return {"$set": {"active": False, "ended_because": reason}}


def _document(session: Session) -> Document:
    return {
        "_id": session.id,
        "owner": session.owner,
        "current": session.current,
        "previous": session.previous,
        "salt": session.salt,
        "client": session.client,
        "rotated_at_ms": session.rotated_at_ms,
        "expires_at_ms": session.expires_at_ms,
        "ends_at_ms": session.ends_at_ms,
        "created_at_ms": session.created_at_ms,
        "active": session.active,
        # Kept until the very end: a token of a session that is over must still be known for one that was real.
        "purge_at": datetime.fromtimestamp(session.ends_at_ms / 1000, UTC),
    }


def _session(document: Document) -> Session:
    return Session(
        id=document["_id"],
        owner=document["owner"],
        current=document["current"],
        expires_at_ms=document["expires_at_ms"],
        ends_at_ms=document["ends_at_ms"],
        created_at_ms=document["created_at_ms"],
        previous=document["previous"],
        salt=document["salt"],
        client=document["client"],
        rotated_at_ms=document["rotated_at_ms"],
        active=document["active"],
    )
