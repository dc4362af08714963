"""From what Serve and the replicas say to the one state that users see. Pure: no calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, StartPhase


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What a replica says of its start.

    Attributes:
        phase: Where it is, ``ready`` at the end, ``failed`` if it gave up.
        progress: Share of the phase that is done, 0 to 1, or None.
        detail: In words.
        max_model_len: In tokens; with ``ready``.
        start_s: Seconds from the constructor to ``ready``.
    """

    model: str
    digest: str
    phase: StartPhase | Literal["ready", "failed"]
    progress: float | None = None
    detail: str | None = None
    max_model_len: int | None = None
    start_s: float | None = None


def state_of(
    spec: ModelSpec, app: ApplicationStatusOverview | None, report: PhaseReport | None, failure: str | None
) -> ModelState:
    """A model's state.

    Args:
        spec: What it should be.
        app: Its application as Serve sees it, or None if there is none yet.
        report: The last word of a replica of it.
        failure: Why it could not be deployed, if it could not.
    """
    if report is not None and report.digest != spec.digest:
        report = None
    known = ModelState(
        max_model_len=report.max_model_len if report else None, start_s=report.start_s if report else None
    )
    if failure is not None:
        return ModelState("failed", detail=failure)
    deployment = app.deployments.get(spec.deployment_name) if app else None
    if app is None or deployment is None:
        return ModelState("starting", "allocating")
    replicas = cast("dict[str, int]", deployment.replica_states)
    running = replicas.get("RUNNING", 0)
    if running:
        return replace(known, status="ready", replicas=running)
    if app.status == ApplicationStatus.DEPLOY_FAILED:
        detail = report.detail if report and report.phase == "failed" else deployment.message
        return ModelState("failed", detail=detail or "its replica could not be started")
    if any(replicas.get(state, 0) for state in ("STARTING", "UPDATING", "RECOVERING")):
        return _starting(report, known)
    if replicas.get("STOPPING", 0):
        return replace(known, status="draining")
    if spec.autoscaling.min_replicas == 0 and app.status == ApplicationStatus.RUNNING:
        return known
    return replace(known, status="starting", phase="allocating")


def _starting(report: PhaseReport | None, known: ModelState) -> ModelState:
    if report is None or report.phase == "ready":
        return replace(known, status="starting", phase="allocating")
    if report.phase == "failed":
        return ModelState("starting", "allocating", detail=f"the last try failed: {report.detail}")
    return ModelState("starting", report.phase, report.progress, report.detail)
