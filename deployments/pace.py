"""How fast places come free for those who wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 10.0
"""How far back it looks: over several answers, so that those that end together are not taken for a pace."""

ENOUGH = 16
"""Fewer places than this in that time, and it looks back farther,"""

MEMORY_S = 60.0
"""but no farther than this."""

BUCKET_S = 1.0
KNOWN_S = 1.0
"""The pace is known once somebody has waited for so long,"""

KNOWN = 4
"""and so many places have come."""


@dataclass(slots=True)
class _Bucket:
    began: float
    waited_s: float = 0.0
    places: int = 0


class Pace:
    """Counts places while somebody waits: at other times they say how many ask, not how many could.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: deque[_Bucket] = deque()
        self._since: float | None = None

    def begin(self) -> None:
        """Somebody waits, for the first time after nobody did."""
        self._since = self._clock()

    def end(self) -> None:
        """Nobody waits any more."""
        self._pass(self._clock())
        self._since = None

    def came(self) -> None:
        """A place came for one who waited."""
        self._pass(self._clock())
        if self._buckets:
            self._buckets[-1].places += 1

    def per_s(self) -> float | None:
        """Places a second; None while that is not known."""
        now = self._clock()
        self._pass(now)
        waited_s, places = 0.0, 0
        for bucket in reversed(self._buckets):
            if now - bucket.began > WINDOW_S and places >= ENOUGH:
                break
            waited_s += bucket.waited_s
            places += bucket.places
        return places / waited_s if places >= KNOWN and waited_s >= KNOWN_S else None

    def _pass(self, now: float) -> None:
        """Note that time has passed."""
        buckets = self._buckets
        while buckets and now - buckets[0].began > MEMORY_S:
            buckets.popleft()
        if self._since is None:
            return
        if not buckets or now - buckets[-1].began >= BUCKET_S:
            buckets.append(_Bucket(now))
        buckets[-1].waited_s += now - self._since
        self._since = now
