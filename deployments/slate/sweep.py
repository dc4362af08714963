"""Slates on nodes that no replica is left on: the manager looks at its own all the time, at others when it is due."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ray
from ray import serve

from deployments.nodes import alive, on_node
from deployments.reports import ActivityReport, Remains
from deployments.slate.adoption import Adoption, Deliver

logger = logging.getLogger("manta")

SILENT_S = 30.0
"""Replicas that live say so more often (``deployments.activity_watch``)."""

LOOK_S = 5.0
TAKEN_S = 15.0

Settle = Callable[[str], Awaitable[bool]]
"""Has what dead replicas left on a node brought here; whether nothing is left there."""


class Sweep:
    """Knows on which nodes replicas may have left something.

    Args:
        settle: Does it.
        clock: Monotonic seconds.
    """

    def __init__(self, settle: Settle, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle = settle
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def hear(self, report: object) -> None:
        """A replica lives, if it is one's word of itself: it does what is to be done on its node."""
        if isinstance(report, ActivityReport):
            self._heard[report.node] = self._clock()

    async def look(self, nodes: list[str]) -> None:
        """Settle what is left where replicas have fallen silent.

        Args:
            nodes: Those that live.
        """
        now = self._clock()
        for node in nodes:
            # Of nodes that this process has not heard of, an earlier one may have.
            self._heard.setdefault(node, now)
        silent = [node for node in nodes if now - self._heard[node] > SILENT_S]
        self._heard = {node: at for node, at in self._heard.items() if node in nodes}
        for node, done in zip(silent, await asyncio.gather(*map(self._settle, silent)), strict=True):
            # Once is enough, until something is heard from there again.
            self._heard[node] = float("inf") if done else now

    def start(self) -> None:
        """Look every now and then from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="slates on silent nodes")

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(await asyncio.to_thread(alive))
            except Exception as error:
                logger.warning("what dead replicas left on other nodes could not be looked for: %s", error)


class ManagerSweep:
    """The manager's: its own node without a detour, others by a task there.

    Args:
        root: The folder of slates, on whatever node.
        app: The application that the manager lives in.
        keep: Takes what stood on a slate.
    """

    def __init__(self, root: Path, app: str, keep: Deliver) -> None:
        self._root = root
        self._app = app
        self._here: str = ray.get_runtime_context().get_node_id()
        self._adoption = Adoption(root, keep)
        self._sweep = Sweep(self._settle)
        self.hear = self._sweep.hear

    def start(self) -> None:
        """Look from now on."""
        self._adoption.start()
        self._sweep.start()

    def stop(self) -> None:
        """Look no more."""
        self._adoption.stop()
        self._sweep.stop()

    async def _settle(self, node: str) -> bool:
        if node == self._here:
            return True
        try:
            async with asyncio.timeout(TAKEN_S):
                return await on_node(_settle, node, str(self._root), self._app)
        except Exception as error:
            logger.warning("what dead replicas left on node %s was not taken yet: %s", node, error)
            return False


@ray.remote(num_cpus=0, max_retries=0)
def _settle(root: str, manager_app: str) -> bool:
    manager: Any = serve.get_deployment_handle("ModelManager", app_name=manager_app)

    async def deliver(slate: str, remains: list[Remains]) -> bool:
        return await manager.remains.remote(slate, remains)

    return asyncio.run(Adoption(Path(root), deliver).look())
