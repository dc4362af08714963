"""Serve's handles to the models, one for each deployment."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from app.domain.model_spec import ModelSpec
from app.errors import ModelStarting


class Handles:
    """Makes handles when they are first asked for, and keeps them."""

    def __init__(self) -> None:
        self._handles: dict[str, DeploymentHandle[Any]] = {}

    async def of(self, spec: ModelSpec) -> DeploymentHandle[Any]:
        """The handle of a model, for methods that answer in several messages.

        Raises:
            ModelStarting: Serve does not know the model yet.
        """
        name = spec.deployment_name
        if name not in self._handles:
            try:
                handle = await asyncio.to_thread(serve.get_deployment_handle, name, spec.app_name)
            except RayServeException:
                raise ModelStarting(
                    f"The model {spec.id!r} is being set up. Try again shortly.", retry_after_s=2
                ) from None
            self._handles[name] = handle.options(stream=True)
        return self._handles[name]
