"""Everybody's users and keys, and the log of who changed what: for admins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app.domain.audit_event import Actor, EventFilter
from app.errors import InvalidRequest
from app.openapi import request_body
from app.routers.cookies import no_store
from app.routers.dependencies import Admin, AdminReader, JsonBody, OriginDep, PageDep, ServicesDep
from app.schemas.body import parse
from app.schemas.identity import AddUserRequest, AdminCreateKeyRequest, ChangeKeyRequest, ChangeUserRequest
from app.services.accounts import describe_to_admin

BODIES = (AddUserRequest, ChangeUserRequest, AdminCreateKeyRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Admin"])
CHANGE_USER = request_body(ChangeUserRequest)
CHANGE_KEY = request_body(ChangeKeyRequest)
Filter = Annotated[str | None, Query(max_length=254)]


@router.get("/admin/users")
async def list_users(
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    role: Literal["admin", "user", "guest"] | None = None,
    email: Filter = None,
) -> dict[str, Any]:
    """List users, of a role or of an e-mail address if one is given."""
    return (await services.accounts.list(page, role=role, emails=() if email is None else (email,))).to_list(
        describe_to_admin
    )


@router.post("/admin/users", openapi_extra=request_body(AddUserRequest))
async def add_user(services: ServicesDep, caller: Admin, origin: OriginDep, body: JsonBody) -> dict[str, Any]:
    """Add somebody who gets API keys from you and does not sign in."""
    return describe_to_admin(await services.accounts.add(parse(AddUserRequest, body), Actor.of(caller, origin)))


@router.get("/admin/users/{user_id}")
async def get_user(user_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe one user."""
    return describe_to_admin(await services.accounts.get(user_id))


@router.patch("/admin/users/{user_id}", openapi_extra=CHANGE_USER)
@router.post("/admin/users/{user_id}", include_in_schema=False)
async def change_user(
    user_id: str, services: ServicesDep, caller: Admin, origin: OriginDep, body: JsonBody
) -> dict[str, Any]:
    """Change what a user is called, is, may and gets. Who is disabled is signed out; their keys open nothing."""
    wanted = parse(ChangeUserRequest, body)
    plans = services.policies.current.table.plans
    if wanted.plan is not None and wanted.plan not in plans:
        known = ", ".join(plans) or "none"
        raise InvalidRequest(f"There is no plan {wanted.plan!r}. Plans of the limits in force: {known}.", param="plan")
    return describe_to_admin(await services.accounts.change(user_id, wanted, caller, Actor.of(caller, origin)))


@router.post("/admin/users/{user_id}/revoke")
async def revoke_credentials(user_id: str, services: ServicesDep, caller: Admin, origin: OriginDep) -> dict[str, Any]:
    """End every session and every API key of a user."""
    ended = await services.accounts.revoke_all(user_id, Actor.of(caller, origin))
    return {"id": user_id, "object": "user.credentials_revoked", "revoked": ended}


@router.delete("/admin/users/{user_id}")
async def delete_user(user_id: str, services: ServicesDep, caller: Admin, origin: OriginDep) -> dict[str, Any]:
    """Delete a user and all that is theirs; `removed` says what that was."""
    removed = await services.accounts.delete(user_id, caller, Actor.of(caller, origin))
    return {"id": user_id, "object": "user.deleted", "deleted": True, "removed": removed}


@router.get("/admin/api-keys")
async def list_all_keys(
    services: ServicesDep, caller: AdminReader, page: PageDep, owner: Filter = None
) -> dict[str, Any]:
    """List everybody's API keys, or one owner's."""
    return (await services.keys.list(page, owner=owner)).to_list(lambda key: key.to_dict())


@router.post("/admin/api-keys", openapi_extra=request_body(AdminCreateKeyRequest))
async def create_key_for(
    response: Response, services: ServicesDep, caller: Admin, origin: OriginDep, body: JsonBody
) -> dict[str, Any]:
    """Make an API key for a user. `key` is shown in this answer and never again."""
    wanted = parse(AdminCreateKeyRequest, body)
    owner = await services.accounts.get(wanted.owner)
    no_store(response)
    return await services.keys.create(owner, wanted, caller, Actor.of(caller, origin), wanted.project_id)


@router.get("/admin/api-keys/{key_id}")
async def get_any_key(key_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe one API key."""
    return (await services.keys.get(key_id)).to_dict()


@router.patch("/admin/api-keys/{key_id}", openapi_extra=CHANGE_KEY)
@router.post("/admin/api-keys/{key_id}", include_in_schema=False)
async def change_any_key(
    key_id: str, services: ServicesDep, caller: Admin, origin: OriginDep, body: JsonBody
) -> dict[str, Any]:
    """Change the name, permissions, expiry, models or limits of anybody's API key."""
    wanted = parse(ChangeKeyRequest, body)
    return (await services.keys.change(key_id, wanted, caller, Actor.of(caller, origin))).to_dict()


@router.delete("/admin/api-keys/{key_id}")
async def revoke_any_key(key_id: str, services: ServicesDep, caller: Admin, origin: OriginDep) -> dict[str, Any]:
    """Revoke anybody's API key."""
    await services.keys.revoke(key_id, caller, Actor.of(caller, origin))
    return {"id": key_id, "object": "api_key.deleted", "deleted": True}


@router.get("/admin/audit-log")
async def read_audit_log(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    actor: Filter = None,
    target: Filter = None,
    action: Filter = None,
    since: int | None = Query(default=None, ge=0, le=10**11, description="Unix seconds."),
    until: int | None = Query(default=None, ge=0, le=10**11, description="Unix seconds."),
) -> dict[str, Any]:
    """List who did what, to whom, when and from where; newest first."""
    wanted = EventFilter(
        actions=() if action is None else (action,),
        actors=None if actor is None else (actor,),
        targets=() if target is None else (target,),
        since_ms=None if since is None else since * 1000,
        until_ms=None if until is None else until * 1000,
    )
    found = await services.audit.list(page, wanted)
    return found.to_list(lambda event: event.to_dict())
