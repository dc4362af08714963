"""What requests took whose gateway is gone, on its way from a replica to the manager, which gets it on record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from deployments.reports import Orphan
from deployments.slate.slate import Line

logger = logging.getLogger("manta")

CAPACITY = 100_000
BATCH = 500
DELIVER_S = 10.0
RETRY_S = (0.5, 15.0)
"""The first pause after a failure, and the longest one."""

Deliver = Callable[[list[Orphan]], Awaitable[None]]


class Orphans:
    """Delivers until it is taken. What was taken without a word is delivered twice: whoever takes has to know them.

    Args:
        deliver: Hands some over; raises where they were not taken.
        capacity: How many wait at most; beyond that the oldest are dropped.
    """

    def __init__(self, deliver: Deliver, capacity: int = CAPACITY) -> None:
        self._deliver = deliver
        self._waiting: deque[Line] = deque(maxlen=capacity)
        self._task: asyncio.Task[None] | None = None

    def take(self, orphans: list[Line]) -> None:
        """Have these delivered."""
        maxlen = self._waiting.maxlen or 0
        if (over := len(self._waiting) + len(orphans) - maxlen) > 0:
            logger.error("nobody takes what requests took: forgot the oldest %s", over)
        self._waiting.extend(orphans)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def settle(self, seconds: float) -> None:
        """Wait until all are delivered, but no longer than so many seconds; then give up on the rest."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._task, seconds)
        if self._waiting:
            logger.error("what %s requests took was not taken in time", len(self._waiting))

    async def _run(self) -> None:
        pause = RETRY_S[0]
        while self._waiting:
            # They stay in place until they are taken: more may come meanwhile, and the oldest may have to go.
            batch = list(self._waiting)[:BATCH]
            try:
                async with asyncio.timeout(DELIVER_S):
                    await self._deliver([Orphan(each.account, each.usage, each.ended_at_ms) for each in batch])
            except Exception as error:
                logger.warning("what %s requests took was not taken yet: %s", len(self._waiting), error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])
                continue
            pause = RETRY_S[0]
            for each in batch:
                each.wipe()
            while batch and self._waiting and self._waiting[0] is batch[0]:
                self._waiting.popleft()
                batch.pop(0)
