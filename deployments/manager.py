"""The manager: makes what runs agree with what should, one Serve application per model.

An application's only deployment carries the spec's digest in its name, so what runs can be told from Serve's own
status after any restart, nothing has to be stored, and a model whose spec did not change is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from ray import serve
from ray.serve import RunTarget
from ray.serve.schema import ApplicationStatus, ServeStatus

from app.domain.model_spec import ModelSpec
from app.observability.logging import configure_logging
from app.services.catalog import CatalogEntry
from deployments.model import application
from deployments.prewarm.nodes import PrewarmedNodes
from deployments.states import PhaseReport, following, seen, state_of

logger = logging.getLogger("manta")

BUSY_S = 0.5
SETTLED_S = 5.0
"""Asking Serve for its status costs it and us tens of milliseconds, so less often while nothing moves."""

WATCH_S = 20.0
AT_REST = ("cold", "ready", "failed", "disabled")
GONE = (ApplicationStatus.DELETING, ApplicationStatus.NOT_STARTED)


@serve.deployment(
    name="ModelManager",
    num_replicas=1,
    max_ongoing_requests=10_000,
    # Only gateways wait here, and they need no answer any more.
    graceful_shutdown_timeout_s=1,
    graceful_shutdown_wait_loop_s=0.1,
    health_check_period_s=5,
    logging_config={"enable_access_log": False},
    ray_actor_options={"num_cpus": 0},
)
class ModelManager:
    """Knows every model and its state; brings applications up, changes them, takes them down.

    Args:
        specs: The models there should be, as plain values.
        weights_dir: Where replicas keep their weights, on whatever node they are.
        link_host: See ``Settings``.
        prewarm: Whether every node keeps a pre-warmed server for the engines of these models.
    """

    def __init__(self, specs: list[dict[str, Any]], weights_dir: str, link_host: str | None, *, prewarm: bool) -> None:
        configure_logging()
        now = int(time.time())
        self._specs = {spec.id: spec for spec in map(ModelSpec.model_validate, specs)}
        self._entries = {id_: CatalogEntry(spec, created=now) for id_, spec in self._specs.items()}
        self._weights_dir = weights_dir
        self._link_host = link_host
        self._prewarmed = PrewarmedNodes(self._specs.values()) if prewarm else None
        self._reports: dict[str, PhaseReport] = {}
        self._deploying: dict[str, asyncio.Task[None]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        self._version = 1
        self._changed = asyncio.Event()
        self._reported = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._reconcile_forever())

    async def watch(self, version: int) -> tuple[int, list[CatalogEntry]]:
        """All models, as soon as they differ from ``version``; at the latest after ``WATCH_S`` seconds."""
        if version == self._version:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WATCH_S)
        return self._version, list(self._entries.values())

    async def report(self, report: PhaseReport) -> None:
        """Hear from a replica how far its start is."""
        self._reports[report.model] = following(self._reports.get(report.model), report)
        self._reported.set()

    async def check_health(self) -> None:
        """Return if the reconciliation still runs."""
        if self._task.done():
            raise RuntimeError("the reconciliation ended")

    def _ask(self, spec: ModelSpec) -> None:
        # A manager that was restarted has heard none of the reports that its predecessor heard.
        if spec.id not in self._asking:
            self._asking[spec.id] = asyncio.create_task(self._ask_replica(spec))

    async def _ask_replica(self, spec: ModelSpec) -> None:
        try:
            handle = await asyncio.to_thread(serve.get_deployment_handle, spec.deployment_name, spec.app_name)
            await self.report(await handle.describe.remote())
        except Exception as error:
            logger.warning("could not ask a replica of %s: %s", spec.id, error)
        finally:
            del self._asking[spec.id]

    async def _reconcile_forever(self) -> None:
        while True:
            try:
                await self._reconcile()
            except Exception:
                # Serve's controller may be restarting; the loop has to outlive that.
                logger.exception("could not reconcile the models; trying on")
            await asyncio.sleep(BUSY_S)
            if self._settled():
                # A replica that starts says so: whatever happened to the one before it, things move.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._reported.wait(), SETTLED_S - BUSY_S)
            self._reported.clear()

    def _settled(self) -> bool:
        return all(entry.state.status in AT_REST for entry in self._entries.values())

    async def _reconcile(self) -> None:
        if self._prewarmed is not None:
            await asyncio.to_thread(self._prewarmed.keep)
        status = await asyncio.to_thread(serve.status)
        for spec in self._specs.values():
            if self._outdated(spec, status) and spec.id not in self._deploying:
                self._deploying[spec.id] = asyncio.create_task(self._deploy(spec))
        wanted = {spec.app_name for spec in self._specs.values()}
        for name, app in status.applications.items():
            if name.startswith("model-") and name not in wanted and app.status not in GONE:
                await asyncio.to_thread(serve.delete, name, _blocking=False)
        self._publish(status)

    def _outdated(self, spec: ModelSpec, status: ServeStatus) -> bool:
        app = status.applications.get(spec.app_name)
        if app is None:
            return True
        return app.status not in GONE and bool(app.deployments) and spec.deployment_name not in app.deployments

    async def _deploy(self, spec: ModelSpec) -> None:
        app_name = serve.get_replica_context().app_name
        prewarm = self._prewarmed is not None
        target = application(spec, self._weights_dir, app_name, self._link_host, prewarm=prewarm)
        try:
            run = RunTarget(target, name=spec.app_name, route_prefix=None)
            await asyncio.to_thread(
                serve.run_many,
                [run],
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
            self._failures.pop(spec.id, None)
        except Exception as error:
            logger.exception("could not deploy model %s", spec.id)
            self._failures[spec.id] = f"it could not be deployed: {type(error).__name__}"
        finally:
            del self._deploying[spec.id]

    def _publish(self, status: ServeStatus) -> None:
        entries: dict[str, CatalogEntry] = {}
        for id_, spec in self._specs.items():
            app = status.applications.get(spec.app_name)
            report = self._reports.get(id_)
            state = state_of(spec, app, report, self._failures.get(id_))
            if (told := seen(report, state)) is not None:
                self._reports[id_] = told
            if state.status == "ready" and state.max_model_len is None:
                self._ask(spec)
            entries[id_] = CatalogEntry(spec, state, self._entries[id_].created)
        if entries != self._entries:
            self._entries = entries
            self._version += 1
            self._changed.set()
            self._changed = asyncio.Event()
