"""The loop that makes what runs agree with what should."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ray.util.metrics import Histogram

from app.domain.model_spec import ModelSpec, app_name_of
from app.domain.model_state import PullState
from app.services.catalog import CatalogEntry
from app.services.registry import Registry
from deployments import placement
from deployments.applications import Applications, AppView
from deployments.model_run import ModelRun
from deployments.placement import Need
from deployments.prewarm.nodes import PrewarmedNodes
from deployments.reports import ActivityReport, PhaseReport, PullReport
from deployments.turns import Holder, who_yields
from deployments.workload import Workload

logger = logging.getLogger("manta")

PAUSE_S = 0.2
BUSY_S = 0.5
SETTLED_S = 5.0
"""How often Serve is asked for its status, which costs tens of milliseconds: at most, while things move, and else."""

AT_REST = ("cold", "ready", "failed", "disabled")

Views = dict[str, dict[str, AppView]]


class Reconciler:
    """Every model's run, and the only one who deploys and deletes.

    Args:
        registry: What there should be.
        applications: What there is.
        prewarmed: Has nodes keep what engines start from; None where they shall not.
    """

    def __init__(self, registry: Registry, applications: Applications, prewarmed: PrewarmedNodes | None = None) -> None:
        self._registry = registry
        self._applications = applications
        self._prewarmed = prewarmed
        self._workload = Workload()
        self._runs: dict[str, ModelRun] = {}
        self._asked: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._free: Mapping[str, Need] = {}
        self._free_before: Mapping[str, Need] | None = None
        # Taken once, so that no moment seems to move.
        self._epoch = time.time() - time.monotonic()
        self._prunes = False
        self._starts = Histogram(
            "manta_model_start_seconds",
            "What starts of replicas took, by phase.",
            boundaries=[0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600],
            tag_keys=("model", "phase"),
        )
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        # Greater than any of a manager before this one, whom gateways have followed.
        self.version = int(time.time() * 1000)
        self.entries: dict[str, CatalogEntry] = {}
        self._follow_registry()
        self._views: Views = {}
        self._publish(self._views)

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            self._wake.clear()
            try:
                await self._reconcile()
            except Exception:
                # Serve's controller may be restarting; the loop has to outlive that.
                logger.exception("could not reconcile the models; trying on")
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SETTLED_S if self._is_settled() else BUSY_S)

    async def changed(self, version: int, patience_s: float) -> None:
        """Return when the entries differ from those of ``version``, or after so many seconds."""
        if version == self.version:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), patience_s)

    def trust_registry(self) -> None:
        """From now on, what the registry does not want is deleted: it has read all that was said."""
        self._prunes = True
        self.poke()

    def poke(self) -> None:
        """Look soon: something has changed."""
        self._follow_registry()
        self._wake.set()

    def hear(self, report: PhaseReport | ActivityReport | PullReport) -> None:
        """Take a replica's or a fetching task's word."""
        now = time.monotonic()
        if isinstance(report, ActivityReport):
            self._workload.replica(report, now)
            return
        if (run := self._runs.get(report.model)) is not None:
            if isinstance(report, PullReport):
                # One that comes late says nothing any more.
                run.pull = report.state if run.pull is not None and run.pull.status == "running" else run.pull
            else:
                run.hear(report, now)
                self._export(run, report)
            self._wake.set()

    def demand(self, gateway: str, queued: Mapping[str, int]) -> None:
        """Hear how many requests wait at a gateway, by model."""
        now = time.monotonic()
        self._workload.gateway(gateway, queued, now)
        for id_, run in self._runs.items():
            before = run.queued
            run.expect(self._workload.queued(id_, now), now)
            if run.queued != before:
                self._wake.set()

    def wake(self, id_: str) -> None:
        """Bring a model up although nobody asks for it."""
        self._runs[id_].woken = True
        self._runs[id_].retry()
        self.poke()

    def refresh(self) -> None:
        """Go by what the registry says now."""
        self.poke()
        self._publish(self._views)

    def entry(self, id_: str) -> CatalogEntry:
        """A model as its admin sees it: by the spec that it has or is to have, and its state."""
        return replace(self.entries[id_], spec=self._registry.wanted[id_].spec)

    def pulled(self, id_: str, state: PullState) -> None:
        """Note how fetching a model's weights ended."""
        if (run := self._runs.get(id_)) is not None:
            run.pull = state
            self.poke()

    def run_of(self, id_: str) -> ModelRun:
        """What is remembered of a model."""
        return self._runs[id_]

    async def stop(self) -> None:
        """End what was begun."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _export(self, run: ModelRun, report: PhaseReport) -> None:
        times = run.start_of(report)
        for phase, seconds in times.to_dict().items() if times is not None else ():
            self._starts.observe(seconds, {"model": report.model, "phase": phase.removesuffix("_s")})

    def _is_settled(self) -> bool:
        wanted = self._registry.wanted
        return (
            self._runs.keys() == wanted.keys()
            and all(entry.state.status in AT_REST and not entry.state.queued for entry in self.entries.values())
            and all(apps.keys() <= {wanted[id_].spec.digest} for id_, apps in self._views.items() if id_ in wanted)
        )

    def _follow_registry(self) -> None:
        wanted = self._registry.wanted
        for id_, each in wanted.items():
            if id_ in self._runs:
                self._runs[id_].want(each)
            else:
                self._runs[id_] = ModelRun(each, time.monotonic())
        for id_, run in self._runs.items():
            if id_ not in wanted:
                run.wanted = None

    async def _reconcile(self) -> None:
        await self._keep_warm()
        views = self._views = await self._applications.views()
        self._free_before, self._free = self._free or None, await asyncio.to_thread(placement.free_by_node)
        now = time.monotonic()
        for id_, run in self._runs.items():
            # Of gateways that are no more, too.
            run.expect(self._workload.queued(id_, now), now)
        if not self._prunes:
            views = {id_: apps for id_, apps in views.items() if id_ in self._runs}
        for id_, apps in views.items():
            self._know(id_, apps)
        self._share_room(views, now)
        for id_, run in list(self._runs.items()):
            apps = views.get(id_, {})
            if run.wanted is None and not apps:
                del self._runs[id_]
                continue
            self._act(id_, run, apps, now)
        for id_ in views.keys() - self._runs.keys():
            self._delete_all(id_, views[id_])
        self._publish(views)

    def _know(self, id_: str, apps: Mapping[str, AppView]) -> None:
        """Ask those that run and are not known what they are: after a restart of this process, say."""
        run = self._runs.get(id_)
        if run is None or run.wanted is None:
            return
        for digest, app in apps.items():
            name = f"{id_}@{digest}"
            if app.running and not app.going and name not in self._asked:
                self._asked.add(name)
                if not run.knows(digest):
                    self._start(f"ask {name}", self._ask(run, id_, digest))

    async def _ask(self, run: ModelRun, id_: str, digest: str) -> None:
        try:
            values, report = await self._applications.describe(id_, digest)
            run.learn(ModelSpec.model_validate(values), report, time.monotonic())
        except Exception as error:
            logger.warning("could not ask a replica of %s: %s", id_, error)
            self._asked.discard(f"{id_}@{digest}")

    async def _keep_warm(self) -> None:
        if self._prewarmed is None:
            return
        specs = [each.spec for each in self._registry.wanted.values() if each.enabled]
        try:
            await asyncio.to_thread(self._prewarmed.keep, specs)
        except Exception:
            # Without it starts take longer, and that is all.
            logger.exception("could not have nodes keep pre-warmed servers")

    def _fits(self, spec: ModelSpec) -> bool:
        return placement.fits(placement.needs(spec), self._free.values())

    def _act(self, id_: str, run: ModelRun, apps: Mapping[str, AppView], now: float) -> None:
        if f"serve {id_}" in self._tasks:
            return
        plan = run.plan(apps, now, self._fits)
        if run.began_to_wait(now) and run.wanted is not None and self._had_room(run.wanted.spec):
            run.placed_at = now
        if plan.deploy is not None or plan.delete:
            self._start(f"serve {id_}", self._change(run, plan.deploy, plan.delete))
        if plan.wake is not None:
            self._start(f"wake {id_}", self._wake_up(plan.wake))

    async def _change(self, run: ModelRun, deploy: ModelSpec | None, delete: tuple[str, ...]) -> None:
        await self._delete(delete)
        if deploy is None:
            return
        try:
            logger.info("deploying %s", deploy.app_name)
            await self._applications.deploy(deploy)
            run.deployed[deploy.digest] = deploy.full_digest
        except Exception as error:
            logger.exception("could not deploy model %s", deploy.id)
            run.fail(f"it could not be deployed: {type(error).__name__}", time.monotonic())

    async def _wake_up(self, spec: ModelSpec) -> None:
        # The call waits in Serve's queue, which is what wakes a model; who answers it does not matter.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(spec.limits.cold_start_timeout_s):
                await self._applications.describe(spec.id, spec.digest)

    def _had_room(self, spec: ModelSpec) -> bool:
        """Whether there was room for a replica before it took it: what is free now may be without what it holds."""
        return self._free_before is None or placement.fits(placement.needs(spec), self._free_before.values())

    def _share_room(self, views: Views, now: float) -> None:
        for id_, run in self._runs.items():
            if run.makers:
                run.makers = {other for other in run.makers if self._is_leaving(other, views)}
                run.placed_at = None if run.makers else now
                continue
            since = run.waits_for_room(now)
            if run.wanted is None or since is None or not (run.queued or run.woken):
                continue
            if now - since < BUSY_S or self._fits(run.wanted.spec):
                continue
            holders = [holder for other in self._runs if other != id_ and (holder := self._holder(other, views, now))]
            waiting_s = now - (run.queued_since or since)
            for other in who_yields(placement.needs(run.wanted.spec), waiting_s, self._free, holders):
                logger.info("%s goes to sleep: %s needs its room", other, id_)
                self._runs[other].asleep = True
                run.makers.add(other)

    def _is_leaving(self, id_: str, views: Views) -> bool:
        run = self._runs.get(id_)
        return run is not None and (run.asleep or any(app.going or app.stopping for app in views.get(id_, {}).values()))

    def _holder(self, id_: str, views: Views, now: float) -> Holder | None:
        run = self._runs[id_]
        app = views.get(id_, {}).get(run.serving.digest)
        sleeps = run.serving.autoscaling.min_replicas == 0
        if run.asleep or not sleeps or app is None or not app.running or app.going or run.ready_since is None:
            return None
        needs = tuple(placement.needs(run.serving))
        digest = run.serving.digest
        rooms = tuple((node, needs) for node in self._workload.nodes(id_, digest, now))
        idle_s = self._workload.idle(id_, digest, app.running, now)
        return Holder(id_, rooms, idle_s, now - run.ready_since, run.queued)

    def _delete_all(self, id_: str, apps: Mapping[str, AppView]) -> None:
        """Delete what nobody wants: a model of an earlier time."""
        if names := tuple(app_name_of(id_, digest) for digest, app in apps.items() if not app.going):
            self._start(f"serve {id_}", self._delete(names))

    async def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            logger.info("deleting %s", name)
            await self._applications.delete(name)

    def _publish(self, views: Views) -> None:
        entries: dict[str, CatalogEntry] = {}
        for id_, wanted in self._registry.wanted.items():
            run = self._runs[id_]
            entries[id_] = CatalogEntry(run.serving, run.state(views.get(id_, {}), self._epoch), wanted.created)
        if entries != self.entries:
            self.entries = entries
            self.version += 1
            self._moved.set()
            self._moved = asyncio.Event()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._tasks:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda _: (self._tasks.pop(name, None), self._wake.set()))
