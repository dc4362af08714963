"""The HTTP front: ``app.main.create_app`` inside a Serve replica."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter

from app.domain.limit_table import LimitTable
from app.main import create_app
from app.observability.logging import configure_logging
from app.services import build_services
from app.settings import Settings
from deployments.backend import Path, ServeBackend
from deployments.catalog import WatchedCatalog
from deployments.database import uri_of
from deployments.handle_path import HandlePath
from deployments.handles import Handles
from deployments.link_path import LinkPath
from deployments.model_admin import ManagedModels
from deployments.queues import Queues


def path_to_replicas(settings: Settings) -> Path:
    """The way that the settings choose."""
    return (LinkPath if settings.data_path == "link" else HandlePath)(Handles())


@serve.deployment(
    name="Gateway",
    # A replica's streams may be long; it is only ever stopped when the whole application is.
    graceful_shutdown_timeout_s=20,
    graceful_shutdown_wait_loop_s=0.5,
    health_check_period_s=5,
    # The gateway logs every request itself, with what Serve cannot know.
    logging_config={"enable_access_log": False},
    ray_actor_options={"num_cpus": 0.1},
)
@serve.ingress()  # pyright: ignore[reportUntypedClassDecorator]
class Gateway:
    """One gateway process.

    Args:
        settings: This installation's.
        limits: Those that hold until an admin sets others.
        manager: Says which models there are and how they do.
        database: Knows the embedded database's address; None where the settings name a MongoDB.
    """

    def __init__(
        self,
        settings: Settings,
        limits: LimitTable,
        manager: DeploymentHandle[Any],
        database: DeploymentHandle[Any] | None,
    ) -> None:
        configure_logging()
        self._settings = settings
        self._limits = limits
        self._database = database
        self._manager = manager
        self._catalog = WatchedCatalog(manager)
        self._modes = Counter(
            "manta_limits_mode_changes",
            "Changes in how limits are counted, by what they are since.",
            tag_keys=("mode",),
        )
        self._queues = Queues(manager, serve.get_replica_context().replica_id.unique_id)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        uri = await uri_of(self._settings, self._database)
        await self._catalog.start()
        backend = ServeBackend(path_to_replicas(self._settings), self._catalog, self._queues)
        self._catalog.on_change(backend.follow)
        models = ManagedModels(self._manager, self._catalog)
        services = build_services(
            self._settings,
            uri,
            self._catalog,
            backend,
            models,
            limits=self._limits,
            on_limits_mode=lambda mode: self._modes.inc(tags={"mode": mode}),
        )
        return create_app(services)

    async def __del__(self) -> None:
        await self._queues.stop()
        await self._catalog.stop()
