"""Everybody who might call, and who they are as the tests see it: apart from how the service finds out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.api_key import ApiKey
from app.domain.principal import Role, Scope
from app.services.access_tokens import AccessTokens
from tests.support.gateway import EMBEDDER, Gateway, new_user
from tests.support.people import bearer, key_of, signed_in

Standing = Literal["anonymous", "guest", "guest key", "key", "session", "admin key", "admin session"]
USE: frozenset[Scope] = frozenset(("read", "write"))
EVERYTHING: frozenset[Scope] = frozenset(("read", "write", "admin"))


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody, and what they show.

    Attributes:
        refused: The code that they are told wherever they show it; None for those who are let in.
        restricted: They hold a key that may not handle keys.
    """

    name: str
    headers: Mapping[str, str]
    standing: Standing = "anonymous"
    scopes: frozenset[Scope] = USE
    refused: str | None = None
    restricted: bool = False


async def sessions(gateway: Gateway) -> list[Caller]:
    """People who signed in just now: some routes end their session, or them."""

    async def caller(name: str, standing: Standing, role: Role, scopes: frozenset[Scope] = USE) -> Caller:
        _, pair = await signed_in(gateway, role)
        return Caller(name, bearer(pair.access_token), standing, scopes)

    return [
        await caller("a guest", "guest", "guest"),
        await caller("a user", "session", "user"),
        await caller("an admin", "admin session", "admin", EVERYTHING),
    ]


async def keys(gateway: Gateway) -> list[Caller]:
    """Holders of keys that open something."""
    user, admin = await new_user(gateway.services), await new_user(gateway.services, "admin")
    guest = await new_user(gateway.services, "guest")
    made_for_more = await key_of(gateway, user, "read", "write", "admin")
    return [
        Caller("a key", await key_of(gateway, user), "key"),
        Caller("a read key", await key_of(gateway, user, "read"), "key", frozenset(("read",))),
        Caller("a write key", await key_of(gateway, user, "write"), "key", frozenset(("write",))),
        Caller("a key as X-API-Key", _as_api_key(await key_of(gateway, user)), "key"),
        Caller("a key for other models", await key_of(gateway, user, models=[EMBEDDER]), "key", restricted=True),
        Caller("a guest's key", await key_of(gateway, guest), "guest key"),
        Caller("a user's key with the admin's permission", made_for_more, "key", EVERYTHING),
        Caller("an admin's key without the permission", await key_of(gateway, admin), "key"),
        Caller("an admin key", await key_of(gateway, admin, *EVERYTHING), "admin key", EVERYTHING),
        Caller(
            "an admin key that may read",
            await key_of(gateway, admin, "read", "admin"),
            "admin key",
            frozenset(("read", "admin")),
        ),
    ]


async def nobodies(gateway: Gateway) -> list[Caller]:
    """Holders of what opens nothing, or nothing any more."""
    user, disabled = await new_user(gateway.services), await new_user(gateway.services, status="disabled")
    good = (await key_of(gateway, user))["authorization"].removeprefix("Bearer ")
    shown = {
        "an expired key": await key_of(gateway, user, expires_at_ms=1),
        "a revoked key": await key_of(gateway, user, status="revoked"),
        "a disabled user's key": await key_of(gateway, disabled),
        "a deleted user's key": await key_of(gateway, replace(user, id="user_gone")),
        "a revoked admin key": await key_of(gateway, user, *EVERYTHING, status="revoked"),
        "garbage": bearer("sk-123"),
        "a key with a wrong checksum": bearer(good[:-1] + ("0" if good[-1] != "0" else "1")),
        "a key of another installation": bearer(ApiKey.mint(b"another secret").value),
        "a key that was never stored": bearer(ApiKey.mint(gateway.services.settings.secret()).value),
        "another scheme": {"authorization": "Basic dXNlcjpwYXNz"},
    }
    return [Caller(name, headers, refused="invalid_api_key") for name, headers in shown.items()] + [
        Caller(name, bearer(token), refused=code) for name, (token, code) in (await _tokens(gateway)).items()
    ]


async def _tokens(gateway: Gateway) -> dict[str, tuple[str, str]]:
    services = gateway.services
    user, pair = await signed_in(gateway, "admin")
    _, ended = await signed_in(gateway)
    session_id = services.tokens.check(ended.access_token).session_id
    await services.stores.sessions.end(session_id, "a test")

    def issued(secret: str, ttl_s: float) -> str:
        issuer = services.settings.token_issuer
        return AccessTokens([secret], algorithm="HS256", issuer=issuer, ttl_s=ttl_s).issue(user.id, session_id)

    (own,) = services.settings.token_keys()
    return {
        "an expired token": (issued(own, -60), "token_expired"),
        "a token of another installation": (issued("x" * 32, 900), "invalid_token"),
        "a token of a session that is over": (ended.access_token, "session_ended"),
        "a token for another's session": (issued(own, 900), "session_ended"),
        "a refresh token": (pair.refresh_token, "invalid_api_key"),
    }


def _as_api_key(header: Mapping[str, str]) -> Mapping[str, str]:
    return {"x-api-key": header["authorization"].removeprefix("Bearer ")}
