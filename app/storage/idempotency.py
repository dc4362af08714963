"""The collection ``idempotency``: what was asked for under an ``Idempotency-Key``, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.storage.database import Collection, Database, Document, built

KEPT_FOR: Final = timedelta(hours=24)

AttemptStatus = Literal["running", "failed", "done"]


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """What is known of a key.

    Attributes:
        fingerprint: Of the request that it was first used for.
        process: Who is at it, or was.
        tail: What the ids of all that it makes end with, however often it is begun.
        answer: What the caller was told, compressed; None until it is done.
        content_type: Of that.
    """

    id: str
    fingerprint: str
    process: str
    tail: str
    status: AttemptStatus
    created_at: datetime
    answer: bytes | None = None
    content_type: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the key counts as unused again."""
        return datetime.now(UTC) - self.created_at >= KEPT_FOR


class IdempotencyKeys:
    """One document a key that somebody used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: Collection = database.collection("idempotency")

    async def prepare(self) -> None:
        """Make the indexes that forgetting rests on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        seconds = int(KEPT_FOR.total_seconds())
        async with self._database.operation():
            await self._keys.create_index([("created_at", ASCENDING)], expireAfterSeconds=seconds, name="created")
            await self._keys.create_index([("owner", ASCENDING)], name="owner")

    async def begin(self, owner: str, attempt: StoredAttempt) -> StoredAttempt | None:
        """Store a key's first use; None if that is what this is, otherwise what is stored.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            try:
                await self._keys.insert_one(_document(owner, attempt))
            except DuplicateKeyError:
                document = await self._keys.find_one({"_id": {"$eq": attempt.id}, "owner": {"$eq": owner}})
                return built(_attempt, document)
        return None

    async def take_over(self, old: StoredAttempt, process: str) -> bool:
        """Begin anew what did not come to its end; False if somebody else did.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": old.id}, "process": {"$eq": old.process}, "status": {"$eq": old.status}}
        async with self._database.operation():
            changed = await self._keys.update_one(where, {"$set": {"process": process, "status": "running"}})
        return changed.modified_count == 1 or (old.status == "running" and changed.matched_count == 1)

    async def done(self, id_: str, answer: bytes, content_type: str) -> None:
        """Note what came of it; whoever was first has said it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        told = {"status": "done", "answer": answer, "content_type": content_type}
        async with self._database.operation():
            await self._keys.update_one({"_id": {"$eq": id_}, "status": {"$ne": "done"}}, {"$set": told})

    async def failed(self, id_: str, process: str) -> None:
        """Note that it did not come to its end: whoever asks again has it begun anew.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "process": {"$eq": process}, "status": "running"}
        async with self._database.operation():
            await self._keys.update_one(where, {"$set": {"status": "failed"}})

    async def forget(self, id_: str, process: str) -> None:
        """Let the key count as unused, unless another process is at it by now.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._keys.delete_one({"_id": {"$eq": id_}, "process": {"$eq": process}, "status": {"$ne": "done"}})

    async def forget_old(self, old: StoredAttempt) -> None:
        """The same for one whose time is over, if the database has not done so yet.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._keys.delete_one({"_id": {"$eq": old.id}, "created_at": {"$eq": old.created_at}})


def _document(owner: str, attempt: StoredAttempt) -> Document:
    return {
        "_id": attempt.id,
        "owner": owner,
        "fingerprint": attempt.fingerprint,
        "process": attempt.process,
        "tail": attempt.tail,
        "status": attempt.status,
        "created_at": attempt.created_at,
    }


def _attempt(document: Document) -> StoredAttempt:
    answer: Any = document.get("answer")
    return StoredAttempt(
        id=document["_id"],
        fingerprint=document["fingerprint"],
        process=document["process"],
        tail=document["tail"],
        status=document["status"],
        # The database's times are UTC and do not say so.
        created_at=document["created_at"].replace(tzinfo=UTC),
        answer=None if answer is None else bytes(answer),
        content_type=document.get("content_type", ""),
    )
