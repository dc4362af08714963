"""From a run to whoever watches it: events as they happen, in the process that works at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

KEEPALIVE = b": waiting for the model\n\n"


class Channel:
    """What is sent is read once, by one reader, who may leave before the end.

    Args:
        is_read: Whether there is a reader at all.
    """

    def __init__(self, *, is_read: bool = True) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._left = not is_read

    @property
    def is_read(self) -> bool:
        """Whether anybody may still read it."""
        return not self._left

    def send(self, events: bytes) -> None:
        """Tell the reader, if there is one yet."""
        if events and not self._left:
            self._queue.put_nowait(events)

    def close(self) -> None:
        """There is nothing more to tell."""
        if not self._left:
            self._queue.put_nowait(None)

    async def read(self, keepalive_s: float) -> AsyncGenerator[bytes]:
        """What is told, and a comment every so many seconds in which nothing is."""
        try:
            while True:
                try:
                    async with asyncio.timeout(keepalive_s):
                        events = await self._queue.get()
                except TimeoutError:
                    yield KEEPALIVE
                    continue
                if events is None:
                    return
                yield events
        finally:
            self._left = True
