"""A model's replica: owns an engine, and answers for it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from starlette.requests import Request
from starlette.responses import Response

from app.domain.model_spec import DEPLOYMENT, ModelSpec
from app.domain.usage import Usage
from app.error_handlers import render
from app.errors import NotFound
from app.observability.logging import configure_logging
from app.services.backend import EngineRequest
from deployments.activity import Activity
from deployments.activity_watch import ActivityWatch
from deployments.autoscaling import autoscaling_config
from deployments.engines.base import Engine, EngineDead, EngineLoad
from deployments.engines.factory import create_engine
from deployments.link.listener import Listener
from deployments.link.tickets import Ticket
from deployments.orphans import Orphans
from deployments.placement import actor_options, group_options
from deployments.prewarm.nodes import is_prewarmed, launcher
from deployments.reply import ReplyHead, reply
from deployments.reporter import Reporter, own_place
from deployments.reports import PhaseReport
from deployments.slate.adoption import Adoption
from deployments.slate.slate import Slate
from deployments.start_clock import PhaseClock
from deployments.weights import WeightsError, fetch

logger = logging.getLogger("manta")

WATCH_S = 0.25
LAST_WORDS_S = 1.0
LAST_REPORTS_S = 5.0

SPARE = 64
"""Calls that a gateway may make beside those of the requests that wait."""


@serve.deployment(health_check_period_s=2, health_check_timeout_s=30, logging_config={"enable_access_log": False})
class ModelReplica:
    """One replica of one model.

    Args:
        spec: The model, as plain values.
        weights_dir: Where weights are kept on this node.
        manager_app: The application whose manager hears of the start.
        link_host: The address to be reached at by gateways; None for the node's own.
        slates_dir: Where replicas of this node have their slates.
    """

    async def __init__(
        self, spec: dict[str, Any], weights_dir: str, manager_app: str, link_host: str | None, slates_dir: str
    ) -> None:
        configure_logging()
        self._spec = ModelSpec.model_validate(spec)
        self._place = own_place()
        self._reporter = Reporter(self._spec, manager_app, self._place)
        # Before anything that takes time: what dead replicas have left is waited for.
        self._adoption = Adoption(Path(slates_dir), self._reporter.remains)
        self._adoption.start()
        clock = PhaseClock(self._reporter)
        try:
            weights = await self._fetch(Path(weights_dir), clock)
            self._engine: Engine = create_engine(self._spec, weights)
            await self._engine.start(clock)
        except Exception as error:
            await self._reporter.failed(_reason(error))
            raise
        self._app = Activity(self._engine.app())
        host = link_host or ray.util.get_node_ip_address()
        self._orphans = Orphans(self._reporter.orphans)
        places = self._spec.limits.max_ongoing_requests
        self._slate = Slate.make(Path(slates_dir), places)
        self._told = Orphans(partial(self._reporter.told, self._slate.name))
        self._listener = Listener(self._app, self._place.replica, host, places, self._orphans.take, self._slate)
        await self._listener.start()
        if self._spec.has_several:
            await self._named(self._place.replica)  # pyright: ignore[reportCallIssue] (Serve's types have lost the method)
        self._ready = await self._reporter.ready(self._engine.max_model_len, clock.times())
        self._watch = asyncio.get_running_loop().create_task(self._watch_engine())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy goes by; Serve asks about once a second. See ``deployments.autoscaling``."""
        load = await self._engine.load()
        return {
            "sequences": load.running + load.waiting,
            "waiting": load.waiting,
            "waiting_tokens": load.waiting_tokens,
            "prompt_tokens": load.prompt_tokens,
            "kv_usage": load.kv_usage,
            "idle_s": self._app.idle_s,
            "start_s": self._ready.times.total_s if self._ready.times is not None else 0.0,
        }

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

    async def infer(self, request: EngineRequest) -> AsyncIterator[ReplyHead | bytes | Usage]:
        """Run one request for a gateway that cannot reach the listener: see ``deployments.reply`` for what comes.

        Closing the iterator stops the engine's work.

        Raises:
            EngineDead: The engine died before it answered anything.
        """
        async with aclosing(reply(self._app, request, self._orphans.take, self._told.take, self._slate)) as messages:
            async for message in messages:
                yield message

    async def describe(self) -> tuple[dict[str, Any], PhaseReport]:
        """The spec, as plain values, and what the manager was told when this replica was ready."""
        return self._spec.model_dump(mode="json", exclude_unset=True), self._ready

    @serve.multiplexed(max_num_models_per_replica=1)
    async def _named(self, name: str) -> str:
        """Be found by this name: Serve sends calls for a model to a replica that has loaded it, if it can.

        A deployment of which HAProxy knows may have no router of its own, so what Serve's router can do has to do.
        """
        return name

    async def load(self) -> EngineLoad:
        """The engine's own counters."""
        return await self._engine.load()

    async def check_health(self) -> None:
        """Return if the engine works."""
        await self._engine.check_health()

    async def __del__(self) -> None:
        if watch := getattr(self, "_watch", None):
            watch.cancel()
        if adoption := getattr(self, "_adoption", None):
            adoption.stop()
        if listener := getattr(self, "_listener", None):
            await listener.drain()
            await listener.stop()
        if orphans := getattr(self, "_orphans", None):
            await orphans.settle(LAST_REPORTS_S)
        if told := getattr(self, "_told", None):
            await told.settle(LAST_REPORTS_S)
        if slate := getattr(self, "_slate", None):
            slate.close()
        if engine := getattr(self, "_engine", None):
            await engine.stop()

    async def _fetch(self, weights_dir: Path, clock: PhaseClock) -> str | None:
        if self._spec.source is None:
            return None
        clock("fetching", None, None)
        report = self._reporter.threadsafe("fetching")
        return await asyncio.to_thread(fetch, self._spec.source, weights_dir, report)

    async def _watch_engine(self) -> None:
        # A replica without its engine must not take another request: Serve would notice after three failed health
        # checks, its own end it notices at once. Streams get a moment to tell their callers.
        activity = ActivityWatch(self._reporter)
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self._engine.check_health()
                await activity.look(self._app.idle_s, time.monotonic())
            except EngineDead as error:
                logger.error("the engine of %s died: %s; replacing this replica", self._spec.id, error)
                await asyncio.sleep(LAST_WORDS_S)
                await self._orphans.settle(LAST_REPORTS_S)
                os._exit(1)


