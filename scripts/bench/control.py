"""Serve's controller in virtual time: its own code decides, over what gateways and replicas have told it by then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import ray.serve._private.autoscaling_state as serve_state
from ray.serve import autoscaling_policy
from ray.serve._private.common import (
    RUNNING_REQUESTS_KEY,
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    ReplicaMetricReport,
    TimeStampedValue,
)
from ray.serve._private.metrics_utils import InMemoryMetricsStore
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig

from scripts.bench.fleet import Clock, Fleet, Replica

EPOCH = 1_000_000.0
"""Wall-clock time at the beginning: 0 would be "never" to some."""

TICK_S = 0.3
"""As ``configs/ray.env`` sets it."""

RECORD_SHARE = 0.2
"""Serve records metrics this often, as a share of the look-back period."""


QUEUED = "queued"
DEPLOYMENT = DeploymentID(name="replica", app_name="model")


class Controller:
    """Scales a fleet as Serve would.

    Args:
        clock: Virtual time.
        fleet: What it scales.
        config: The deployment's.
    """

    def __init__(self, clock: Clock, fleet: Fleet, config: AutoscalingConfig) -> None:
        self._clock = clock
        self._fleet = fleet
        self._config = config
        self._state = serve_state.DeploymentAutoscalingState(DEPLOYMENT)
        self._state._config = config
        self._state._policy = _apply_autoscaling_config(serve_state._resolve_policy_callable(config.policy))
        self._state._policy_state = {}
        self._state.record_autoscaling_metrics = lambda *_: None  # type: ignore[method-assign]
        self._handle = InMemoryMetricsStore()
        self._stores: dict[Replica, InMemoryMetricsStore] = {}
        record_s = min(config.look_back_period_s * RECORD_SHARE, config.metrics_interval_s)
        self._every(record_s, self._record_queue)
        self._every(config.metrics_interval_s, self._push_queue)
        self._record_s = record_s
        self._every(TICK_S, self._decide)

    def queued(self) -> None:
        """A request came: where there is no replica, the gateway tells at once."""
        if not self._fleet.ready and self._fleet.queue:
            self._push_queue()

    def _every(self, seconds: float, call: Any) -> None:
        def again() -> None:
            if call() is not False:
                self._clock.at(self._clock.now + seconds, again)

        self._clock.at(self._clock.now + seconds, again)

    def _record_queue(self) -> None:
        self._handle.add_metrics_point({QUEUED: len(self._fleet.queue)}, self._now)

    def _push_queue(self) -> None:
        self._prune(self._handle)
        points = self._handle.data.get(QUEUED) or [TimeStampedValue(self._now, len(self._fleet.queue))]
        report = HandleMetricReport(
            deployment_id=DEPLOYMENT,
            handle_id="gateway",
            actor_id="gateway",
            handle_source=DeploymentHandleSource.REPLICA,
            queued_requests=list(points),
            metrics={RUNNING_REQUESTS_KEY: {}},
            timestamp=self._now,
        )
        self._state.record_request_metrics_for_handle(report)

    def _watch(self, replica: Replica) -> None:
        store = self._stores[replica] = InMemoryMetricsStore()

        def record() -> bool:
            store.add_metrics_point(self._numbers(replica), self._now)
            return replica.ended is None

        def push() -> bool:
            self._prune(store)
            metrics: Any = {**store.data}
            self._state.record_request_metrics_for_replica(ReplicaMetricReport(_id(replica), metrics, self._now))
            return replica.ended is None

        record()
        push()
        self._every(self._record_s, record)
        self._every(self._config.metrics_interval_s, push)

    def _numbers(self, replica: Replica) -> dict[Any, float]:
        capacity = replica.hardware.cache
        return {
            RUNNING_REQUESTS_KEY: replica.jobs,
            "sequences": replica.jobs,
            "waiting": len(replica.waiting),
            "waiting_tokens": replica.waiting_tokens,
            "prompt_tokens": replica.prompted,
            "kv_usage": min(1.0, replica.cached / capacity),
            "idle_s": 0.0 if replica.jobs else self._clock.now - replica.last_end,
            "start_s": replica.hardware.start_s,
        }

    def _decide(self) -> None:
        ready = self._fleet.ready
        for replica in ready:
            if replica not in self._stores:
                self._watch(replica)
        for replica in [each for each in self._stores if each.ended is not None]:
            del self._stores[replica]
            self._state.on_replica_stopped(_id(replica))
        self._state.update_running_replica_ids([_id(each) for each in ready])
        self._fleet.scale(self._state.get_decision_num_replicas(self._fleet.target))

    def _prune(self, store: InMemoryMetricsStore) -> None:
        store.prune_keys_and_compact_data(self._now - self._config.look_back_period_s)

    @property
    def _now(self) -> float:
        return EPOCH + self._clock.now


@contextmanager
def virtual_time(clock: Clock) -> Iterator[None]:
    """Serve's autoscaling goes by this clock meanwhile."""
    modules: tuple[Any, ...] = (serve_state, autoscaling_policy)
    before = [module.time for module in modules]
    fake = SimpleNamespace(time=lambda: EPOCH + clock.now, monotonic=lambda: EPOCH + clock.now)
    for module in modules:
        module.time = fake
    try:
        yield
    finally:
        for module, real in zip(modules, before, strict=True):
            module.time = real


def _id(replica: Replica) -> ReplicaID:
    return ReplicaID(unique_id=str(replica.name), deployment_id=DEPLOYMENT)
