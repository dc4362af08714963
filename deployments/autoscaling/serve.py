"""The policy as Serve's controller calls it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from ray.serve import autoscaling_policy
from ray.serve.config import AutoscalingContext

from deployments.autoscaling.policy import Report, Situation, Targets, decide

logger = logging.getLogger("ray.serve")

POLICY = "deployments.autoscaling:WorkPolicy"
METRICS = tuple(each.name for each in fields(Report) if each.name != "at")
"""What a replica's ``record_autoscaling_stats`` gives."""

MEMORY = "manta"


class WorkPolicy:
    """Decides by the work that replicas report. Serve makes one in its controller for each deployment.

    It travels there by value and needs nothing of this project to run.

    Args:
        targets: The fields of ``Targets``.
    """

    def __init__(self, **targets: float) -> None:
        self._targets = Targets(**targets)
        _leave_waking_to_policies()

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Replicas there should be, and the state for the next call; whatever goes wrong, as many as there are."""
        try:
            remembered = context.policy_state.get(MEMORY)
            replicas, memory = decide(self._targets, situation(context), remembered)
        except Exception:
            logger.exception("the autoscaling policy failed for %s; nothing is changed", context.app_name)
            return context.target_num_replicas, {}
        return replicas, {MEMORY: memory}


def situation(context: AutoscalingContext) -> Situation:
    """What Serve knows, in the policy's terms."""
    raw = cast("Mapping[str, Mapping[Any, Any]]", context.raw_metrics or {})
    series: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        for replica, points in raw.get(name, {}).items():
            if points:
                series.setdefault(replica.unique_id, {})[name] = points[-1]
    reports = {
        replica: Report(
            at=max(point.timestamp for point in newest.values()),
            **{name: point.value for name, point in newest.items()},
        )
        for replica, newest in series.items()
    }
    return Situation(
        now=context.current_time or 0.0,
        ready=context.current_num_replicas,
        target=context.target_num_replicas,
        queued=context.total_queued_requests,
        ongoing=context.total_running_requests,
        reports=reports,
        least=context.capacity_adjusted_min_replicas,
        most=context.capacity_adjusted_max_replicas,
    )


def _leave_waking_to_policies() -> None:
    """Have Serve ask this policy also when a model without replicas has a queue.

    Serve wakes a deployment with one replica whatever waits for it, and asks no policy until that one runs. Others than
    ours keep that.
    """
    original: Any = autoscaling_policy._get_cold_start_scale_up_replicas  # pyright: ignore[reportPrivateUsage]
    if getattr(original, MEMORY, False):
        return

    def wake(context: AutoscalingContext) -> int | None:
        ours = context.config is not None and context.config.policy.policy_function == POLICY
        return None if ours else original(context)

    setattr(wake, MEMORY, True)
    autoscaling_policy._get_cold_start_scale_up_replicas = wake  # pyright: ignore[reportPrivateUsage]
