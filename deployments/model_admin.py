"""``ModelAdmin`` over the model manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from app.errors import ApiError, ServiceUnavailable
from app.services.catalog import CatalogEntry
from app.services.model_admin import ModelLog
from deployments.catalog import WatchedCatalog

logger = logging.getLogger("manta")

PATIENCE_S = 30.0
VIEW_S = 2.0
"""How long a change waits until the gateway it came through shows it."""


class ManagedModels:
    """See ``ModelAdmin``.

    Args:
        manager: The manager's handle.
        catalog: This gateway's view: who changes a model here sees that here.
    """

    def __init__(self, manager: DeploymentHandle[Any], catalog: WatchedCatalog) -> None:
        self._manager = manager
        self._catalog = catalog

    async def add(self, values: Mapping[str, Any]) -> CatalogEntry:
        """See ``ModelAdmin.add``."""
        return await self._write("add", dict(values))

    async def change(self, name: str, patch: Mapping[str, Any]) -> CatalogEntry:
        """See ``ModelAdmin.change``."""
        return await self._write("change", name, dict(patch))

    async def remove(self, name: str) -> CatalogEntry:
        """See ``ModelAdmin.remove``."""
        return await self._write("remove", name)

    async def start(self, name: str) -> CatalogEntry:
        """See ``ModelAdmin.start``."""
        return await self._write("start", name)

    async def stop(self, name: str) -> CatalogEntry:
        """See ``ModelAdmin.stop``."""
        return await self._write("stop", name)

    async def pull(self, name: str) -> CatalogEntry:
        """See ``ModelAdmin.pull``."""
        return await self._write("pull", name)

    async def logs(self, name: str, lines: int) -> list[ModelLog]:
        """See ``ModelAdmin.logs``."""
        return await self._ask("logs", name, lines)

    async def _write(self, method: str, *args: Any) -> CatalogEntry:
        written = await self._ask(method, *args)
        await self._catalog.reached(written.version, VIEW_S)
        return written.entry

    async def _ask(self, method: str, *args: Any) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._manager.options(method_name=method).remote(*args)
        except Exception as error:
            # It may be restarting: Serve says so in many ways.
            logger.warning("the model manager did not answer %s: %s", method, error)
            message = "The model manager does not answer at the moment. Try again shortly."
            raise ServiceUnavailable(message, retry_after_s=2) from error
        if isinstance(answer, ApiError):
            raise answer
        return answer
