"""A model's replica: owns an engine, and answers for it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from starlette.requests import Request
from starlette.responses import Response

from app.domain.model_spec import ModelSpec
from app.error_handlers import render
from app.errors import NotFound
from app.observability.logging import configure_logging
from app.services.backend import EngineRequest
from app.services.inprocess import engine_call
from deployments.engines.base import Engine, EngineDead, EngineLoad
from deployments.engines.factory import create_engine
from deployments.link.listener import Listener
from deployments.link.tickets import Ticket
from deployments.prewarm.nodes import is_prewarmed, launcher
from deployments.reply import ReplyHead
from deployments.reporter import Reporter
from deployments.states import PhaseReport
from deployments.weights import WeightsError, fetch

logger = logging.getLogger("manta")

WATCH_S = 0.25
LAST_WORDS_S = 1.0


@serve.deployment(health_check_period_s=2, health_check_timeout_s=30, logging_config={"enable_access_log": False})
class ModelReplica:
    """One replica of one model.

    Args:
        spec: The model, as plain values.
        weights_dir: Where weights are kept on this node.
        manager_app: The application whose manager hears of the start.
        link_host: The address to be reached at by gateways; None for the node's own.
    """

    async def __init__(self, spec: dict[str, Any], weights_dir: str, manager_app: str, link_host: str | None) -> None:
        configure_logging()
        self._spec = ModelSpec.model_validate(spec)
        reporter = Reporter(self._spec, manager_app)
        started = time.monotonic()
        try:
            weights = await self._fetch(Path(weights_dir), reporter)
            self._engine: Engine = create_engine(self._spec, weights)
            await self._engine.start(reporter)
        except Exception as error:
            await reporter.failed(_reason(error))
            raise
        self._app = self._engine.app()
        self._actor_id = str(ray.get_runtime_context().get_actor_id())
        host = link_host or ray.util.get_node_ip_address()
        self._listener = Listener(self._app, self._actor_id, host, self._spec.limits.max_ongoing_requests)
        await self._listener.start()
        self._watch = asyncio.get_running_loop().create_task(self._watch_engine())
        self._ready = PhaseReport(
            self._spec.id,
            self._spec.digest,
            "ready",
            max_model_len=self._engine.max_model_len,
            start_s=round(time.monotonic() - started, 1),
        )
        await reporter.ready(self._ready)

    async def __call__(self, request: Request) -> Response:
        """Refuse: where Serve's HTTP goes straight to replicas, it opens a port for these too, which nobody needs."""
        return render(NotFound("There is nothing here."))

    async def lease(self) -> AsyncIterator[Ticket]:
        """Give one request's place: the ticket to it, and then nothing until it is over."""
        ticket, grant = self._listener.grant()
        try:
            yield ticket
            await grant.over.wait()
        finally:
            self._listener.end(grant)

    async def infer(self, request: EngineRequest) -> AsyncIterator[ReplyHead | bytes]:
        """Run one request for a gateway that cannot reach the listener: see ``deployments.reply`` for what comes.

        Closing the iterator stops the engine's work.

        Raises:
            EngineDead: The engine died before it answered anything.
        """
        call = engine_call(self._app, request)
        try:
            await call.start()
            yield ReplyHead(call.status, call.content_type, await call.read())
            while chunk := await call.read():
                yield chunk
        finally:
            await call.aclose()

    async def describe(self) -> PhaseReport:
        """What the manager was told when this replica was ready."""
        return self._ready

    async def load(self) -> EngineLoad:
        """The engine's own counters."""
        return await self._engine.load()

    async def check_health(self) -> None:
        """Return if the engine works."""
        await self._engine.check_health()

    async def __del__(self) -> None:
        if watch := getattr(self, "_watch", None):
            watch.cancel()
        if listener := getattr(self, "_listener", None):
            await listener.drain()
            await listener.stop()
        if engine := getattr(self, "_engine", None):
            await engine.stop()

    async def _fetch(self, weights_dir: Path, reporter: Reporter) -> str | None:
        if self._spec.source is None:
            return None
        reporter("fetching", None, None)
        report = reporter.threadsafe("fetching")
        return await asyncio.to_thread(fetch, self._spec.source, weights_dir, report)

    async def _watch_engine(self) -> None:
        # A replica without its engine must not take another request: Serve would notice after three failed health
        # checks, its own end it notices at once. Streams get a moment to tell their callers.
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self._engine.check_health()
            except EngineDead as error:
                logger.error("the engine of %s died: %s; replacing this replica", self._spec.id, error)
                await asyncio.sleep(LAST_WORDS_S)
                os._exit(1)


def _reason(error: Exception) -> str:
    # Only these speak to callers; the words of others may hold paths.
    if isinstance(error, EngineDead | WeightsError):
        return str(error)
    return f"{type(error).__name__} while it started: see its log"


def application(
    spec: ModelSpec, weights_dir: str, manager_app: str, link_host: str | None, *, prewarm: bool = False
) -> Application:
    """The model's Serve application.

    Args:
        spec: The model.
        weights_dir: See ``ModelReplica``.
        manager_app: See ``ModelReplica``.
        link_host: See ``ModelReplica``.
        prewarm: Whether replicas start from their node's pre-warmed server, where it has one.
    """
    scaling, resources, limits = spec.autoscaling, spec.resources, spec.limits
    options: dict[str, Any] = {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus}
    if resources.memory_gb is not None:
        options["memory"] = int(resources.memory_gb * 1024**3)
    if resources.accelerator_type is not None:
        options["accelerator_type"] = resources.accelerator_type
    runtime_env: dict[str, Any] = {"env_vars": resources.env} if resources.env else {}
    if prewarm and is_prewarmed(spec) and (python := launcher()) is not None:
        runtime_env["py_executable"] = python
    if runtime_env:
        options["runtime_env"] = runtime_env
    deployment = ModelReplica.options(
        name=spec.deployment_name,
        max_ongoing_requests=limits.max_ongoing_requests,
        max_queued_requests=limits.max_queued_requests,
        max_constructor_retry_count=2,
        graceful_shutdown_timeout_s=limits.request_timeout_s,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options=options,
        autoscaling_config=AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
            downscale_to_zero_delay_s=scaling.downscale_to_zero_delay_s,
        ),
    )
    return deployment.bind(spec.model_dump(mode="json"), weights_dir, manager_app, link_host)
