"""The manager: the one who decides which models there are and makes Serve agree.

Each spec runs as a Serve application of its own, named after model and digest: what runs can be told from Serve's own
status after any restart, and a model whose spec did not change is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from app.domain.model_spec import ModelSpec
from app.domain.model_state import PullState
from app.errors import ApiError, DatabaseUnavailable
from app.observability.logging import configure_logging
from app.services.catalog import CatalogEntry
from app.services.model_admin import ModelLog
from app.services.parts import USAGE_FOLDER
from app.services.registry import Registry, Wanted
from app.services.usage.ledger import UsageLedger
from app.settings import Settings
from app.storage.database import Database
from app.storage.models import ModelRecords
from app.storage.usage_events import UsageEvents
from deployments import feasible
from deployments.applications import Applications
from deployments.database import uri_of
from deployments.logs import read_log
from deployments.orphan_usage import OrphanUsage
from deployments.prewarm.nodes import PrewarmedNodes
from deployments.pull import pull
from deployments.reconciler import Reconciler
from deployments.reports import ActivityReport, Orphan, PhaseReport, PullReport, Remains
from deployments.slate.adoption import SLATES_FOLDER
from deployments.slate.sweep import ManagerSweep

logger = logging.getLogger("manta")

WATCH_S = 20.0
RETRY_S = 0.5
ALONE_S = 10.0
"""How long the models of the files wait for a database that may say otherwise of them."""


@dataclass(frozen=True, slots=True)
class Written:
    """A change that is stored.

    Attributes:
        version: Of the models that have it; see ``watch``.
        entry: The model, or its last entry where it is gone.
    """

    version: int
    entry: CatalogEntry


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
    """Knows every model and its state; the only one who writes either.

    Args:
        settings: This installation's.
        specs: The models of the files, as plain values.
        database: Knows the embedded database's address; None where the settings name a MongoDB.
    """

    def __init__(self, settings: Settings, specs: list[dict[str, Any]], database: DeploymentHandle[Any] | None) -> None:
        configure_logging()
        self._settings = settings
        self._files = [ModelSpec.model_validate(spec) for spec in specs]
        self._app = serve.get_replica_context().app_name
        self._writing = asyncio.Lock()
        self._loaded = False
        self._started = asyncio.Event()
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._task = asyncio.get_running_loop().create_task(self._run(database))

    async def watch(self, version: int) -> tuple[int, list[CatalogEntry]]:
        """All models, as soon as they differ from ``version``; at the latest after ``WATCH_S`` seconds."""
        await self._started.wait()
        await self._reconciler.changed(version, WATCH_S)
        return self._reconciler.version, list(self._reconciler.entries.values())

    async def report(self, report: PhaseReport | ActivityReport | PullReport) -> None:
        """Hear from a replica or a fetching task."""
        await self._started.wait()
        self._sweep.hear(report)
        self._reconciler.hear(report)

    async def orphans(self, orphans: list[Orphan]) -> None:
        """Hear from a replica what requests took whose gateway is gone; the same ones perhaps more than once."""
        await self._started.wait()
        await self._usage.take(orphans)

    async def remains(self, slate: str, remains: list[Remains]) -> bool:
        """Hear how far the calls of a dead replica had come, perhaps more than once; whether that is kept."""
        await self._started.wait()
        return await self._usage.keep(slate, remains)

    async def demand(self, gateway: str, queued: Mapping[str, int]) -> None:
        """Hear from a gateway how many requests wait there, by model."""
        await self._started.wait()
        self._reconciler.demand(gateway, queued)

    async def add(self, values: dict[str, Any]) -> Written | ApiError:
        """A new model; see ``ModelAdmin``. What a caller is told comes as a value: an exception would be logged."""
        return await self._write(lambda: self._registry.add(values, feasible.check))

    async def change(self, name: str, patch: dict[str, Any]) -> Written | ApiError:
        """Change a model."""
        return await self._write(lambda: self._registry.change(name, patch, feasible.check))

    async def remove(self, name: str) -> Written | ApiError:
        """Take a model away; the entry is its last."""
        return await self._write(lambda: self._registry.remove(name))

    async def start(self, name: str) -> Written | ApiError:
        """Let a model run, and bring it up now."""
        return await self._write(lambda: self._registry.enable(name, enabled=True), self._wake)

    async def stop(self, name: str) -> Written | ApiError:
        """Let a model run no more."""
        return await self._write(lambda: self._registry.enable(name, enabled=False))

    async def pull(self, name: str) -> Written | ApiError:
        """Fetch a model's weights now, on every node that could run it."""
        return await self._write(lambda: self._known(name), self._begin_pull)

    async def logs(self, name: str, lines: int) -> list[ModelLog] | ApiError:
        """The end of what a model's replicas wrote."""
        await self._started.wait()
        try:
            spec = self._registry.get(name).spec
        except ApiError as error:
            return error
        places = self._reconciler.run_of(spec.id).log_places
        return list(await asyncio.gather(*(read_log(place, lines) for place in places)))

    async def check_health(self) -> None:
        """Return if the reconciliation still runs."""
        if self._task.done():
            raise RuntimeError("the reconciliation ended")

    async def _run(self, database: DeploymentHandle[Any] | None) -> None:
        uri = await uri_of(self._settings, database)
        client = Database(uri, self._settings.mongodb_database, timeout_s=self._settings.mongodb_timeout_s, pool_size=2)
        events = UsageEvents(client)
        ledger = UsageLedger(events, self._settings.state_dir / USAGE_FOLDER, grace_s=self._settings.usage_grace_s)
        await ledger.start()
        self._usage = OrphanUsage(ledger.write, events.remains)
        self._registry = Registry(self._files, ModelRecords(client), self._settings.least_replicas)
        loading = asyncio.create_task(self._load())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(loading), ALONE_S)
        prewarm = self._settings.prewarm == "auto"
        slates = self._settings.state_dir / SLATES_FOLDER
        self._sweep = ManagerSweep(slates, self._app, self._usage.keep)
        applications = Applications(
            str(self._settings.weights), self._app, self._settings.link_host, str(slates), prewarm=prewarm
        )
        self._reconciler = Reconciler(self._registry, applications, PrewarmedNodes() if prewarm else None)
        if self._loaded:
            self._reconciler.trust_registry()
        self._started.set()
        self._sweep.start()
        try:
            await self._reconciler.run()
        finally:
            self._sweep.stop()
            loading.cancel()
            await self._reconciler.stop()
            await ledger.close()
            client.close()

    async def _load(self) -> None:
        while not self._loaded:
            try:
                await self._registry.load()
                self._loaded = True
            except DatabaseUnavailable:
                await asyncio.sleep(RETRY_S)
            except Exception:
                # Models that run go on; to end here would keep every change out for ever.
                logger.exception("could not read what was said of models; trying on")
                await asyncio.sleep(ALONE_S)
        if self._started.is_set():
            self._reconciler.trust_registry()

    async def _write(
        self, work: Callable[[], Awaitable[Wanted]], then: Callable[[ModelSpec], None] | None = None
    ) -> Written | ApiError:
        await self._started.wait()
        if not self._loaded:
            return DatabaseUnavailable("Models cannot be changed before the database answers. Try again shortly.")
        # Whole even if the caller leaves: what is stored has to be known here too.
        return await asyncio.shield(asyncio.create_task(self._written(work, then)))

    async def _written(
        self, work: Callable[[], Awaitable[Wanted]], then: Callable[[ModelSpec], None] | None
    ) -> Written | ApiError:
        try:
            async with self._writing:
                spec = (await work()).spec
        except ApiError as error:
            return error
        last = self._reconciler.entries.get(spec.id)
        if then is not None:
            then(spec)
        self._reconciler.refresh()
        gone = spec.id not in self._registry.wanted
        entry = last if gone and last is not None else self._reconciler.entry(spec.id)
        return Written(self._reconciler.version, entry)

    async def _known(self, name: str) -> Wanted:
        return self._registry.get(name)

    def _wake(self, spec: ModelSpec) -> None:
        self._reconciler.wake(spec.id)

    def _begin_pull(self, spec: ModelSpec) -> None:
        if spec.id not in self._pulls:
            self._reconciler.run_of(spec.id).pull = PullState("running")
            self._pulls[spec.id] = asyncio.create_task(self._pull(spec))

    async def _pull(self, spec: ModelSpec) -> None:
        try:
            state = await pull(spec, str(self._settings.weights), self._app)
        except Exception:
            logger.exception("could not fetch the weights of %s", spec.id)
            state = PullState("failed", detail="the cluster did not take the task")
        del self._pulls[spec.id]
        self._reconciler.pulled(spec.id, state)
