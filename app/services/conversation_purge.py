"""Deletes what was in conversations that are gone, in parts: soon, and an hour later once more.

A conversation that was deleted is a mark without contents for that hour, in which an answer that was on its way may
have been written behind it. Whatever process dies meanwhile, any of them finds the mark; twice is as good as once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

from app.domain.conversation import Conversation
from app.domain.item import text_of
from app.domain.thread import thread_id
from app.errors import DatabaseUnavailable
from app.services.periodic import Periodic
from app.storage.conversations import BUCKETS
from app.storage.stores import Stores
from app.storage.users import now_ms

logger = logging.getLogger("manta.conversations")

EVERY_S = 600.0
KEPT_MS = 3_600_000
"""How long a mark stays: longer than any answer takes."""

MOST_AT_ONCE = 2
"""Conversations that are worked on at the same time."""

AT_ONCE = 100
"""Items that are read at once."""

MOST_TURNS = 500
"""Of a conversation whose words are gathered anew after an item was deleted: of a longer one the words stay."""


class ConversationPurge:
    """The purge as one process takes part in it.

    Args:
        every_s: How often it looks for marks.
        kept_ms: How long marks stay.
    """

    def __init__(self, stores: Stores, *, every_s: float = EVERY_S, kept_ms: int = KEPT_MS) -> None:
        self._conversations = stores.conversations
        self._items = stores.items
        self._words = stores.conversation_words
        self._runs = stores.runs
        self._steps = stores.run_steps
        self._kept_ms = kept_ms
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_reword: set[str] = set()
        self._sweeps = Periodic(self._sweep, name="emptying deleted conversations", every_s=every_s, spread=0.5)

    def start(self) -> None:
        """Take part from now on."""
        self._sweeps.start()

    async def close(self) -> None:
        """Take part no more; what is left is found by somebody else."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._sweeps.close(), *tasks, return_exceptions=True)

    def soon(self, gone: tuple[str, str] | None = None) -> None:
        """Empty a conversation that was deleted just now, by its owner and id; without one, all that were."""
        self._begin(self.sweep(now_ms() + 1) if gone is None else self._empty_in_turn(*gone))

    def reword(self, conversation: Conversation) -> None:
        """Let a conversation be found no more by what only a deleted item said, soon."""
        if conversation.turns <= MOST_TURNS and conversation.id not in self._to_reword:
            self._to_reword.add(conversation.id)
            self._begin(self._reword(conversation))

    async def idle(self) -> None:
        """Return when nothing is left of what was to be done soon."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def sweep(self, before_ms: int | None = None) -> int:
        """Empty every conversation that was deleted before a time, and forget those whose mark stayed long enough.

        Returns:
            How many there were.

        Raises:
            DatabaseUnavailable: The database did not answer. The next sweep, of anybody, goes on from there.
        """
        old = now_ms() - self._kept_ms
        count = 0
        for bucket in random.sample(range(BUCKETS), BUCKETS):
            for owner, id_, gone_at_ms in await self._conversations.gone(bucket):
                if gone_at_ms >= (old if before_ms is None else before_ms):
                    continue
                await self.empty(owner, id_)
                if gone_at_ms < old:
                    await self._conversations.forget(owner, id_)
                count += 1
        return count

    async def empty(self, owner: str, id_: str) -> None:
        """Delete what is in a conversation that was deleted.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        turns = await self._conversations.turns_of_gone(owner, id_)
        await self._items.delete_all(owner, id_, turns)
        await self._words.delete_all(owner, id_)
        thread = thread_id(id_)
        for store in (self._runs, self._steps):
            while await store.delete_some(owner, thread):
                pass

    async def _sweep(self) -> None:
        if (count := await self.sweep()) > 0:
            logger.info("%d conversations that were deleted are gone", count)

    async def _empty_in_turn(self, owner: str, id_: str) -> None:
        async with self._turn:
            await self.empty(owner, id_)

    async def _reword(self, conversation: Conversation) -> None:
        owner, id_ = conversation.owner, conversation.id
        async with self._turn:
            # What is deleted from here on is for the next time.
            self._to_reword.discard(id_)
            await self._words.delete_all(owner, id_, but_title=True)
            below: int | None = None
            # Turns that began meanwhile write their words themselves.
            while found := await self._items.newest(owner, id_, conversation.turns, below, AT_ONCE):
                await self._words.add(owner, id_, [text_of(item.body) for item in found])
                below = found[0].position

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(self._carefully(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carefully(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except DatabaseUnavailable:
            logger.warning("the database is away: what was deleted goes later")
