"""What endpoints ask for in their signatures: the services, and a caller who may do this."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

from fastapi import Depends, Query, Request

from app.domain.audit_event import Actor
from app.domain.origin import MAX_USER_AGENT, Origin, client_address
from app.domain.page import DEFAULT_LIMIT, MAX_LIMIT, PageRequest
from app.domain.principal import Principal, Scope
from app.errors import AuthenticationFailed, DatabaseUnavailable, PermissionDenied, UnsupportedMediaType
from app.schemas.json_body import parse_json_object
from app.services import Services
from app.services.authenticator import SHOW

ACCESS_COOKIE = "manta_access"
REFRESH_COOKIE = "manta_refresh"
HOW = f"Send your API key as {SHOW}, or sign in."

Who = Literal["anyone", "identified", "signed_in", "account", "admin"]
"""``anyone``: the anonymous too, where they are let in. ``signed_in``: guests too, no keys. ``account``: no guests."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a route asks of its caller."""

    scope: Scope
    who: Who

    @property
    def fresh(self) -> bool:
        """Whether callers are looked up anew, however well they are known.

        Who has just lost their power could give it back to themselves for as long as another replica remembers them,
        and a key that was made with a stolen one would stay.
        """
        return self.scope == "write" and self.who in ("signed_in", "account", "admin")


REQUIREMENTS: dict[Callable[..., Any], Requirement] = {}
"""By dependency, what it asks: for the tests that hold every route to it."""


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


async def public(request: Request) -> None:
    """A requirement too: that there is none. Every route has one, or the tests fail.

    Whoever calls is held to their limits; who shows nothing that counts, to those of their address.
    """
    services = services_of(request)
    caller = Principal.anonymous(address_of(request))
    with contextlib.suppress(AuthenticationFailed, DatabaseUnavailable):
        if (credential := credential_of(request)) is not None:
            caller = await services.authenticator.principal(credential)
    await services.admission.admit(caller, request.scope["state"])


async def exempt() -> None:
    """Another requirement that there is none, without limits: probes come as often as they like."""


PUBLIC = Depends(public)
"""For the ``dependencies`` of routes that anybody may use, whatever they show."""

EXEMPT = Depends(exempt)
"""The same for what has no limits: health and documents."""


def requires(
    scope: Scope, who: Who = "anyone", *, inference: bool = False
) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that lets callers in who are somebody and whose credential has ``scope``; says who they are.

    Args:
        inference: Whether what they ask for is work of a model, which has limits of its own.
    """

    requirement = Requirement(scope, who)

    async def principal(request: Request) -> Principal:
        services = services_of(request)
        credential = credential_of(request)
        if credential is None:
            caller = services.authenticator.anonymous(address_of(request))
        else:
            caller = await services.authenticator.principal(credential, fresh=requirement.fresh)
        request.state.subject = caller.subject
        may = scope in caller.scopes and _is_let_in(caller, who)
        if may or caller.kind != "anonymous":
            # Also a request that is refused is one, and may be written down: who asks for it again and again is held to
            # their limits. Those whom nobody knows cost nothing, and are told to say who they are.
            await services.admission.admit(caller, request.scope["state"], inference=inference)
        if not may:
            _refuse(request, caller, requirement)
        return caller

    REQUIREMENTS[principal] = requirement
    return principal


def _refuse(request: Request, caller: Principal, requirement: Requirement) -> NoReturn:
    """Say no to somebody, and write it down if we know them.

    Raises:
        AuthenticationFailed: They showed nothing, and would have to.
        PermissionDenied: They are not allowed.
    """
    check_identified(caller)
    if _is_let_in(caller, requirement.who):
        message = f"This API key may not do this: it lacks the permission {requirement.scope!r}."
    elif requirement.who == "signed_in":
        message = "An API key may not do this. Sign in to do it, or ask an admin."
    elif requirement.who == "admin":
        message = "Only an admin may do this, by a key or session that has the permission 'admin'."
    else:
        message = "This is not for guests. Sign in first."
    actor = Actor.of(caller, origin_of(request))
    services_of(request).audit.refuse("access.refused", actor, request.scope["path"][:256], reason=message)
    raise PermissionDenied(message)


def check_identified(caller: Principal) -> None:
    """Return if we know who this is: nothing is kept of others.

    Raises:
        AuthenticationFailed: We do not.
    """
    if caller.kind == "anonymous":
        raise AuthenticationFailed(f"This needs somebody whom we know. {HOW}", code="missing_credentials")


def _is_let_in(caller: Principal, who: Who) -> bool:
    if who == "admin":
        return caller.is_admin
    if who == "signed_in":
        return caller.kind in ("user", "guest")
    if who == "account":
        # An admin may have made a guest a key.
        return caller.kind in ("user", "api_key") and caller.role != "guest"
    return who == "anyone" or caller.kind != "anonymous"


Inferrer = Annotated[Principal, Depends(requires("write", inference=True))]
"""Somebody who may use models, and uses one."""

IdentifiedInferrer = Annotated[Principal, Depends(requires("write", "identified", inference=True))]
"""Somebody who uses a model, and whose answer is kept; guests too."""

IdentifiedReader = Annotated[Principal, Depends(requires("read", "identified"))]
"""Somebody who may look at what is theirs; guests too."""

IdentifiedWriter = Annotated[Principal, Depends(requires("write", "identified"))]
"""Somebody who may change what is theirs; guests too."""

SignedIn = Annotated[Principal, Depends(requires("write", "signed_in"))]
"""Somebody who decides about their account as a whole: in person, guests too."""

AccountReader = Annotated[Principal, Depends(requires("read", "account"))]
"""Somebody who may look at what only people with an account have."""

AccountWriter = Annotated[Principal, Depends(requires("write", "account"))]
"""Somebody who may change what only people with an account have."""

AdminReader = Annotated[Principal, Depends(requires("read", "admin"))]
"""Somebody who may look at what everybody has."""

Admin = Annotated[Principal, Depends(requires("write", "admin"))]
"""Somebody who may change what everybody uses."""


def address_of(request: Request) -> str:
    """The client's address, as far as it can be trusted."""
    peer = request.client.host if request.client else "unknown"
    # All of them: some proxies add a line of their own below the one that the client made up.
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return client_address(peer, forwarded, services_of(request).settings.trusted_proxies)


