"""What is one's own: the profile and the API keys."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.domain.audit_event import Actor
from app.openapi import request_body
from app.routers.cookies import forget_tokens, no_store
from app.routers.dependencies import (
    AccountReader,
    AccountWriter,
    IdentifiedReader,
    IdentifiedWriter,
    JsonBody,
    OriginDep,
    PageDep,
    ServicesDep,
    SignedIn,
)
from app.schemas.body import parse
from app.schemas.identity import ChangeKeyRequest, ChangeProfileRequest, CreateKeyRequest
from app.services.accounts import describe

BODIES = (ChangeProfileRequest, CreateKeyRequest, ChangeKeyRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Identity"])
PROFILE = request_body(ChangeProfileRequest)
CHANGE_KEY = request_body(ChangeKeyRequest)


@router.get("/user/profile")
@router.get("/users/me", include_in_schema=False)
@router.get("/auth/me", include_in_schema=False)
@router.get("/protected-endpoint", include_in_schema=False)  # what Jan Server's documents try credentials on
async def get_profile(services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Who you are here."""
    return describe(await services.accounts.get(caller.subject))


@router.patch("/user/profile", openapi_extra=PROFILE)
@router.post("/user/profile", include_in_schema=False)
@router.patch("/users/me", include_in_schema=False)
@router.post("/users/me", include_in_schema=False)
async def change_profile(services: ServicesDep, caller: IdentifiedWriter, body: JsonBody) -> dict[str, Any]:
    """Change what you are called."""
    wanted = parse(ChangeProfileRequest, body)
    return describe(await services.accounts.rename(caller.subject, wanted.name))


@router.delete("/user/profile")
@router.delete("/users/me", include_in_schema=False)
async def delete_profile(
    response: Response, services: ServicesDep, caller: SignedIn, origin: OriginDep
) -> dict[str, Any]:
    """Delete your account and all that is yours; `removed` says what that was. Not by an API key."""
    removed = await services.accounts.delete(caller.subject, caller, Actor.of(caller, origin))
    forget_tokens(response, services.settings)
    return {"id": caller.subject, "object": "user.deleted", "deleted": True, "removed": removed}


@router.post("/user/api-keys", openapi_extra=request_body(CreateKeyRequest))
@router.post("/auth/api-keys", include_in_schema=False)
async def create_key(
    response: Response, services: ServicesDep, caller: AccountWriter, origin: OriginDep, body: JsonBody
) -> dict[str, Any]:
    """Make an API key. `key` is shown in this answer and never again."""
    wanted = parse(CreateKeyRequest, body)
    owner = await services.accounts.get(caller.subject)
    no_store(response)
    return await services.keys.create(owner, wanted, caller, Actor.of(caller, origin))


@router.get("/user/api-keys")
@router.get("/auth/api-keys", include_in_schema=False)
async def list_keys(services: ServicesDep, caller: AccountReader, page: PageDep) -> dict[str, Any]:
    """List your API keys."""
    found = await services.keys.list(page, owner=caller.subject)
    return found.to_list(lambda key: key.to_dict())


@router.get("/user/api-keys/{key_id}")
@router.get("/auth/api-keys/{key_id}", include_in_schema=False)
async def get_key(key_id: str, services: ServicesDep, caller: AccountReader) -> dict[str, Any]:
    """Describe one of your API keys."""
    return (await services.keys.get(key_id, owner=caller.subject)).to_dict()


@router.patch("/user/api-keys/{key_id}", openapi_extra=CHANGE_KEY)
@router.post("/user/api-keys/{key_id}", include_in_schema=False)
@router.patch("/auth/api-keys/{key_id}", include_in_schema=False)
@router.post("/auth/api-keys/{key_id}", include_in_schema=False)
async def change_key(
    key_id: str, services: ServicesDep, caller: AccountWriter, origin: OriginDep, body: JsonBody
) -> dict[str, Any]:
    """Change the name, permissions, expiry, models or limits of one of your API keys."""
    wanted = parse(ChangeKeyRequest, body)
    actor = Actor.of(caller, origin)
    return (await services.keys.change(key_id, wanted, caller, actor, owner=caller.subject)).to_dict()


@router.delete("/user/api-keys/{key_id}")
@router.delete("/auth/api-keys/{key_id}", include_in_schema=False)
async def revoke_key(key_id: str, services: ServicesDep, caller: AccountWriter, origin: OriginDep) -> dict[str, Any]:
    """Revoke one of your API keys: it opens nothing any more within seconds, on every replica."""
    await services.keys.revoke(key_id, caller, Actor.of(caller, origin), owner=caller.subject)
    return {"id": key_id, "object": "api_key.deleted", "deleted": True}
