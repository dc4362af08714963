"""How many requests wait at this gateway for a replica, by model; told to the manager while any do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import Any

from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("manta")

LOOK_S = 0.5
"""A wait shorter than this, for a model that is ready, is nobody's business."""

REPEAT_S = 1.0


class Waiting:
    """One request's wait; ``set`` ends it."""

    __slots__ = ("_counts", "_model", "_over")

    def __init__(self, counts: Counter[str], model: str) -> None:
        self._counts = counts
        self._model = model
        self._over = False
        counts[model] += 1

    def set(self) -> None:
        """It has a replica, or is over."""
        if not self._over:
            self._over = True
            self._counts[self._model] -= 1
            if not self._counts[self._model]:
                del self._counts[self._model]


class Queues:
    """The waiting requests of this process.

    Args:
        manager: Hears of them.
        name: This gateway's.
    """

    def __init__(self, manager: DeploymentHandle[Any], name: str) -> None:
        self._manager = manager
        self._name = name
        self._counts: Counter[str] = Counter()
        self._look: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def enter(self, model: str, *, ready: bool) -> Waiting:
        """A request begins to wait.

        Args:
            ready: Whether the model has a replica: then the wait is most likely over in a moment.
        """
        waiting = Waiting(self._counts, model)
        if self._telling is None:
            if not ready:
                self._tell_now()
            elif self._look is None:
                self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)
        return waiting

    async def stop(self) -> None:
        """Tell nothing more."""
        if self._look is not None:
            self._look.cancel()
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling

    def _look_again(self) -> None:
        self._look = None
        if self._counts and self._telling is None:
            self._tell_now()

    def _tell_now(self) -> None:
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        try:
            # Whoever comes while nobody is told of has to be told of too: the manager makes room for those it hears of.
            while told := dict(self._counts):
                await self._tell_of(told)
                await asyncio.sleep(REPEAT_S)
                if not self._counts:
                    await self._tell_of({})
        finally:
            self._telling = None

    async def _tell_of(self, queued: dict[str, int]) -> None:
        try:
            await self._manager.demand.remote(self._name, queued)
        except Exception as error:
            logger.warning("the model manager did not hear of waiting requests: %s", error)
