"""A replica's word to the manager on how far its start is. Never waits, never fails the start."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
import ray
from ray import serve

from app.domain.model_spec import ModelSpec
from app.domain.model_state import StartPhase, StartTimes
from deployments.reports import ActivityReport, LogPlace, Orphan, Phase, PhaseReport, Remains

logger = logging.getLogger("manta")

FAREWELL_S = 2.0


class Reporter:
    """Sends phases; callable as the ``Report`` that engines take.

    Args:
        spec: The model.
        manager_app: The application that the manager lives in.
        place: Where the replica writes.
    """

    def __init__(self, spec: ModelSpec, manager_app: str, place: LogPlace) -> None:
        self._spec = spec
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._manager: Any = None
        try:
            self._manager = serve.get_deployment_handle("ModelManager", app_name=manager_app)
        except Exception as error:
            logger.warning("no manager to report to: %s", error)

    def __call__(self, phase: StartPhase, progress: float | None, detail: str | None) -> None:
        """Report a phase, from the event loop."""
        self._send(self._report(phase, progress=progress, detail=detail))

    def threadsafe(self, phase: StartPhase) -> Callable[[str, float | None, str | None], None]:
        """A callback for a worker thread: its step, progress and detail, reported as ``phase``."""

        def report(step: str, progress: float | None, detail: str | None) -> None:
            self._loop.call_soon_threadsafe(self, phase, progress, detail or step)

        return report

    async def ready(self, max_model_len: int, times: StartTimes) -> PhaseReport:
        """Report that the replica answers, after all that was reported before; the report."""
        await self._settle()
        report = self._report("ready", max_model_len=max_model_len, times=times)
        await self._deliver(report)
        return report

    async def failed(self, detail: str) -> None:
        """Report that the replica gives up, and why."""
        await self._settle()
        await self._deliver(self._report("failed", detail=detail))

    async def activity(self, idle_s: float) -> None:
        """Report whether the replica has anything to do; see ``ActivityReport``."""
        await self._deliver(
            ActivityReport(self._spec.id, self._spec.digest, self._place.replica, self._place.node, idle_s)
        )

    async def orphans(self, orphans: list[Orphan]) -> None:
        """Hand over what requests took whose gateway is gone.

        Raises:
            Exception: The manager did not take it, or not that anybody knows of.
        """
        if self._manager is None:
            raise RuntimeError("there is no manager")
        await self._manager.orphans.remote(orphans)

    async def remains(self, slate: str, remains: list[Remains]) -> bool:
        """Hand over how far the calls of a dead replica had come; whether that is kept.

        Raises:
            Exception: The manager did not take it, or not that anybody knows of.
        """
        if self._manager is None:
            raise RuntimeError("there is no manager")
        return await self._manager.remains.remote(slate, remains)

    async def told(self, slate: str, ended: list[Orphan]) -> None:
        """Hand over what calls took whose gateways were told, but may not have heard it.

        Raises:
            Exception: The manager did not keep it, or not that anybody knows of.
        """
        if not await self.remains(slate, [Remains(each.account, each.usage) for each in ended]):
            raise RuntimeError("it was not kept")

    def _report(self, phase: Phase, **known: Any) -> PhaseReport:
        return PhaseReport(self._spec.id, self._spec.digest, phase, age_s=age_s(), place=self._place, **known)

    async def _settle(self) -> None:
        await asyncio.gather(*self._tasks)

    def _send(self, report: PhaseReport) -> None:
        task = self._loop.create_task(self._deliver(report))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, report: PhaseReport | ActivityReport) -> None:
        if self._manager is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._manager.report.remote(report)
        except Exception as error:
            logger.warning("the model manager did not hear of %s: %s", report.model, error)


def age_s() -> float:
    """For how many seconds this process has lived."""
    return time.time() - psutil.Process().create_time()


def own_place() -> LogPlace:
    """Where this replica writes."""
    context = ray.get_runtime_context()
    files = dict.fromkeys(os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in (1, 2))
    return LogPlace(str(context.get_actor_id()), context.get_node_id(), tuple(files))
