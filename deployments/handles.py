"""Serve's handles to the models, one for each application."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from app.domain.model_spec import DEPLOYMENT, ModelSpec
from deployments.outcomes import Moved


class Handles:
    """Makes handles when they are first asked for, and keeps them."""

    def __init__(self) -> None:
        self._handles: dict[str, DeploymentHandle[Any]] = {}

    async def of(self, spec: ModelSpec) -> DeploymentHandle[Any]:
        """The handle of a model, for methods that answer in several messages.

        Raises:
            Moved: Serve does not know its application yet, or no more.
        """
        name = spec.app_name
        if name not in self._handles:
            try:
                handle = await asyncio.to_thread(serve.get_deployment_handle, DEPLOYMENT, name)
            except (KeyError, RayServeException, RayActorError):
                # Serve does not know it, or has no controller to ask at the moment.
                raise Moved from None
            self._handles.setdefault(name, handle.options(stream=True))
        return self._handles[name]

    def forget(self, spec: ModelSpec) -> None:
        """Make a new handle next time: its application is gone, and may come back."""
        self._handles.pop(spec.app_name, None)

    def keep(self, apps: Container[str]) -> None:
        """Forget the handles of all other applications."""
        self._handles = {name: handle for name, handle in self._handles.items() if name in apps}
