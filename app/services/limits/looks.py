"""A look at what others have given back, while callers are still refused by what is remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from app.errors import DatabaseUnavailable
from app.services.limits.outage import Outage
from app.services.limits.subject import Subject
from app.storage.limit_pipeline import Change
from app.storage.limits import Limits

LOOK_S = 0.75
"""How old what is remembered of a subject is when the database is read: before it is not believed any more."""


class Looks:
    """Reads how subjects stand that callers are refused by.

    Leases and what is not served go back at any moment, from any process, so no denial is believed for longer than a
    second. While there are callers to be refused, it need not be forgotten either: one read keeps it fresh, for which
    none of them waits, where a change would be on the database's disk before it says no again.

    Args:
        timeout_s: How long one takes at the most.
        clock: Monotonic seconds.
    """

    def __init__(
        self, store: Limits, outage: Outage, *, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._outage = outage
        self._timeout_s = timeout_s
        self._clock = clock
        self._under_way: set[asyncio.Task[Any]] = set()

    def begin(self, subject: Subject, now: float) -> None:
        """Look at a subject that somebody is refused by, if that is due."""
        if now - subject.seen_at < LOOK_S:
            return
        # There is no second one meanwhile.
        subject.seen_at = now
        task = asyncio.create_task(self._look(subject))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Wait for those that are under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _look(self, subject: Subject) -> None:
        # In its turn, so that nothing is learned that a change has overtaken.
        async with subject.turn:
            if self._outage.lasts:
                return
            sent = self._clock()
            try:
                found = await self._store.look(subject.key, timeout_s=self._timeout_s)
            except DatabaseUnavailable:
                # Whoever asks when it is not believed any more finds out whether that lasts.
                return
            if found is not None:
                subject.absorb(found, Change(subject.key), sent, self._clock(), self._store.slot_life_s)
