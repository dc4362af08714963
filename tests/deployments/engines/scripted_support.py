"""A clock that tests turn by hand, and scripted engines that run on it."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import Any

from app.domain.model_spec import ModelSpec
from deployments.engines.scripted import ScriptedEngine

SETTLE_TURNS = 30
"""Turns of the event loop in which everything that could go on has gone on."""


async def settle() -> None:
    """Let every task go as far as it gets without time passing."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


class ManualClock:
    """Time stands still but in ``advance``."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        return self.time

    def wake(self, when: float, sleeper: asyncio.Future[None]) -> None:
        heapq.heappush(self.sleepers, (when, next(self._order), sleeper))

    def close(self) -> None:
        self.sleepers.clear()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everyone who waits for a moment in it go on at that moment."""
        until = self.time + seconds
        await settle()
        while self.sleepers and self.sleepers[0][0] <= until + 1e-9:
            when, _, sleeper = heapq.heappop(self.sleepers)
            self.time = max(self.time, when)
            if not sleeper.done():
                sleeper.set_result(None)
                await settle()
        self.time = until
        await settle()

    async def jump(self, seconds: float) -> None:
        """Let time pass all at once, as on a machine that was busy: whoever waited wakes late."""
        await settle()
        self.time += seconds
        await self.advance(0)


def scripted(**args: Any) -> ScriptedEngine:
    """An engine on the event loop's clock."""
    return ScriptedEngine(ModelSpec(id="scripted", engine="scripted", engine_args=args))


def scripted_on(clock: ManualClock, **args: Any) -> ScriptedEngine:
    """An engine on a clock turned by hand, which cannot end the test's process."""
    spec = ModelSpec(id="scripted", engine="scripted", engine_args=args)
    return ScriptedEngine(spec, clock=clock, die=lambda: None)
