"""What ended calls took, kept until the gateway that had them says that it is on record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress

from deployments.slate.slate import Line, Slate

logger = logging.getLogger("manta")

CAPACITY = 100_000
"""So many are kept; a gateway that is that far behind has lost its disk as well as its database."""

OnOrphans = Callable[[list[Line]], None]


class Unwritten:
    """A replica's.

    Args:
        on_orphans: Gets what a gateway left behind.
        slate: Where calls have their lines, for the case that this process dies; None for nowhere.
        capacity: How many are kept; beyond that the oldest are dropped.
    """

    def __init__(self, on_orphans: OnOrphans, slate: Slate | None = None, capacity: int = CAPACITY) -> None:
        self._on_orphans = on_orphans
        self._slate = Slate() if slate is None else slate
        self._capacity = capacity
        self._kept: dict[tuple[Hashable, int], Line] = {}
        self._settled: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def line(self, account: bytes) -> Line:
        """A new call's."""
        return self._slate.line(account)

    def keep(self, link: Hashable, stream: int, ended: Line) -> None:
        """A call has ended, and its gateway has been told what it took."""
        if not ended.account:
            return
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]
            logger.error("more than %s requests that no gateway has on record: forgot the oldest", self._capacity)
        self._kept[link, stream] = ended

    def written(self, link: Hashable, stream: int) -> None:
        """The gateway has it on record."""
        if (ended := self._kept.pop((link, stream), None)) is not None:
            ended.wipe()
        if self._settled is not None and not self._kept:
            self._settled.set()

    def leave(self, orphans: list[Line]) -> None:
        """Calls that ended when no gateway was there to be told."""
        if left := [orphan for orphan in orphans if orphan.account]:
            self._on_orphans(left)

    async def settle(self, seconds: float) -> None:
        """Wait until nothing is kept, but no longer than so many seconds."""
        if not self._kept:
            return
        self._settled = asyncio.Event()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)

    def lost(self, link: Hashable) -> None:
        """The gateway will say no more: all that it had and has not on record is left behind."""
        streams = [key for key in self._kept if key[0] is link]
        self.leave([self._kept.pop(key) for key in streams])
