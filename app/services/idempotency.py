"""``Idempotency-Key``: what a client asks for twice under one key happens once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import zlib
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.domain.ids import new_tail
from app.errors import Conflict, DatabaseUnavailable, InvalidRequest
from app.services.liveness import Liveness
from app.storage.idempotency import IdempotencyKeys, StoredAttempt

logger = logging.getLogger("manta")

MAX_KEY = 255
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Replay:
    """What the caller was told the first time."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at what a request asks for. Whoever has one says how it ended: ``done``, ``failed`` or ``forget``.

    Attributes:
        id: Where that is written down; None for a request without a key.
        tail: What the ids of all that it makes end with: the same in every try.
        again: Whether there was a try before, of which something may be stored.
        replay: What is to be answered, where nothing is to be done any more.
    """

    tail: str
    id: str | None = None
    again: bool = False
    replay: Replay | None = None


class Idempotency:
    """Knows what was asked for under which key, by owner."""

    def __init__(self, keys: IdempotencyKeys, liveness: Liveness) -> None:
        self._keys = keys
        self._liveness = liveness
        self._under_way: set[str] = set()
        self._telling: set[asyncio.Task[None]] = set()

    async def begin(self, owner: str, key: str | None, asked: Any) -> Attempt:
        """Begin a try.

        Args:
            owner: Who asks.
            key: The header's value; None where there is none.
            asked: All that tells this request from others: plain JSON values.

        Raises:
            Conflict: It is under way already, or the key was used for something else.
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The key is empty or too long.
        """
        if key is None:
            return Attempt(new_tail())
        if not 0 < len(key) <= MAX_KEY:
            raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
        fingerprint = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
        id_ = hashlib.sha256(msgspec.json.encode((owner, key))).hexdigest()
        # The database keeps milliseconds.
        now = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()), UTC)
        attempt = StoredAttempt(id_, fingerprint, await self._liveness.me(), new_tail(), "running", now)
        stored = await self._keys.begin(owner, attempt)
        if stored is not None and stored.is_over:
            await self._keys.forget_old(stored)
            stored = await self._keys.begin(owner, attempt)
        if stored is None:
            self._under_way.add(id_)
            return Attempt(attempt.tail, id_)
        return await self._again(stored, fingerprint)

    async def done(self, attempt: Attempt, body: bytes, content_type: str = JSON) -> None:
        """It came to its end, and this is what the caller is told."""
        if attempt.id is not None:
            try:
                await self.keep_answer(attempt.id, body, content_type)
            except DatabaseUnavailable:
                # It is stored all the same: whoever asks again has it done again, with the same ids, to no effect.
                logger.warning("What was answered under an idempotency key could not be kept")

    async def failed(self, attempt: Attempt) -> None:
        """It did not come to its end, and something may be stored: the next try begins with the same ids."""
        if attempt.id is not None:
            await self._tell(attempt.id, self._keys.failed(attempt.id, self._liveness.id))

    async def forget(self, attempt: Attempt) -> None:
        """It did not come to anything, and nothing is stored: the next try is the first."""
        if attempt.id is not None:
            await self._tell(attempt.id, self._keys.forget(attempt.id, self._liveness.id))

    async def keep_answer(self, id_: str, body: bytes, content_type: str) -> None:
        """What ``done`` does, for whoever tries again by themselves.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        self._under_way.discard(id_)
        await self._keys.done(id_, zlib.compress(body, 1), content_type)

    async def keep_failure(self, id_: str, process: str) -> None:
        """What ``failed`` does, likewise, for whichever process it was.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        if process == self._liveness.id:
            # Another's is over, and this one may have begun it anew.
            self._under_way.discard(id_)
        await self._keys.failed(id_, process)

    async def _again(self, stored: StoredAttempt, fingerprint: str) -> Attempt:
        if stored.fingerprint != fingerprint:
            raise Conflict(
                "This Idempotency-Key was used for another request. Take a new key for every request.",
                code="idempotency_key_reused",
            )
        if stored.status == "done" and stored.answer is not None:
            replay = Replay(zlib.decompress(stored.answer), stored.content_type)
            return Attempt(stored.tail, stored.id, again=True, replay=replay)
        if stored.status == "running" and await self._is_under_way(stored):
            raise _in_progress()
        if not await self._keys.take_over(stored, self._liveness.id) or stored.id in self._under_way:
            raise _in_progress()
        self._under_way.add(stored.id)
        return Attempt(stored.tail, stored.id, again=True)

    async def _is_under_way(self, stored: StoredAttempt) -> bool:
        if stored.process == self._liveness.id:
            # One whose end could not be written down is not.
            return stored.id in self._under_way
        return await self._liveness.is_alive(stored.process)

    async def _tell(self, id_: str, telling: Awaitable[None]) -> None:
        self._under_way.discard(id_)

        async def tell() -> None:
            with contextlib.suppress(DatabaseUnavailable):
                await telling

        # It goes on where the caller left, which may be why it failed.
        task = asyncio.create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        await asyncio.shield(task)


def _in_progress() -> Conflict:
    message = "The first request under this Idempotency-Key is still being worked on. Ask again in a moment."
    return Conflict(message, code="idempotency_in_progress", retry_after_s=1)
