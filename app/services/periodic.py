"""What a process does again and again in the background."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from app.errors import DatabaseUnavailable

logger = logging.getLogger("manta")

Act = Callable[[], Awaitable[object]]


class Periodic:
    """Something that is done every so many seconds, however it ended the last time.

    Args:
        act: Does it. That the database is away is for others to say; here it only means later.
        name: What is done, for the log.
        every_s: How long after it was over it is done again.
        spread: By which part of that the time varies: processes that start together do not all come at once.
        at_once: Whether it is done for the first time at the start, and not after the first wait.
    """

    def __init__(self, act: Act, *, name: str, every_s: float, spread: float = 0, at_once: bool = False) -> None:
        self._act = act
        self._name = name
        self._every_s = every_s
        self._spread = spread
        self._at_once = at_once
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Do it from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> bool:
        """Do it no more; what is under way is cut short. Whether it had been started."""
        task, self._task = self._task, None
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def _run(self) -> None:
        if not self._at_once:
            await self._wait()
        while True:
            try:
                await self._act()
            except DatabaseUnavailable:
                pass
            except Exception:
                logger.exception("This failed, and will be tried again: %s", self._name)
            await self._wait()

    async def _wait(self) -> None:
        await asyncio.sleep(self._every_s * random.uniform(1 - self._spread, 1 + self._spread))
