"""The models' applications on Serve: seen, deployed, deleted, woken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from ray import serve
from ray.serve import RunTarget
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, ServeStatus

from app.domain.model_spec import DEPLOYMENT, ModelSpec, app_name_of, model_of
from deployments.model import application
from deployments.reports import PhaseReport


@dataclass(frozen=True, slots=True)
class AppView:
    """One of a model's applications, as Serve sees it.

    Attributes:
        running: Replicas that answer.
        pending: Replicas on their way up.
        stopping: Replicas on their way down.
        gave_up: Whether Serve starts no replica any more although one is wanted, since none could be started.
    """

    status: ApplicationStatus
    running: int = 0
    pending: int = 0
    stopping: int = 0
    gave_up: bool = False

    @property
    def going(self) -> bool:
        """Whether it is being deleted."""
        return self.status in (ApplicationStatus.DELETING, ApplicationStatus.NOT_STARTED)

    @property
    def has_replicas(self) -> bool:
        """Whether there is any, going or not."""
        return self.running + self.pending + self.stopping > 0

    @property
    def failed(self) -> bool:
        """Whether Serve gave it up."""
        if self.running:
            return False
        # Of an application that was up with no replica, as one that sleeps is, Serve never says that it failed.
        return self.status == ApplicationStatus.DEPLOY_FAILED or (self.gave_up and not self.pending)


def views(status: ServeStatus) -> dict[str, dict[str, AppView]]:
    """Every model's applications, by model and digest."""
    found: dict[str, dict[str, AppView]] = {}
    for name, app in status.applications.items():
        if (named := model_of(name)) is not None:
            found.setdefault(named[0], {})[named[1]] = _view(app)
    return found


def _view(app: ApplicationStatusOverview) -> AppView:
    deployment = app.deployments.get(DEPLOYMENT)
    replicas = cast("dict[str, int]", deployment.replica_states) if deployment else {}
    pending = sum(replicas.get(state, 0) for state in ("STARTING", "UPDATING", "RECOVERING"))
    gave_up = (
        deployment is not None
        and deployment.status == DeploymentStatus.UNHEALTHY
        and deployment.status_trigger == DeploymentStatusTrigger.REPLICA_STARTUP_FAILED
    )
    return AppView(app.status, replicas.get("RUNNING", 0), pending, replicas.get("STOPPING", 0), gave_up)


class Applications:
    """Serve, as the manager uses it. Its calls block, so each runs in a thread.

    Args:
        weights_dir: Where replicas keep their weights, on whatever node they are.
        manager_app: The application that replicas report to.
        link_host: See ``Settings``.
        slates_dir: Where replicas have their slates, on whatever node they are.
        prewarm: Whether replicas start from their node's pre-warmed server, where it has one.
    """

    def __init__(
        self, weights_dir: str, manager_app: str, link_host: str | None, slates_dir: str, *, prewarm: bool
    ) -> None:
        self._weights_dir = weights_dir
        self._manager_app = manager_app
        self._link_host = link_host
        self._slates_dir = slates_dir
        self._prewarm = prewarm

    async def views(self) -> dict[str, dict[str, AppView]]:
        """Every model's applications, by model and digest."""
        return views(await asyncio.to_thread(serve.status))

    async def deploy(self, spec: ModelSpec) -> None:
        """Bring an application up; where it runs already, change in place what can be."""
        target = application(
            spec, self._weights_dir, self._manager_app, self._link_host, self._slates_dir, prewarm=self._prewarm
        )
        await asyncio.to_thread(
            serve.run_many,
            [RunTarget(target, name=spec.app_name, route_prefix=None)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    async def delete(self, app_name: str) -> None:
        """Take an application down; its replicas end what they have begun."""
        await asyncio.to_thread(serve.delete, app_name, _blocking=False)

    async def describe(self, id_: str, digest: str) -> tuple[dict[str, Any], PhaseReport]:
        """Ask a replica what it runs and how its start was; wakes a model that sleeps."""
        handle = await asyncio.to_thread(serve.get_deployment_handle, DEPLOYMENT, app_name_of(id_, digest))
        return await handle.describe.remote()
