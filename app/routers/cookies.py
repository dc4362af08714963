"""The cookies of a sign-in: for browsers alone, which keep them from scripts and from other sites."""

from __future__ import annotations

from fastapi import Request, Response

from app.domain.login import LOGIN_TTL_S, digest_of
from app.routers.dependencies import ACCESS_COOKIE, REFRESH_COOKIE
from app.services.sessions import TokenPair
from app.services.sign_in import Begun
from app.settings import Settings

LOGIN_COOKIE = "manta_login_"
MAX_LOGINS = 5
"""Sign-ins that a browser can have under way: cookies without end would make its requests too large to be taken."""


def keep_tokens(response: Response, pair: TokenPair, settings: Settings) -> None:
    """Have the browser send the tokens from now on."""
    secure = is_secure(settings)
    # Lax: somebody who follows a link to us is still signed in. The refresh token is for our own pages alone.
    response.set_cookie(
        ACCESS_COOKIE, pair.access_token, pair.expires_in_s, httponly=True, secure=secure, samesite="lax"
    )
    response.set_cookie(
        REFRESH_COOKIE, pair.refresh_token, pair.refresh_expires_in_s, httponly=True, secure=secure, samesite="strict"
    )
    no_store(response)


def forget_tokens(response: Response, settings: Settings) -> None:
    """Have the browser forget them."""
    for name in (ACCESS_COOKIE, REFRESH_COOKIE):
        response.delete_cookie(name, httponly=True, secure=is_secure(settings))


def keep_login(request: Request, response: Response, begun: Begun, settings: Settings) -> None:
    """Have the browser keep a sign-in until it comes back, beside others that it has under way in other tabs."""
    older = [name for name in request.cookies if name.startswith(_login_prefix(settings))]
    # Browsers send the oldest first.
    for name in older[: max(0, len(older) - MAX_LOGINS + 1)]:
        response.delete_cookie(name, httponly=True, secure=is_secure(settings))
    response.set_cookie(
        login_cookie(begun.login.state, settings),
        begun.sealed,
        LOGIN_TTL_S,
        httponly=True,
        secure=is_secure(settings),
        samesite="lax",
    )
    no_store(response)


def forget_login(response: Response, state: str, settings: Settings) -> None:
    """Have the browser forget a sign-in."""
    response.delete_cookie(login_cookie(state, settings), httponly=True, secure=is_secure(settings))


def login_cookie(state: str, settings: Settings) -> str:
    """The name under which a browser keeps the sign-in with this state."""
    return f"{_login_prefix(settings)}{digest_of(state)[:16]}"


def _login_prefix(settings: Settings) -> str:
    # The prefix that browsers know: no other host of the same domain, and nothing without TLS, can have set it.
    return f"__Host-{LOGIN_COOKIE}" if is_secure(settings) else LOGIN_COOKIE


def no_store(response: Response) -> None:
    """Keep secrets out of every cache (RFC 6749, 5.1)."""
    response.headers["Cache-Control"] = "no-store"


def is_secure(settings: Settings) -> bool:
    """Whether cookies are for TLS alone: always, but where there is none, on a developer's own machine."""
    if settings.public_url is not None:
        return settings.public_url.startswith("https://")
    return settings.profile == "production"
