"""When to look for replicas that no lease has come from yet."""

from __future__ import annotations

import time

SEARCH_S = (0.02, 2.0)
"""How long after a search the next one begins: at first, and after many in vain."""


class Search:
    """The searches of one model.

    Args:
        replicas: How many replicas it may have.

    Attributes:
        under_way: Whether a lease is asked for that nobody needs.
    """

    def __init__(self, replicas: int) -> None:
        self.under_way = False
        self._replicas = replicas
        self._next = 0.0
        self._pause = SEARCH_S[0]

    def begin(self, known: int) -> bool:
        """Whether to ask for a lease now, whatever its replica, when so many are known."""
        now = time.monotonic()
        if self.under_way or not 0 < known < self._replicas or now < self._next:
            return False
        self.under_way = True
        self._next = now + self._pause
        self._pause = min(2 * self._pause, SEARCH_S[1])
        return True

    def ends(self) -> bool:
        """A lease came, or will not; whether there was a search."""
        ended, self.under_way = self.under_way, False
        return ended

    def hurry(self) -> None:
        """One more came to be known, or one less is: look again soon."""
        self._next, self._pause = 0.0, SEARCH_S[0]