def _reason(error: Exception) -> str:
    # Only these speak to callers; the words of others may hold paths.
    if isinstance(error, EngineDead | WeightsError):
        return str(error)
    return f"{type(error).__name__} while it started: see its log"


def outer_wall(queued: int, replicas: int) -> int:
    """How many may wait in Serve, which must not refuse before the gateway does: of both ways there, with searches."""
    return 2 * queued + replicas + SPARE


def router_config(max_replicas: int) -> RequestRouterConfig:
    """How soon Serve looks again for a place where it found none.

    Half a second by itself, for which a place that came free stays empty. A look costs a call to each replica, of which
    gateways make up to some hundred a second for a model like this.
    """
    # Serve's constructor takes numbers, whatever its annotation says.
    longest_s: Any = min(0.5, max(0.1, 0.05 * max_replicas))
    return RequestRouterConfig(max_backoff_s=longest_s)


def application(  # noqa: PLR0913 - made in one place
    spec: ModelSpec,
    weights_dir: str,
    manager_app: str,
    link_host: str | None,
    slates_dir: str,
    *,
    prewarm: bool = False,
) -> Application:
    """The model's Serve application.

    Args:
        spec: The model.
        weights_dir: See ``ModelReplica``.
        manager_app: See ``ModelReplica``.
        link_host: See ``ModelReplica``.
        slates_dir: See ``ModelReplica``.
        prewarm: Whether replicas start from their node's pre-warmed server, where it has one.
    """
    limits = spec.limits
    options = actor_options(spec)
    if prewarm and is_prewarmed(spec) and (python := launcher()) is not None:
        options.setdefault("runtime_env", {})["py_executable"] = python
    deployment = ModelReplica.options(
        name=DEPLOYMENT,
        # By it Serve tells whether replicas have to be replaced, or can be told of the new numbers.
        version=spec.digest,
        _internal=True,
        max_ongoing_requests=limits.max_ongoing_requests,
        max_queued_requests=outer_wall(limits.max_queued_requests, spec.autoscaling.max_replicas),
        request_router_config=router_config(spec.autoscaling.max_replicas),
        max_constructor_retry_count=2,
        graceful_shutdown_timeout_s=limits.request_timeout_s,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options=options,
        **group_options(spec),
        autoscaling_config=autoscaling_config(spec),
    )
    values = spec.model_dump(mode="json", exclude_unset=True)
    return deployment.bind(values, weights_dir, manager_app, link_host, slates_dir)
