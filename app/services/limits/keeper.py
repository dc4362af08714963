"""What happens behind requests: leases that end go back, what is over is settled, slots in use are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from app.services.limits.outage import Outage
from app.services.limits.subject import Subject

TICK_S = 0.4
AT_ONCE = 4
"""Operations at a time: requests come first."""


class Keeper:
    """Goes round the subjects that hold something, for as long as there are any.

    Args:
        tell: Tells the database what a subject has for it.
        slot_life_s: How long slots are held that nobody renews.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        tell: Callable[[Subject], Coroutine[Any, Any, None]],
        outage: Outage,
        *,
        slot_life_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._outage = outage
        self._slot_life_s = slot_life_s
        self._clock = clock
        self._subjects: dict[Subject, None] = {}
        self._round: asyncio.Task[None] | None = None
        self._telling: dict[Subject, asyncio.Task[None]] = {}
        self._closed = False

    def keep(self, subject: Subject, at_once: bool = False) -> None:
        """Look after a subject from now on; and tell the database of it at once, where others wait for that."""
        if subject not in self._subjects:
            self._subjects[subject] = None
            if self._round is None and not self._closed:
                self._round = asyncio.create_task(self._go_round())
        if at_once and subject not in self._telling and not self._outage.lasts and not self._closed:
            self._start(subject, self._hasten(subject))

    async def close(self) -> None:
        """Give back everything, as far as the database answers."""
        self._closed = True
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)
        await asyncio.gather(*self._telling.values(), return_exceptions=True)
        for subject in self._subjects:
            subject.lapse()
            await self._tell(subject)

    def _start(self, subject: Subject, telling: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._telling[subject] = asyncio.create_task(telling)
        task.add_done_callback(lambda _: self._telling.pop(subject))
        return task

    async def _hasten(self, subject: Subject) -> None:
        # What comes free while it waits for its turn goes with it; what comes free later goes the same way.
        while subject.is_hasty() and not self._outage.lasts:
            await self._tell(subject)

    async def _go_round(self) -> None:
        try:
            while self._subjects:
                await asyncio.sleep(TICK_S)
                if not self._outage.lasts:
                    await self._look()
        finally:
            self._round = None

    async def _look(self) -> None:
        now = self._clock()
        due = [each for each in self._subjects if each.is_due(now, self._slot_life_s) and each not in self._telling]
        for begin in range(0, len(due), AT_ONCE):
            # In tasks of their own: who ends the round does not end what is on its way.
            await asyncio.wait([self._start(each, self._tell(each)) for each in due[begin : begin + AT_ONCE]])
        for subject in [each for each in self._subjects if not each.holds()]:
            del self._subjects[subject]
