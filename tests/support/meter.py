"""A meter that remembers what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.domain.usage import Usage


@dataclass
class Recorder:
    """See ``Meter``.

    Attributes:
        writes: Whether what it hears is on record at once.
        heard: What each replica's work came to; None where it was lost, or left to say so by itself.
        seen: Tokens of those that were.
        kept: What to call as soon as that is on record.
    """

    writes: bool = True
    begun: int = 0
    times_left: int = 0
    heard: list[Usage | None] = field(default_factory=list[Usage | None])
    seen: list[int] = field(default_factory=list[int])
    kept: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def began(self) -> None:
        self.begun += 1

    def lost(self, tokens: int) -> None:
        self.heard.append(None)
        self.seen.append(tokens)

    def left(self, tokens: int) -> None:
        self.heard.append(None)
        self.seen.append(tokens)
        self.times_left += 1

    def ended(self, usage: Usage, written: Callable[[], None]) -> None:
        self.heard.append(usage)
        if self.writes:
            written()
        else:
            self.kept.append(written)

    async def all_heard(self, number: int = 1) -> list[Usage | None]:
        """What it heard, once so many replicas had the request and said what it came to."""
        async with asyncio.timeout(10):
            while len(self.heard) < number:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.01)
        assert self.begun == len(self.heard) == number
        return self.heard
