"""When the next lease that is over its age ends, although somebody waits.

Leases have to end: other gateways' requests wait for places too, and Serve gives them to whoever asks. But when it has
refused for a while, it takes its time to give a place again that has come free, and until then nobody is served there.
So leases that came together do not end together: the next one does when Serve has given one for the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deployments.places import MAX_AGE_S

MADE_GOOD_S = 0.5
"""How long it is waited for another one in place of the last: another gateway may have got it."""


class Turnover:
    """One model's.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def take_turn(self) -> bool:
        """End one that is over its age, if it is time; the next one is to wait for its turn. Whether it was time."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + MADE_GOOD_S
        return True

    def made_good(self, busy: int) -> None:
        """A lease has come.

        Args:
            busy: How many requests run: each of their leases is to end once in the time that a lease lasts.
        """
        self._next = min(self._next, self._clock() + MAX_AGE_S / (1 + busy))
