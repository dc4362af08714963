"""Time for all streams of an engine: one timer, however many streams wait.

A timer per token and stream is what a paced load test would spend most of its time on.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import Protocol

RESOLUTION_S = 0.001
"""What is due within this is due now: event loops round their timers to milliseconds, some of them down."""


class Clock(Protocol):
    """Where an engine gets its time from."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def wake(self, when: float, sleeper: asyncio.Future[None]) -> None:
        """Set the sleeper's result at that time, unless it is done by then."""
        ...

    def close(self) -> None:
        """Forget all sleepers, and hold no timer any more."""
        ...


class LoopClock:
    """The running event loop's time."""

    def __init__(self) -> None:
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """The loop's time, in seconds."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def wake(self, when: float, sleeper: asyncio.Future[None]) -> None:
        """See ``Clock.wake``."""
        heapq.heappush(self._sleepers, (when, next(self._order), sleeper))
        if self._sleepers[0][2] is sleeper:
            self._arm(sleeper.get_loop())

    def close(self) -> None:
        """See ``Clock.close``."""
        self._sleepers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._sleepers[0][0], self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        sleepers, until = self._sleepers, loop.time() + RESOLUTION_S
        while sleepers and sleepers[0][0] <= until:
            sleeper = heapq.heappop(sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)
        while sleepers and sleepers[0][2].done():
            heapq.heappop(sleepers)
        if sleepers:
            self._arm(loop)
