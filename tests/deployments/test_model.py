"""A model's Serve application."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.model_spec import ModelSpec
from deployments.model import application


@pytest.mark.parametrize(("replicas", "longest_s"), [(1, 0.1), (4, 0.2), (10, 0.5), (1000, 0.5)])
def test_serve_looks_for_a_free_place_as_often_as_so_many_replicas_allow(replicas: int, longest_s: float):
    spec = ModelSpec.model_validate({"id": "a", "engine": "scripted", "autoscaling": {"max_replicas": replicas}})
    bound: Any = application(spec, "weights", "gateway", None, "slates")
    config = bound._bound_deployment._deployment_config.request_router_config
    assert config.max_backoff_s == pytest.approx(longest_s)
    assert config.get_request_router_class().__name__ == "PowerOfTwoChoicesRequestRouter"
