"""Projects, who is in them, and their keys: OpenAI's administration API. For admins."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from app.domain.organization import member_object, project_key_object, project_object
from app.errors import UnsupportedParameter
from app.openapi import request_body
from app.routers.dependencies import Admin, AdminActor, AdminReader, JsonBody, PageDep, ServicesDep
from app.schemas.body import parse
from app.schemas.organization import (
    AddProjectUserRequest,
    CreateProjectRequest,
    UpdateProjectRequest,
    UpdateProjectUserRequest,
)

BODIES = (CreateProjectRequest, UpdateProjectRequest, AddProjectUserRequest, UpdateProjectUserRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(prefix="/organization/projects", tags=["Organization"])


@router.get("")
async def list_projects(
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    include_archived: bool = False,
) -> dict[str, Any]:
    """List projects; the archived too, if they are asked for."""
    return (await services.organization.projects.list(page, archived=include_archived)).to_list(project_object)


@router.post("", openapi_extra=request_body(CreateProjectRequest))
async def create_project(services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Make a project."""
    return project_object(await services.organization.projects.create(parse(CreateProjectRequest, body).name, actor))


@router.get("/{project_id}")
async def get_project(project_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe one project."""
    return project_object(await services.organization.projects.get(project_id))


@router.post("/{project_id}", openapi_extra=request_body(UpdateProjectRequest))
@router.patch("/{project_id}", include_in_schema=False)
async def update_project(project_id: str, services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Change what a project is called."""
    name = parse(UpdateProjectRequest, body).name
    if name is None:
        return project_object(await services.organization.projects.get(project_id))
    return project_object(await services.organization.projects.rename(project_id, name, actor))


@router.post("/{project_id}/archive")
async def archive_project(project_id: str, services: ServicesDep, actor: AdminActor) -> dict[str, Any]:
    """Close a project for good: its keys open nothing any more, and nothing can be added to it."""
    return project_object(await services.organization.projects.archive(project_id, actor))


@router.get("/{project_id}/users")
async def list_project_users(
    project_id: str, services: ServicesDep, caller: AdminReader, page: PageDep
) -> dict[str, Any]:
    """List who is in a project; in the default one is everybody with an account."""
    people = await services.organization.project_users.list(project_id, page)
    return people.members.to_list(lambda member: member_object(member, people.users.get(member.user)))


@router.post("/{project_id}/users", openapi_extra=request_body(AddProjectUserRequest))
async def add_project_user(project_id: str, services: ServicesDep, actor: AdminActor, body: JsonBody) -> dict[str, Any]:
    """Put a user in a project, named by id or by e-mail address."""
    wanted = parse(AddProjectUserRequest, body)
    member, user = await services.organization.project_users.add(
        project_id, user_id=wanted.user_id, email=wanted.email, role=wanted.role, actor=actor
    )
    return member_object(member, user)


@router.get("/{project_id}/users/{user_id}")
async def get_project_user(project_id: str, user_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe somebody who is in a project."""
    return member_object(*await services.organization.project_users.get(project_id, user_id))


@router.post("/{project_id}/users/{user_id}", openapi_extra=request_body(UpdateProjectUserRequest))
@router.patch("/{project_id}/users/{user_id}", include_in_schema=False)
async def update_project_user(
    project_id: str, user_id: str, services: ServicesDep, actor: AdminActor, body: JsonBody
) -> dict[str, Any]:
    """Change the role of somebody in a project."""
    role = parse(UpdateProjectUserRequest, body).role
    people = services.organization.project_users
    if role is None:
        return member_object(*await people.get(project_id, user_id))
    return member_object(*await people.change(project_id, user_id, role, actor))


@router.delete("/{project_id}/users/{user_id}")
async def remove_project_user(
    project_id: str, user_id: str, services: ServicesDep, actor: AdminActor
) -> dict[str, Any]:
    """Take somebody out of a project; their keys of it are revoked."""
    await services.organization.project_users.remove(project_id, user_id, actor)
    return {"id": user_id, "object": "organization.project.user.deleted", "deleted": True}


@router.get("/{project_id}/api_keys")
async def list_project_keys(
    project_id: str,
    services: ServicesDep,
    caller: AdminReader,
    page: PageDep,
    owner_project_access: Literal["any", "active", "inactive"] = "any",
) -> dict[str, Any]:
    """List the API keys of a project."""
    if owner_project_access != "any":
        raise UnsupportedParameter(
            "Keys cannot be listed by their owner's access. Leave `owner_project_access` out; every key shows it.",
            param="owner_project_access",
        )
    await services.organization.access.get(project_id)
    keys = await services.keys.list(page, project=project_id)
    owners = await services.accounts.by_ids(key.owner for key in keys.items)
    roles = await services.organization.access.roles(project_id, owners.values())
    return keys.to_list(lambda key: project_key_object(key, owners.get(key.owner), roles.get(key.owner)))


@router.get("/{project_id}/api_keys/{key_id}")
async def get_project_key(project_id: str, key_id: str, services: ServicesDep, caller: AdminReader) -> dict[str, Any]:
    """Describe one API key of a project."""
    await services.organization.access.get(project_id)
    key = await services.keys.get(key_id, project=project_id)
    owners = await services.accounts.by_ids([key.owner])
    roles = await services.organization.access.roles(project_id, owners.values())
    return project_key_object(key, owners.get(key.owner), roles.get(key.owner))


@router.delete("/{project_id}/api_keys/{key_id}")
async def revoke_project_key(
    project_id: str, key_id: str, services: ServicesDep, caller: Admin, actor: AdminActor
) -> dict[str, Any]:
    """Revoke an API key of a project."""
    await services.organization.access.get(project_id)
    await services.keys.revoke(key_id, caller, actor, project=project_id)
    return {"id": key_id, "object": "organization.project.api_key.deleted", "deleted": True}
