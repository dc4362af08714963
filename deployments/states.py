"""From what Serve and the replicas say to the one state that users see. Pure: no calls."""

from __future__ import annotations

from dataclasses import replace

from ray.serve.schema import ApplicationStatus

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState
from deployments.applications import AppView
from deployments.reports import PhaseReport

NO_REASON = "its replica could not be started: see its log"
"""Serve's own message is none for callers: it holds the trace."""


def seen(report: PhaseReport | None, state: ModelState) -> PhaseReport | None:
    """The report, its ``ready`` turned into history once the model is: the next start is not this one's end."""
    if report is None or report.phase != "ready" or state.status != "ready":
        return report
    return replace(report, phase="served")


def state_of(spec: ModelSpec, app: AppView | None, report: PhaseReport | None) -> ModelState:
    """How the application of a spec is doing.

    Args:
        spec: What it runs.
        app: The application, or None if there is none yet.
        report: The last word of a replica of it.
    """
    known = ModelState(max_model_len=report.max_model_len if report else None, start=report.times if report else None)
    if app is not None and app.going and app.has_replicas:
        return replace(known, status="draining")
    if app is None or app.going:
        return _starting(None, known)
    if app.running:
        return replace(known, status="ready", replicas=app.running)
    if app.failed:
        detail = report.detail if report and report.phase == "failed" else None
        return replace(known, status="failed", detail=detail or NO_REASON)
    if app.pending:
        return _starting(report, known)
    if app.stopping:
        return replace(known, status="draining")
    if spec.autoscaling.min_replicas == 0:
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
