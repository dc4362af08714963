"""Going on with a session, ending it, and coming in as a guest."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.refresh_token import PREFIX
from app.error_handlers import render
from app.errors import AuthenticationFailed, InvalidRequest
from app.openapi import request_body
from app.routers.cookies import forget_tokens, keep_tokens, no_store
from app.routers.dependencies import (
    PUBLIC,
    REFRESH_COOKIE,
    OriginDep,
    ServicesDep,
    bearer_of,
    cookie_of,
    credential_of,
    is_from_own_page,
    optional_json_body,
)
from app.schemas.body import parse
from app.schemas.identity import LogoutRequest, RefreshRequest
from app.services import Services
from app.services.sessions import TokenPair
from app.settings import Settings

BODIES = (RefreshRequest, LogoutRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Identity"], dependencies=[PUBLIC])
keys = APIRouter(tags=["Identity"], dependencies=[PUBLIC])


@router.post("/auth/refresh", openapi_extra=request_body(RefreshRequest, required=False))
@router.post("/auth/refresh-token", include_in_schema=False)
@router.get("/auth/refresh-token", include_in_schema=False)
async def refresh(request: Request, response: Response, services: ServicesDep, origin: OriginDep) -> dict[str, Any]:
    """Get a new pair of tokens for a refresh token: as Bearer, in the body, or in the cookie of a sign-in.

    A refresh token is for one use; showing a used one again ends the session.
    """
    token = bearer_of(request) or await _token_in_body(request) or cookie_of(request, REFRESH_COOKIE)
    if token is None:
        raise AuthenticationFailed(
            "No refresh token. Send it as 'Authorization: Bearer <refresh token>' or as `refresh_token`.",
            code="missing_credentials",
        )
    return _given(request, response, await services.sessions.refresh(token, origin), services.settings)


@router.post("/auth/guest-login")
async def log_in_as_guest(
    request: Request, response: Response, services: ServicesDep, origin: OriginDep
) -> dict[str, Any]:
    """Come in without an account. Who signs in later with these tokens keeps what is theirs."""
    return _given(request, response, await services.accounts.add_guest(origin), services.settings)


@router.post("/auth/logout", openapi_extra=request_body(LogoutRequest, required=False), response_model=None)
async def log_out(
    request: Request, response: Response, services: ServicesDep, origin: OriginDep
) -> dict[str, Any] | Response:
    """End the session that a token belongs to; with `all` and an access token, every session of its user."""
    body = parse(LogoutRequest, await _body(request))
    try:
        session_id = await _end(request, body, services, origin)
    except AuthenticationFailed as error:
        # Cookies that count no more have to go as well: scripts cannot see them, and they are refused everywhere.
        response = render(error)
        _forget(request, response, services.settings)
        return response
    _forget(request, response, services.settings)
    return {"id": session_id, "object": "session.deleted", "deleted": True}


async def _end(request: Request, body: LogoutRequest, services: Services, origin: Origin) -> str:
    credential = credential_of(request)
    token = body.refresh_token or (cookie_of(request, REFRESH_COOKIE) if credential is None else None)
    if token is None and credential is not None and credential.startswith(PREFIX):
        token = credential
    if token is not None and not body.all:
        return await services.sessions.end_by(token, origin)
    if credential is None or token is not None:
        raise AuthenticationFailed("Send the access token of the session that is to end.", code="missing_credentials")
    caller = await services.authenticator.principal(credential)
    if caller.session_id is None:
        raise InvalidRequest("An API key has no session. To end the key itself, DELETE /v1/user/api-keys/{id}.")
    actor = Actor.of(caller, origin)
    if body.all:
        await services.accounts.sign_out_everywhere(caller.subject, actor)
    else:
        await services.sessions.end(caller.session_id, actor)
    return caller.session_id


@keys.get("/.well-known/jwks.json")
async def show_keys(services: ServicesDep) -> dict[str, Any]:
    """The public keys that access tokens can be checked by; none while they are signed with a shared secret."""
    return services.tokens.jwks()


def _given(request: Request, response: Response, pair: TokenPair, settings: Settings) -> dict[str, Any]:
    """The pair as an answer, and as cookies unless another site asked: it does not decide who a browser is here."""
    if is_from_own_page(request):
        keep_tokens(response, pair, settings)
    no_store(response)
    return pair.to_dict()


def _forget(request: Request, response: Response, settings: Settings) -> None:
    if is_from_own_page(request):
        forget_tokens(response, settings)


async def _token_in_body(request: Request) -> str | None:
    body = await _body(request)
    return parse(RefreshRequest, body).refresh_token if body else None


async def _body(request: Request) -> dict[str, Any]:
    # These endpoints can be called with nothing at all.
    return await optional_json_body(request) if request.method == "POST" else {}
