"""A model's autoscaling as Serve takes it."""

from __future__ import annotations

import warnings

from ray.serve.config import AggregationFunction, AutoscalingConfig, AutoscalingPolicy

from app.domain.model_spec import ModelSpec
from deployments.autoscaling.serve import POLICY

METRICS_INTERVAL_S = 2.0
"""How often replicas and gateways tell the controller: each tells it of each model."""

LOOK_BACK_S = 5.0
"""A fifth of it is how often they look; the policy has windows of its own."""


def autoscaling_config(spec: ModelSpec) -> AutoscalingConfig:
    """The policy over the model's own numbers, its delays in its own hands: Serve's would come on top."""
    scaling = spec.autoscaling
    targets = {
        "sequences": scaling.target_ongoing_requests,
        "wait_s": scaling.target_wait_s,
        "kv_usage": scaling.target_kv_usage,
        "burst_window_s": scaling.burst_window_s,
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
        "downscale_to_zero_delay_s": scaling.downscale_to_zero_delay_s,
    }
    with warnings.catch_warnings():
        # Serve announces environment variables in place of the interval, and does not read them yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            metrics_interval_s=METRICS_INTERVAL_S,
            look_back_period_s=LOOK_BACK_S,
            # A queue that has just come shall not be thinned out by the emptiness before it.
            aggregation_function=AggregationFunction.MAX,
            upscale_delay_s=0,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
            policy=AutoscalingPolicy(policy_function=POLICY, policy_kwargs=targets),
        )
