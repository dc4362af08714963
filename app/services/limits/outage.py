"""Whether limits are counted at the database, and what is done about them while they cannot be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from app.errors import DatabaseUnavailable

Mode = Literal["exact", "degraded", "closed"]
"""``degraded``: each process counts its share of every limit; ``closed``: the same, and budgets let nothing through."""

PROBE_S = 0.5
LOGGER = logging.getLogger("manta")
TOLD: dict[Mode, str] = {
    "exact": "Limits are counted at the database again.",
    "degraded": "The database does not answer in time: each gateway counts its own share of every limit.",
    "closed": "The database is still away: budgets let nothing through; of other limits each gateway counts its share.",
}


class Outage:
    """Watches over the mode.

    Args:
        probe: Returns if the database takes changes, and raises otherwise.
        grace_s: How long budgets stay open without it.
        on_mode: Hears of every change.
        clock: Monotonic seconds.
        probe_s: How often it is probed.

    Attributes:
        mode: The current one.
        changes: How often it changed.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        *,
        grace_s: float,
        on_mode: Callable[[Mode], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        probe_s: float = PROBE_S,
    ) -> None:
        self._probe = probe
        self._grace_s = grace_s
        self._on_mode = on_mode
        self._clock = clock
        self._probe_s = probe_s
        self._since = 0.0
        self._watch: asyncio.Task[None] | None = None
        self.mode: Mode = "exact"
        self.changes = 0

    @property
    def lasts(self) -> bool:
        """Whether the database is not to be asked."""
        return self.mode != "exact"

    def begin(self) -> None:
        """The database did not answer."""
        if self.mode == "exact":
            self._since = self._clock()
            self._turn("degraded")
            self._watch = asyncio.create_task(self._until_it_is_back())

    async def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _until_it_is_back(self) -> None:
        while True:
            await asyncio.sleep(self._probe_s)
            if self.mode == "degraded" and self._clock() - self._since >= self._grace_s:
                self._turn("closed")
            try:
                await self._probe()
            except DatabaseUnavailable:
                continue
            self._turn("exact")
            return

    def _turn(self, mode: Mode) -> None:
        self.mode = mode
        self.changes += 1
        LOGGER.log(logging.INFO if mode == "exact" else logging.WARNING, TOLD[mode], extra={"limits_mode": mode})
        if self._on_mode is not None:
            self._on_mode(mode)
