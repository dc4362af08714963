"""When a replica has something to do and when not, told to the manager as it changes."""

from __future__ import annotations

from typing import Protocol

IDLE_S = 2.0
"""How long there has been nothing to do before that is told: pauses between requests are no idleness."""

REPEAT_S = 20.0
"""How often it is told again: a manager that was restarted has heard nothing."""


class Teller(Protocol):
    """Passes it on: ``deployments.reporter.Reporter``."""

    async def activity(self, idle_s: float) -> None:
        """For how long there has been nothing to do; 0 while there is."""
        ...


class ActivityWatch:
    """Asked now and then.

    Args:
        teller: Hears of changes.
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._told: bool | None = None
        self._told_at = 0.0

    async def look(self, idle_s: float, now: float) -> None:
        """Take for how long there has been nothing to do at this moment of a monotonic clock; 0 while there is."""
        idle = idle_s >= IDLE_S
        if idle != self._told or now - self._told_at >= REPEAT_S:
            self._told, self._told_at = idle, now
            await self._teller.activity(idle_s if idle else 0.0)
