"""What the provider publishes, fetched now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from app.services.oidc.fetcher import ProviderTrouble

logger = logging.getLogger("manta")

T = TypeVar("T")

FRESH_S = 3600
RENEW_EVERY_S = 60
"""What is kept is not asked for again sooner, whatever it seems to lack: nobody can make us flood the provider."""

RETRY_S = 2
"""While there is nothing yet, those who ask within so many seconds of a failure share it."""


class Kept(Generic[T]):
    """The latest that could be had. Whoever asks at once shares one fetch; one that fails takes nothing away.

    Args:
        fetch: Gets it from the provider, or raises ProviderTrouble.
        clock: Monotonic seconds.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: T | None = None
        self._trouble = ProviderTrouble("never asked")
        self._fetched_at = self._tried_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """What is kept; fetched if there is none, or if it is old and could be had anew.

        Raises:
            ProviderTrouble: It could never be had.
        """
        fresh = self._value is not None and self._clock() < self._fetched_at + FRESH_S
        return self._known() if fresh else await self._renewed()

    async def renewed(self) -> T:
        """What is kept, fetched anew unless that was tried a short while ago: for one who misses something in it.

        Raises:
            ProviderTrouble: It could never be had.
        """
        return await self._renewed()

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _renewed(self) -> T:
        wait_s = RETRY_S if self._value is None else RENEW_EVERY_S
        if self._task is None and self._clock() >= self._tried_at + wait_s:
            self._tried_at = self._clock()
            self._task = asyncio.create_task(self._try())
        if self._task is not None:
            # One who leaves must not take it from the others.
            await asyncio.shield(self._task)
        return self._known()

    async def _try(self) -> None:
        try:
            self._value = await self._fetch()
            self._fetched_at = self._clock()
        except ProviderTrouble as trouble:
            self._trouble = trouble
            logger.warning("the sign-in provider: %s", trouble)
        finally:
            self._task = None

    def _known(self) -> T:
        if self._value is None:
            # A new one each time: an exception that is raised twice gathers the traces of both.
            raise ProviderTrouble(str(self._trouble))
        return self._value
