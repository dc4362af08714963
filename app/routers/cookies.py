"""The cookies of a sign-in: for browsers alone, which keep them from scripts and from other sites."""

from __future__ import annotations

from fastapi import Response

from app.routers.dependencies import ACCESS_COOKIE, REFRESH_COOKIE
from app.services.sessions import TokenPair
from app.settings import Settings


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


def no_store(response: Response) -> None:
    """Keep secrets out of every cache (RFC 6749, 5.1)."""
    response.headers["Cache-Control"] = "no-store"


def is_secure(settings: Settings) -> bool:
    """Whether cookies are for TLS alone: always, but where there is none, on a developer's own machine."""
    if settings.public_url is not None:
        return settings.public_url.startswith("https://")
    return settings.profile == "production"
