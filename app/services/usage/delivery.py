"""Brings events to the database, however long that takes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.domain.usage import Usage, UsageEvent
from app.errors import DatabaseUnavailable
from app.storage.usage_events import UsageEvents

logger = logging.getLogger("manta.usage")

T = TypeVar("T")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Delivery:
    """The way to the database, and whether it is open.

    Args:
        clock: Monotonic seconds.

    Attributes:
        up_since: Since when the database has answered whatever it was asked, by ``clock``; None while it does not.
    """

    def __init__(self, events: UsageEvents, clock: Callable[[], float] = time.monotonic) -> None:
        self.up_since: float | None = None
        self._events = events
        self._clock = clock
        self._away = False

    async def store(self, events: Sequence[UsageEvent]) -> None:
        """Return when the database has these."""
        wait_s = FIRST_WAIT_S
        while events:
            try:
                await self._events.insert(events)
            except DatabaseUnavailable:
                self._is_away()
                # Not all processes at once.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            except ValueError:
                events = await self._without_impossible(events)
            else:
                self._is_back()
                return

    async def known(self, request_ids: Sequence[str]) -> set[str]:
        """Those of these that the database has events of.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._asked(self._events.known(request_ids))

    async def remains(self, request_ids: Sequence[str]) -> dict[str, Usage]:
        """How far those of these had come that were at a replica that died.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._asked(self._events.remains.of(request_ids))

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            found = await answer
        except DatabaseUnavailable:
            self._is_away()
            raise
        self._is_back()
        return found

    async def _without_impossible(self, events: Sequence[UsageEvent]) -> Sequence[UsageEvent]:
        # One that no database could hold must not keep the others back.
        if len(events) == 1:
            logger.error("A usage event cannot be stored, and is left out: %s", events[0])
            return ()
        for event in events:
            await self.store([event])
        return ()

    def _is_away(self) -> None:
        self.up_since = None
        if not self._away:
            self._away = True
            logger.warning("The database does not take usage events; they are kept on disk until it does")

    def _is_back(self) -> None:
        if self.up_since is None:
            self.up_since = self._clock()
        if self._away:
            self._away = False
            logger.info("The database takes usage events again")
