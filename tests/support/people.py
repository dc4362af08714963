"""Callers of every kind, for tests of who may do what."""

from __future__ import annotations

from typing import Any

import httpx

from app.domain.principal import Role
from app.domain.user import User
from app.services.sessions import TokenPair
from tests.support.gateway import Gateway, new_key, new_user


def bearer(token: str) -> dict[str, str]:
    """The header that shows a key or token."""
    return {"authorization": f"Bearer {token}"}


async def signed_in(gateway: Gateway, role: Role = "user", **fields: Any) -> tuple[User, TokenPair]:
    """A new user with a session."""
    user = await new_user(gateway.services, role, **fields)
    return user, await gateway.services.sessions.start(user)


async def client_of(gateway: Gateway, role: Role = "user") -> tuple[User, httpx.AsyncClient]:
    """A new user, and a client that shows their access token; close it."""
    user, pair = await signed_in(gateway, role)
    return user, httpx.AsyncClient(base_url=gateway.url, headers=bearer(pair.access_token), timeout=60)


async def key_of(gateway: Gateway, user: User, *scopes: Any, **changes: Any) -> dict[str, str]:
    """The header that shows a new key of a user's."""
    return bearer(await new_key(gateway.services, *(scopes or ("read", "write")), owner=user.id, **changes))
