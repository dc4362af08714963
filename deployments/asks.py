"""Leases that were asked for and have not come yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

ANYWHERE = ""
"""Of whichever replica Serve chooses."""


class Asks:
    """The tasks that ask, and the replica of which each wants a lease."""

    def __init__(self) -> None:
        self._asking: dict[asyncio.Task[Any], str] = {}
        self._asked: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._asking)

    def of(self, replica: str) -> int:
        """How many want one of this replica."""
        return self._asked[replica]

    def add(self, asking: asyncio.Task[Any], replica: str) -> None:
        """One more."""
        self._asking[asking] = replica
        self._asked[replica] += 1

    def remove(self, asking: asyncio.Task[Any]) -> str:
        """One less; what it wanted."""
        replica = self._asking.pop(asking, None)
        if replica is None:
            return ANYWHERE
        decrement(self._asked, replica)
        return replica

    def cancel(self, excess: int, needs: Counter[str]) -> None:
        """End so many that want more than is needed of their replica; the last to ask have waited least."""
        for asking, replica in reversed(list(self._asking.items())):
            if excess > 0 and self._asked[replica] > needs[replica]:
                excess -= 1
                self.remove(asking)
                asking.cancel()


def decrement(counter: Counter[str], key: str) -> None:
    """One less, and no entry for none."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
