"""Models as resources: added, changed and removed, started and stopped, fetched. For admins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query

from app.domain.audit_event import Actor, AuditAction
from app.domain.model_spec import ModelSpec
from app.openapi import request_body
from app.routers.dependencies import AdminActor, AdminReader, JsonBody, ServicesDep
from app.routers.models import describe
from app.schemas import model_name
from app.schemas.model_name import ModelNameRequest
from app.services import Services
from app.services.catalog import CatalogEntry

BODIES = (ModelSpec, ModelNameRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Models"])
NAMED = request_body(ModelNameRequest)
SPEC = request_body(ModelSpec)


@router.post("/models", openapi_extra=SPEC)
async def add_model(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Add a model by its spec: the keys of the YAML files. It starts, or sleeps if it may."""
    return await _done(services, actor, "model.added", await services.models.add(body))


@router.post("/models/start", openapi_extra=NAMED)
async def start_named_model(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Let the model named in the body run, and bring it up now."""
    return await _done(services, actor, "model.started", await services.models.start(model_name.parse(body)))


@router.post("/models/stop", openapi_extra=NAMED)
async def stop_named_model(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Let the model named in the body run no more; requests under way end as they would have."""
    return await _done(services, actor, "model.stopped", await services.models.stop(model_name.parse(body)))


@router.post("/models/pull", openapi_extra=NAMED)
async def pull_model(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Fetch the weights of the model named in the body now; `pull` of the model shows how far that is."""
    return await _done(services, actor, "model.pulled", await services.models.pull(model_name.parse(body)))


@router.get("/models/download/{model:path}")
async def download_model(model: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Fetch a model's weights now, as Jan asks for it."""
    described = await _done(services, actor, "model.pulled", await services.models.pull(model))
    return {"message": f"Starting download {model}", **described}


@router.get("/models/{model:path}/logs")
async def read_model_logs(
    model: str, services: ServicesDep, caller: AdminReader, lines: int = Query(default=200, ge=1, le=5000)
) -> dict[str, Any]:
    """The end of what the model's replicas wrote, those that failed included."""
    logs = await services.models.logs(model, lines)
    return {"object": "list", "data": [{"replica": log.replica, "lines": log.lines} for log in logs]}


@router.post("/models/{model:path}/start")
async def start_model(model: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Let a model run, and bring it up now."""
    return await _done(services, actor, "model.started", await services.models.start(model))


@router.post("/models/{model:path}/stop")
async def stop_model(model: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Let a model run no more; requests under way end as they would have."""
    return await _done(services, actor, "model.stopped", await services.models.stop(model))


@router.post("/models/{model:path}/pull")
async def pull_one_model(model: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Fetch a model's weights now."""
    return await _done(services, actor, "model.pulled", await services.models.pull(model))


@router.patch("/models/{model:path}", openapi_extra=SPEC)
async def change_model(model: str, services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Change fields of a model's spec; null brings one back to its default.

    What runs goes on until the new version is ready, or, where both do not fit, until it has made room.
    """
    return await _done(services, actor, "model.updated", await services.models.change(model, body))


@router.post("/models/{model:path}", openapi_extra=SPEC)
async def update_model(model: str, services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """The same as PATCH."""
    return await _done(services, actor, "model.updated", await services.models.change(model, body))


@router.delete("/models/{model:path}")
async def remove_model(model: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Remove a model; requests under way end as they would have."""
    entry = await services.models.remove(model)
    await services.audit.record("model.deleted", actor, entry.spec.id)
    return {"id": entry.spec.id, "object": "model.deleted", "deleted": True}


async def _done(services: Services, actor: Actor, action: AuditAction, entry: CatalogEntry) -> dict[str, Any]:
    await services.audit.record(action, actor, entry.spec.id)
    return _with_spec(entry)


def _with_spec(entry: CatalogEntry) -> dict[str, Any]:
    return {**describe(entry), "spec": entry.spec.model_dump(mode="json")}
