"""Limits: how one's own stand, and for admins the table that they come from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError

from app.domain.limit_table import LimitTable
from app.domain.limits import Bound, Standing
from app.domain.usage import NANO
from app.openapi import request_body
from app.routers.dependencies import AdminActor, AdminReader, IdentifiedReader, JsonBody, ServicesDep
from app.schemas.problem import refusal
from app.services import Services

BODIES = (LimitTable,)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Limits"])


@router.get("/limits")
async def show_limits(services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Tell which limits you are held to, and what is left of each. Looking costs one request like any other."""
    standings = await services.admission.standings(caller)
    return {"object": "list", "data": [describe(standing, services.settings.currency) for standing in standings]}


@router.get("/admin/limits")
async def show_table(services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Show the limits in force, and whether they are the file's or an admin's."""
    return _described(services)


@router.put("/admin/limits", openapi_extra=request_body(LimitTable))
@router.post("/admin/limits", include_in_schema=False)
async def set_table(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Put other limits in force, for everybody and at once; what was used so far still counts."""
    try:
        table = LimitTable.model_validate(body)
    except ValidationError as error:
        raise refusal(error) from None
    await services.policies.set(table, actor)
    return _described(services)


@router.delete("/admin/limits")
async def reset_table(services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Go back to the limits of the file."""
    await services.policies.reset(actor)
    return {"id": "limits", "object": "limits.deleted", "deleted": True}


def _described(services: Services) -> dict[str, Any]:
    policies = services.policies
    return {"object": "limits", "origin": policies.origin, "limits": policies.current.table.to_dict()}


def describe(standing: Standing, currency: str) -> dict[str, Any]:
    """One limit, as its caller sees it; spend in the currency's units."""
    bound, limit = standing.bound, standing.bound.limit
    part = NANO if limit.what == "spend" else 1
    return {
        "object": "limit",
        "limit": limit.what,
        "per": limit.per,
        "held_by": _holder(bound),
        "count": limit.count / part if part > 1 else limit.count,
        "burst": limit.burst,
        "remaining": standing.remaining / part if part > 1 else standing.remaining,
        "reset_at": int(standing.reset_at) if limit.per else None,
        "currency": currency if limit.what == "spend" else None,
    }


def _holder(bound: Bound) -> str:
    kind, _, _ = bound.subject.partition(":")
    scope = bound.name.partition(":")[0]
    if kind == "user" and scope != "all":
        return scope
    return {"ip": "address"}.get(kind, kind)
