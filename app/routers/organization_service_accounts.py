"""Programs of a project: OpenAI's administration API. For admins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.domain.organization import service_account_key_object, service_account_object
from app.openapi import request_body
from app.routers.cookies import no_store
from app.routers.dependencies import Admin, AdminActor, AdminReader, JsonBody, PageDep, ServicesDep
from app.schemas.body import parse
from app.schemas.organization import (
    CreateServiceAccountKeyRequest,
    CreateServiceAccountRequest,
    UpdateServiceAccountRequest,
)

BODIES = (CreateServiceAccountRequest, UpdateServiceAccountRequest, CreateServiceAccountKeyRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(prefix="/organization/projects/{project_id}/service_accounts", tags=["Organization"])


@router.get("")
async def list_service_accounts(
    project_id: str, services: ServicesDep, caller: AdminReader, page: PageDep
) -> dict[str, Any]:
    """List the service accounts of a project."""
    return (await services.organization.service_accounts.list(project_id, page)).to_list(service_account_object)


@router.post("", openapi_extra=request_body(CreateServiceAccountRequest))
async def create_service_account(  # noqa: PLR0913, PLR0917 - what it asks for
    project_id: str, response: Response, services: ServicesDep, caller: Admin, actor: AdminActor, body: JsonBody
) -> dict[str, Any]:
    """Make a service account and an API key of it, whose `value` is shown in this answer and never again."""
    wanted = parse(CreateServiceAccountRequest, body)
    no_store(response)
    account, key = await services.organization.service_accounts.create(
        project_id, wanted.name, wanted.key(), caller, actor
    )
    return {**service_account_object(account), "api_key": key and service_account_key_object(key)}


@router.get("/{account_id}")
async def get_service_account(
    project_id: str, account_id: str, services: ServicesDep, caller: AdminReader
) -> dict[str, Any]:
    """Describe one service account."""
    return service_account_object(await services.organization.service_accounts.get(project_id, account_id))


@router.post("/{account_id}", openapi_extra=request_body(UpdateServiceAccountRequest))
@router.patch("/{account_id}", include_in_schema=False)
async def update_service_account(
    project_id: str, account_id: str, services: ServicesDep, actor: AdminActor, body: JsonBody
) -> dict[str, Any]:
    """Change what a service account is called."""
    name = parse(UpdateServiceAccountRequest, body).name
    accounts = services.organization.service_accounts
    if name is None:
        return service_account_object(await accounts.get(project_id, account_id))
    return service_account_object(await accounts.rename(project_id, account_id, name, actor))


@router.delete("/{account_id}")
async def delete_service_account(
    project_id: str, account_id: str, services: ServicesDep, caller: Admin, actor: AdminActor
) -> dict[str, Any]:
    """Delete a service account and its API keys."""
    await services.organization.service_accounts.delete(project_id, account_id, caller, actor)
    return {"id": account_id, "object": "organization.project.service_account.deleted", "deleted": True}


@router.post("/{account_id}/api_keys", openapi_extra=request_body(CreateServiceAccountKeyRequest))
async def create_service_account_key(  # noqa: PLR0913, PLR0917 - what it asks for
    project_id: str,
    account_id: str,
    response: Response,
    services: ServicesDep,
    caller: Admin,
    actor: AdminActor,
    body: JsonBody,
) -> dict[str, Any]:
    """Make another API key of a service account. `value` is shown in this answer and never again."""
    wanted = parse(CreateServiceAccountKeyRequest, body).key()
    no_store(response)
    accounts = services.organization.service_accounts
    return service_account_key_object(await accounts.add_key(project_id, account_id, wanted, caller, actor))
