"""From what Serve and the replicas say to the one state that users see. Pure: no calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, StartPhase

NO_REASON = "its replica could not be started: see its log"
"""Serve's own message is none for callers: it holds the trace."""


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What a replica says of its start.

    Attributes:
        phase: Where it is, ``ready`` at the end, ``failed`` if it gave up; ``served`` once it was seen running.
        progress: Share of the phase that is done, 0 to 1, or None.
        detail: In words.
        max_model_len: In tokens; known from the first ``ready`` on.
        start_s: Seconds from the constructor to ``ready``, of the last start that got there.
    """

    model: str
    digest: str
    phase: StartPhase | Literal["ready", "served", "failed"]
    progress: float | None = None
    detail: str | None = None
    max_model_len: int | None = None
    start_s: float | None = None


def following(last: PhaseReport | None, report: PhaseReport) -> PhaseReport:
    """The newest report, with what an earlier one of the same spec knew: another replica may have got further."""
    if last is None or last.digest != report.digest or report.phase == "ready":
        return report
    return replace(report, max_model_len=last.max_model_len, start_s=last.start_s)


def seen(report: PhaseReport | None, state: ModelState) -> PhaseReport | None:
    """The report, its ``ready`` turned into history once the model is: the next start is not this one's end."""
    if report is None or report.phase != "ready" or state.status != "ready":
        return report
    return replace(report, phase="served")


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
    deployment = app.deployments.get(spec.deployment_name) if app else None
    replicas = cast("dict[str, int]", deployment.replica_states) if deployment else {}
    if failure is not None:
        return ModelState("failed", detail=failure)
    if running := replicas.get("RUNNING", 0):
        return replace(known, status="ready", replicas=running)
    if app is not None and app.status == ApplicationStatus.DEPLOY_FAILED:
        detail = report.detail if report and report.phase == "failed" else None
        return replace(known, status="failed", detail=detail or NO_REASON)
    if any(replicas.get(state, 0) for state in ("STARTING", "UPDATING", "RECOVERING")):
        return _starting(report, known)
    if replicas.get("STOPPING", 0):
        return replace(known, status="draining")
    if deployment is not None and app is not None and spec.autoscaling.min_replicas == 0:
        return known if app.status == ApplicationStatus.RUNNING else _starting(None, known)
    return _starting(None, known)


def _starting(report: PhaseReport | None, known: ModelState) -> ModelState:
    if report is None or report.phase == "served":
        return replace(known, status="starting", phase="allocating")
    if report.phase == "ready":
        # Its engine answers; Serve has not looked yet.
        return replace(known, status="starting", phase="warming")
    if report.phase == "failed":
        detail = f"the last try failed: {report.detail}"
        return replace(known, status="starting", phase="allocating", detail=detail)
    return replace(known, status="starting", phase=report.phase, progress=report.progress, detail=report.detail)
