"""What endpoints ask for in their signatures: the services, and a caller who may do this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from app.domain.principal import Principal, Scope
from app.errors import AuthenticationFailed, PermissionDenied, UnsupportedMediaType
from app.schemas.json_body import parse_json_object
from app.services import Services


def services_of(request: Request) -> Services:
    """The services of this process.

    What every request to a model goes through asks for them here: FastAPI resolves a dependency anew at each place that
    names it.
    """
    return request.app.state.services


async def _services(request: Request) -> Services:
    # Async, since FastAPI sends plain functions through a thread.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]


def requires(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that lets callers with ``scope`` in and says who they are."""

    async def principal(request: Request) -> Principal:
        address = request.client.host if request.client else "unknown"
        caller = await services_of(request).authenticator.principal(credential_of(request), address)
        request.state.subject = caller.subject
        if scope not in caller.scopes:
            raise PermissionDenied(f"This API key may not do this: it lacks the permission {scope!r}.")
        return caller

    return principal


Reader = Annotated[Principal, Depends(requires("read"))]
"""Somebody who may look at what is theirs."""

Writer = Annotated[Principal, Depends(requires("write"))]
"""Somebody who may use models and change what is theirs."""


async def _admin(caller: Writer) -> Principal:
    if caller.kind == "anonymous":
        raise AuthenticationFailed("This needs an admin's API key, such as the first one.", code="missing_credentials")
    if caller.role != "admin":
        raise PermissionDenied("Only an admin may do this. Use an admin's API key, such as the first one.")
    return caller


Admin = Annotated[Principal, Depends(_admin)]
"""Somebody who may change what everybody uses."""


def credential_of(request: Request) -> str | None:
    """The key that a request shows, or None if it shows nothing.

    An empty bearer token is what a sample with a blank for the token sends: nothing.

    Raises:
        AuthenticationFailed: The header is there, in a form that we do not know.
    """
    header = request.headers.get("authorization")
    if header is None or not header.strip():
        return request.headers.get("x-api-key") or None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationFailed("Send your API key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.")
    return token.strip() or request.headers.get("x-api-key") or None


async def json_body(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object.

    Raises:
        InvalidJson: It is not one.
        PayloadTooLarge: It is over the cap.
        UnsupportedMediaType: It says that it is something else.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"The body has to be JSON: send Content-Type: application/json, not {media_type[:64]}."
        )
    raw = await request.body()
    if not raw and request.query_params:
        # what a request without a body says, it says in its query
        return {}
    return parse_json_object(raw)


JsonBody = Annotated[dict[str, Any], Depends(json_body)]
