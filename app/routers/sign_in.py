"""Signing in with Google, or with whatever OpenID provider is set."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.domain.login import Answer
from app.domain.origin import Origin
from app.error_handlers import render
from app.errors import ApiError, AuthenticationFailed, ServiceUnavailable
from app.openapi import request_body
from app.routers.cookies import forget_login, keep_login, keep_tokens, login_cookie, no_store
from app.routers.dependencies import (
    PUBLIC,
    REFRESH_COOKIE,
    JsonBody,
    OriginDep,
    ServicesDep,
    cookie_of,
    credential_of,
)
from app.schemas.body import parse
from app.schemas.identity import FinishLoginRequest
from app.services import Services
from app.services.sign_in import Begun

BODIES = (FinishLoginRequest,)
"""What the endpoints below take, for the API's description."""

PARAMETERS = ("state", "code", "error", "iss")

router = APIRouter(tags=["Identity"], dependencies=[PUBLIC])


@router.get("/auth/google", status_code=302, response_class=RedirectResponse)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Sign in with Google. Open this in a browser: it goes to Google, and comes back to the callback with your tokens.

    A guest who shows their tokens here keeps what is theirs.
    """
    begun = await _begin(request, services)
    response = RedirectResponse(begun.url, 302)
    keep_login(request, response, begun, services.settings)
    return response


@router.get("/auth/google/login")
async def begin_login(request: Request, response: Response, services: ServicesDep) -> dict[str, Any]:
    """Where to go to sign in, for pages that go there themselves: `url`."""
    begun = await _begin(request, services)
    keep_login(request, response, begun, services.settings)
    return {"url": begun.url}


@router.get("/auth/google/callback")
async def come_back(request: Request, services: ServicesDep, origin: OriginDep) -> Response:
    """Where Google sends browsers back to. Answers with the tokens, and keeps them in cookies."""
    given = {name: request.query_params.getlist(name) for name in PARAMETERS}
    # None may be there twice (RFC 6749, 3.1): which of them would count?
    once = {name: values[0] if values and len(values) == 1 else None for name, values in given.items()}
    garbled = any(len(values) > 1 for values in given.values())
    answer = Answer.of(None if garbled else once["state"], once["code"], once["error"], once["iss"])
    # Not through `cookie_of`: the browser comes from the provider's page, and the state says that we sent it there.
    sealed = request.cookies.get(login_cookie(answer.state, services.settings)) if answer.state else None
    return await _finish(services, answer, sealed, origin)


@router.post("/auth/google/callback", openapi_extra=request_body(FinishLoginRequest))
async def finish_login(request: Request, services: ServicesDep, origin: OriginDep, body: JsonBody) -> Response:
    """The same for pages that take the answer themselves, and pass it on from the browser that began the sign-in."""
    wanted = parse(FinishLoginRequest, body)
    answer = Answer.of(wanted.state, wanted.code, wanted.error, wanted.iss)
    sealed = cookie_of(request, login_cookie(answer.state, services.settings)) if answer.state else None
    return await _finish(services, answer, sealed, origin)


async def _begin(request: Request, services: Services) -> Begun:
    return await services.sign_in.begin(request.headers.get("host", ""), await _session_of(request, services))


async def _finish(services: Services, answer: Answer, sealed: str | None, origin: Origin) -> Response:
    over = True
    try:
        pair = await services.sign_in.finish(answer, sealed, origin)
        response: Response = JSONResponse(pair.to_dict())
        keep_tokens(response, pair, services.settings)
    except ApiError as error:
        response = render(error)
        no_store(response)
        # Who comes back while the database is away can try again.
        over = not isinstance(error, ServiceUnavailable)
    if over and answer.state is not None:
        forget_login(response, answer.state, services.settings)
    return response


async def _session_of(request: Request, services: Services) -> str | None:
    """The session that the caller is in. Whose credentials count no more can sign in like anybody."""
    try:
        credential = credential_of(request)
        if credential is not None:
            return (await services.authenticator.principal(credential)).session_id
    except AuthenticationFailed:
        pass
    # Browsers keep this one for longer: a guest may come back after days.
    refresh_token = cookie_of(request, REFRESH_COOKIE)
    return refresh_token and await services.sessions.session_of(refresh_token)
