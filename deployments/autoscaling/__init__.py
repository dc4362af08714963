"""How many replicas a model has: a policy over the work that its replicas report, run by Serve's controller."""

from deployments.autoscaling.config import autoscaling_config
from deployments.autoscaling.serve import METRICS, WorkPolicy

__all__ = ["METRICS", "WorkPolicy", "autoscaling_config"]
