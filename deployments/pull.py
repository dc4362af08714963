"""Fetching a model's weights ahead of any start, on every node that could run it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import serve

from app.domain.model_spec import ModelSpec
from app.domain.model_state import PullState
from deployments import placement
from deployments.nodes import on_node
from deployments.reports import PullReport
from deployments.weights import WeightsError, fetch

logger = logging.getLogger("manta")

STEP = 0.01
"""The least progress that is worth a message."""


async def pull(spec: ModelSpec, weights_dir: str, manager_app: str) -> PullState:
    """Fetch a model's weights wherever it may run; how that ended.

    Args:
        manager_app: The application whose manager hears of the progress.
    """
    if spec.source is None:
        return PullState("done", 1.0, "this model has no weights")
    nodes = await asyncio.to_thread(_nodes_for, spec)
    if not nodes:
        return PullState("failed", detail="no node of this cluster could run it")
    tasks = [on_node(_pull, node, spec.id, spec.source, weights_dir, manager_app, node) for node in nodes]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            logger.warning("a node could not fetch %s: %s", spec.id, outcome)
            return PullState("failed", detail="a node ended while it fetched: try again")
        if outcome is not None:
            return PullState("failed", detail=outcome)
    return PullState("done", 1.0, f"in place on {len(nodes)} node{'s' if len(nodes) != 1 else ''}")


def _nodes_for(spec: ModelSpec) -> list[str]:
    need = placement.needs(spec)[:1]
    return [node for node, total in placement.total_by_node().items() if placement.fits(need, [total])]


@ray.remote(num_cpus=0, max_retries=0)
def _pull(id_: str, source: str, weights_dir: str, manager_app: str, node: str) -> str | None:
    """What went wrong, in words; None if nothing did."""
    manager = serve.get_deployment_handle("ModelManager", app_name=manager_app)

    def tell(state: PullState) -> None:
        manager.report.remote(PullReport(id_, node, state))

    try:
        fetch(source, Path(weights_dir), _reporting(tell))
    except WeightsError as error:
        return str(error)
    return None


def _reporting(tell: Callable[[PullState], None]) -> Callable[[Any, float | None, str | None], None]:
    last = -1.0

    def report(_: Any, progress: float | None, detail: str | None) -> None:
        nonlocal last
        if progress is None or progress - last >= STEP or progress < last:
            last = -1.0 if progress is None else progress
            tell(PullState("running", progress, detail))

    return report
