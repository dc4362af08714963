"""A replica's word to the manager on how far its start is. Never waits, never fails the start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ray import serve

from app.domain.model_spec import ModelSpec
from app.domain.model_state import StartPhase
from deployments.states import PhaseReport

logger = logging.getLogger("manta")

FAREWELL_S = 2.0


class Reporter:
    """Sends phases; callable as the ``Report`` that engines take.

    Args:
        spec: The model.
        manager_app: The application that the manager lives in.
    """

    def __init__(self, spec: ModelSpec, manager_app: str) -> None:
        self._spec = spec
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._manager: Any = None
        try:
            self._manager = serve.get_deployment_handle("ModelManager", app_name=manager_app)
        except Exception as error:
            logger.warning("no manager to report to: %s", error)

    def __call__(self, phase: StartPhase, progress: float | None, detail: str | None) -> None:
        """Report a phase, from the event loop."""
        self._send(PhaseReport(self._spec.id, self._spec.digest, phase, progress, detail))

    def threadsafe(self, phase: StartPhase) -> Callable[[str, float | None, str | None], None]:
        """A callback for a worker thread: its step, progress and detail, reported as ``phase``."""

        def report(step: str, progress: float | None, detail: str | None) -> None:
            self._loop.call_soon_threadsafe(self, phase, progress, detail or step)

        return report

    async def ready(self, report: PhaseReport) -> None:
        """Report that the replica answers, after all that was reported before."""
        await self._settle()
        await self._deliver(report)

    async def failed(self, detail: str) -> None:
        """Report that the replica gives up, and why."""
        await self._settle()
        await self._deliver(PhaseReport(self._spec.id, self._spec.digest, "failed", detail=detail))

    async def _settle(self) -> None:
        await asyncio.gather(*self._tasks)

    def _send(self, report: PhaseReport) -> None:
        task = self._loop.create_task(self._deliver(report))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, report: PhaseReport) -> None:
        if self._manager is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._manager.report.remote(report)
        except Exception as error:
            logger.warning("could not report %s of %s: %s", report.phase, report.model, error)