def origin_of(request: Request) -> Origin:
    """Where a request comes from."""
    agent = request.headers.get("user-agent", "")[:MAX_USER_AGENT]
    return Origin(address_of(request), agent, request.scope["state"]["request_id"])


async def _origin(request: Request) -> Origin:
    return origin_of(request)


OriginDep = Annotated[Origin, Depends(_origin)]


async def _admin_actor(caller: Admin, origin: OriginDep) -> Actor:
    return Actor.of(caller, origin)


AdminActor = Annotated[Actor, Depends(_admin_actor)]
"""An admin, as the audit log names them."""


def _page_in(usual: Literal["asc", "desc"]) -> Callable[..., Awaitable[PageRequest]]:
    async def page(
        limit: int = Query(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT),
        after: str | None = Query(default=None, max_length=128),
        before: str | None = Query(default=None, max_length=128),
        order: Literal["asc", "desc"] = usual,
    ) -> PageRequest:
        return PageRequest(limit, after, before, order)

    return page


PageDep = Annotated[PageRequest, Depends(_page_in("desc"))]
"""Which part of a list, the newest first."""

OldestFirstPageDep = Annotated[PageRequest, Depends(_page_in("asc"))]
"""Which part of a list, the oldest first."""


def credential_of(request: Request) -> str | None:
    """The key or token that a request shows, or None if it shows nothing.

    An empty bearer token is what a sample with a blank for the token sends: nothing.

    Raises:
        AuthenticationFailed: The header is there, in a form that we do not know.
    """
    return bearer_of(request) or request.headers.get("x-api-key") or cookie_of(request, ACCESS_COOKIE)


def bearer_of(request: Request) -> str | None:
    """What the ``Authorization`` header shows.

    Raises:
        AuthenticationFailed: The header is there, in a form that we do not know.
    """
    header = request.headers.get("authorization")
    if header is None or not header.strip():
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationFailed(f"Send your API key as {SHOW}.")
    return token.strip() or None


def cookie_of(request: Request, name: str) -> str | None:
    """What a cookie shows, if the page that sends it is our own.

    Browsers send cookies for whoever makes them; ours are not for the scripts and forms of other sites, in whatever way
    a browser reads ``SameSite``.
    """
    if "cookie" not in request.headers or not is_from_own_page(request):
        return None
    return request.cookies.get(name) or None


def is_from_own_page(request: Request) -> bool:
    """Whether no other site had a browser send this; programs that are no browsers say nothing of it."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


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


async def optional_json_body(request: Request) -> dict[str, Any]:
    """The same, where to say nothing at all says as much as an empty object.

    Raises:
        ApiError: See ``json_body``.
    """
    return await json_body(request) if await request.body() else {}


OptionalJsonBody = Annotated[dict[str, Any], Depends(optional_json_body)]
