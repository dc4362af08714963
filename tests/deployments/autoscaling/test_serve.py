"""The policy in Serve's hands: Serve's own code builds the context, calls it and bounds it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray.serve._private.autoscaling_state as serve_state
from ray.serve import autoscaling_policy
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    ReplicaMetricReport,
    TimeStampedValue,
)
from ray.serve._private.config import DeploymentConfig
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig

from app.domain.model_spec import Autoscaling, ModelSpec
from deployments.autoscaling import autoscaling_config
from deployments.autoscaling.serve import METRICS

DEPLOYMENT = DeploymentID(name="replica", app_name="model-a")
SCALING = Autoscaling(min_replicas=0, max_replicas=5, target_ongoing_requests=10, downscale_to_zero_delay_s=30)
IDLE = {**dict.fromkeys(METRICS, 0.0), "idle_s": 29.0}


@pytest.fixture(autouse=True)
def serve_as_it_was() -> Iterator[None]:
    """Undo what the policy changes in Serve's controller: here it is the tests' own process."""
    before = autoscaling_policy._get_cold_start_scale_up_replicas
    yield
    autoscaling_policy._get_cold_start_scale_up_replicas = before


class Controller:
    """Serve's own state of one deployment."""

    def __init__(self, config: AutoscalingConfig) -> None:
        self.state = serve_state.DeploymentAutoscalingState(DEPLOYMENT)
        self.state._config = config
        self.state._policy = _apply_autoscaling_config(serve_state._resolve_policy_callable(config.policy))
        self.state._policy_state = {}
        self.now = serve_state.time.time()

    def replicas(self, *names: str) -> None:
        self.state.update_running_replica_ids([ReplicaID(name, DEPLOYMENT) for name in names])

    def told(self, replica: str, numbers: dict[str, float]) -> None:
        self.now += 0.01
        metrics = {name: [TimeStampedValue(self.now, value)] for name, value in numbers.items()}
        self.state.record_request_metrics_for_replica(
            ReplicaMetricReport(ReplicaID(replica, DEPLOYMENT), metrics, self.now)
        )

    def queued(self, number: int) -> None:
        self.now += 0.01
        report = HandleMetricReport(
            deployment_id=DEPLOYMENT,
            handle_id="gateway",
            actor_id="gateway",
            handle_source=DeploymentHandleSource.REPLICA,
            queued_requests=[TimeStampedValue(self.now, number)],
            metrics={},
            timestamp=self.now,
        )
        self.state.record_request_metrics_for_handle(report)

    def decide(self, target: int) -> int:
        return self.state.get_decision_num_replicas(target)


def config(scaling: Autoscaling = SCALING) -> AutoscalingConfig:
    return autoscaling_config(ModelSpec(id="a", engine="scripted", autoscaling=scaling))


def test_from_zero_it_wakes_as_many_as_the_queue_needs():
    controller = Controller(config())
    assert controller.decide(0) == 0
    controller.queued(34)
    assert controller.decide(0) == 4


def test_more_than_the_most_are_never_woken():
    controller = Controller(config())
    controller.queued(1000)
    assert controller.decide(0) == 5


def test_others_policies_wake_as_serve_has_it():
    Controller(config())
    theirs = Controller(AutoscalingConfig(min_replicas=0, max_replicas=5, target_ongoing_requests=10))
    theirs.queued(34)
    assert theirs.decide(0) == 1


def test_the_last_one_goes_by_its_own_account_and_at_once():
    controller = Controller(config())
    controller.replicas("one")
    controller.told("one", IDLE)
    assert controller.decide(1) == 1
    controller.told("one", IDLE | {"idle_s": 30.0})
    assert controller.decide(1) == 0


def test_a_replica_that_has_not_spoken_yet_is_kept():
    controller = Controller(config())
    controller.replicas("one", "two")
    controller.told("one", IDLE | {"idle_s": 300.0})
    assert controller.decide(1) == 1


def test_a_policy_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    controller = Controller(config())
    controller.replicas("one")
    controller.told("one", IDLE | {"sequences": "many"})  # type: ignore[dict-item]
    assert controller.decide(3) == 3
    controller.told("one", IDLE | {"sequences": 1.0})
    assert controller.decide(3) == 3


def test_the_delays_of_the_file_are_the_policy_s_and_not_serve_s_too():
    made = config(Autoscaling(upscale_delay_s=7, downscale_delay_s=8, downscale_to_zero_delay_s=9))
    assert (made.upscale_delay_s, made.downscale_delay_s, made.downscale_to_zero_delay_s) == (0, 0, 0)
    kwargs = made.policy.policy_kwargs
    assert [kwargs[name] for name in ("upscale_delay_s", "downscale_delay_s", "downscale_to_zero_delay_s")] == [7, 8, 9]


def test_the_policy_runs_where_nothing_of_the_project_can_be_imported(tmp_path: Path):
    (tmp_path / "sent").write_bytes(DeploymentConfig(autoscaling_config=config()).to_proto_bytes())
    code = """
import pathlib, sys, warnings
warnings.simplefilter("ignore")
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve._private.config import DeploymentConfig
scaling = DeploymentConfig.from_proto_bytes(pathlib.Path("sent").read_bytes()).autoscaling_config
policy = _resolve_policy_callable(scaling.policy)
print(type(policy).__name__, sorted({"app", "deployments", "torch", "vllm"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "WorkPolicy []", done.stderr[-2000:]
