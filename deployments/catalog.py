"""A gateway's view of the models, kept current by one waiting call to the manager."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle

from app.services.catalog import Catalog

logger = logging.getLogger("manta")

RETRY_S = 1.0


class WatchedCatalog:
    """A ``CatalogSource`` that follows the manager; without it, the last view stands."""

    def __init__(self, manager: DeploymentHandle[Any]) -> None:
        self._manager = manager
        self._listeners: list[Callable[[Catalog], None]] = []
        self._catalog = Catalog()
        self._version = 0
        self._newer = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def current(self) -> Catalog:
        """The newest catalog this process has heard of."""
        return self._catalog

    def on_change(self, tell: Callable[[Catalog], None]) -> None:
        """Have every further view told."""
        self._listeners.append(tell)

    async def reached(self, version: int, patience_s: float) -> None:
        """Return when the view is at least of this version, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._version < version:
                    await self._newer.wait()

    async def start(self) -> None:
        """Fetch the first view, then follow in the background."""
        await self._follow_once()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_once()
            except Exception as error:  # the manager may be restarting: whatever it is, try on
                logger.warning("the model manager does not answer: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        self._version, entries = await self._manager.watch.remote(self._version)
        self._catalog = Catalog.of(entries)
        self._newer.set()
        self._newer = asyncio.Event()
        for tell in self._listeners:
            tell(self._catalog)
