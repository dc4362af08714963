"""Users, admins' keys and the audit log as OpenAI's administration API has them. For admins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from app.domain.audit_event import EventFilter
from app.domain.organization import EVENT_TYPES, admin_key_object, event_object, project_of, user_object
from app.errors import UnsupportedParameter
from app.openapi import request_body
from app.routers.cookies import no_store
from app.routers.dependencies import Admin, AdminActor, AdminReader, JsonBody, OldestFirstPageDep, PageDep, ServicesDep
from app.schemas.body import parse
from app.schemas.identity import ChangeUserRequest
from app.schemas.organization import CreateAdminKeyRequest, UpdateOrganizationUserRequest

BODIES = (UpdateOrganizationUserRequest, CreateAdminKeyRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(prefix="/organization", tags=["Organization"])
MAX_VALUES = 100
MAX_SECOND = 10**11
Value = Annotated[str, Field(max_length=254)]


def several(name: str) -> Callable[..., Awaitable[Sequence[str]]]:
    """A dependency: the values of a query parameter that can be repeated, with or without OpenAI's brackets."""

    async def values(
        bracketed: list[Value] = Query(default=[], alias=f"{name}[]", max_length=MAX_VALUES),
        plain: list[Value] = Query(default=[], alias=name, max_length=MAX_VALUES, include_in_schema=False),
    ) -> Sequence[str]:
        return [*bracketed, *plain]

    return values


@router.get("/users")
async def list_organization_users(
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    emails: Annotated[Sequence[str], Depends(several("emails"))],
) -> dict[str, Any]:
    """List everybody with an account, and service accounts; those with one of the e-mail addresses, if any is given."""
    return (await services.accounts.list(page, emails=emails, kind="account")).to_list(user_object)


@router.get("/users/{user_id}")
async def get_organization_user(user_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe one user."""
    return user_object(await services.accounts.get_account(user_id))


@router.post("/users/{user_id}", openapi_extra=request_body(UpdateOrganizationUserRequest))
@router.patch("/users/{user_id}", include_in_schema=False)
async def update_organization_user(
    user_id: str, services: ServicesDep, caller: Admin, actor: AdminActor, body: JsonBody
) -> dict[str, Any]:
    """Make a user an owner, who is an admin here, or a reader, who is not."""
    role = parse(UpdateOrganizationUserRequest, body).role
    user = await services.accounts.get_account(user_id)
    if role is not None:
        wanted = ChangeUserRequest(role="admin" if role == "owner" else "user")
        user = await services.accounts.change(user_id, wanted, caller, actor)
    return user_object(user)


@router.delete("/users/{user_id}")
async def delete_organization_user(
    user_id: str, services: ServicesDep, caller: Admin, actor: AdminActor
) -> dict[str, Any]:
    """Delete a user and all that is theirs."""
    await services.accounts.get_account(user_id)
    await services.accounts.delete(user_id, caller, actor)
    return {"id": user_id, "object": "organization.user.deleted", "deleted": True}


@router.get("/admin_api_keys")
async def list_admin_keys(services: ServicesDep, caller: AdminReader, page: OldestFirstPageDep) -> dict[str, Any]:
    """List the API keys that have the permission `admin`, the oldest first."""
    keys = await services.keys.list(page, scopes="admin")
    owners = await services.accounts.by_ids(key.owner for key in keys.items)
    return keys.to_list(lambda key: admin_key_object(key, owners.get(key.owner)))


@router.post("/admin_api_keys", openapi_extra=request_body(CreateAdminKeyRequest))
async def create_admin_key(
    response: Response, services: ServicesDep, caller: Admin, actor: AdminActor, body: JsonBody
) -> dict[str, Any]:
    """Make an API key of yours with every permission. `value` is shown in this answer and never again."""
    wanted = parse(CreateAdminKeyRequest, body).key()
    no_store(response)
    owner = await services.accounts.get(caller.subject)
    created = await services.keys.create(owner, wanted, caller, actor)
    key = await services.keys.get(created["id"])
    return {**admin_key_object(key, owner), "value": created["key"]}


@router.get("/admin_api_keys/{key_id}")
async def get_admin_key(key_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe an API key that has the permission `admin`."""
    key = await services.keys.get(key_id, scopes="admin")
    return admin_key_object(key, (await services.accounts.by_ids([key.owner])).get(key.owner))


@router.delete("/admin_api_keys/{key_id}")
async def revoke_admin_key(key_id: str, services: ServicesDep, caller: Admin, actor: AdminActor) -> dict[str, Any]:
    """Revoke an API key that has the permission `admin`."""
    await services.keys.revoke(key_id, caller, actor, scopes="admin")
    return {"id": key_id, "object": "organization.admin_api_key.deleted", "deleted": True}


async def _period(
    gt: int | None = Query(default=None, alias="effective_at[gt]", ge=0, le=MAX_SECOND),
    gte: int | None = Query(default=None, alias="effective_at[gte]", ge=0, le=MAX_SECOND),
    lt: int | None = Query(default=None, alias="effective_at[lt]", ge=0, le=MAX_SECOND),
    lte: int | None = Query(default=None, alias="effective_at[lte]", ge=0, le=MAX_SECOND),
) -> tuple[int | None, int | None]:
    """The first second and the one before which it ends. Events have milliseconds, which the API does not show."""
    since = [second for second in (gte, None if gt is None else gt + 1) if second is not None]
    until = [second for second in (lt, None if lte is None else lte + 1) if second is not None]
    return max(since, default=None), min(until, default=None)


@router.get("/audit_logs")
async def list_audit_logs(  # noqa: PLR0913, PLR0917 - one parameter a filter
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    period: Annotated[tuple[int | None, int | None], Depends(_period)],
    event_types: Annotated[Sequence[str], Depends(several("event_types"))],
    actor_ids: Annotated[Sequence[str], Depends(several("actor_ids"))],
    actor_emails: Annotated[Sequence[str], Depends(several("actor_emails"))],
    project_ids: Annotated[Sequence[str], Depends(several("project_ids"))],
    resource_ids: Annotated[Sequence[str], Depends(several("resource_ids"))],
    tenant_only: bool = False,
) -> dict[str, Any]:
    """List the acts that OpenAI has a name for. `/admin/audit-log` has all of them, with their origin and outcome."""
    if tenant_only:
        raise UnsupportedParameter("There are no tenants here. Leave `tenant_only` out.", param="tenant_only")
    types = EVENT_TYPES.intersection(event_types) if event_types else EVENT_TYPES
    since, until = period
    wanted = EventFilter(
        # None of those that are wanted: no act is called so.
        actions=sorted(types) or ("none",),
        actors=await services.accounts.ids_of(actor_emails) if actor_emails else None,
        actors_or_credentials=actor_ids,
        targets=resource_ids,
        projects=project_ids,
        since_ms=None if since is None else since * 1000,
        until_ms=None if until is None else until * 1000,
    )
    events = await services.audit.list(page, wanted)
    users = await services.accounts.by_ids(event.actor for event in events.items)
    projects = await services.organization.access.by_ids(project_of(event) for event in events.items)
    return events.to_list(lambda event: event_object(event, users, projects))
