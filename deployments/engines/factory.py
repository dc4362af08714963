"""Which engine a spec asks for."""

from __future__ import annotations

from app.domain.model_spec import ModelSpec
from deployments.engines.base import Engine


def create_engine(spec: ModelSpec, weights: str | None) -> Engine:
    """An engine, not started yet.

    Args:
        spec: The model.
        weights: Local path or hub id; None for an engine that needs none.
    """
    # Imported here: the gateway's processes never pay for an engine's imports.
    if spec.engine == "scripted":
        from deployments.engines.scripted import ScriptedEngine

        return ScriptedEngine(spec)
    from deployments.engines.vllm import VllmEngine

    assert weights is not None
    return VllmEngine(spec, weights)
