"""What a browser does between a gateway and a hostile provider, step by step, so that a test can do each wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.domain.audit_event import AuditEvent, EventFilter
from app.domain.page import PageRequest
from app.services import build_services
from tests.support.gateway import Gateway, GatewayFactory, new_key, running_gateway
from tests.support.hostile_provider import CLIENT_ID, CLIENT_SECRET, HostileProvider, hostile_provider
from tests.support.mongo import MongoServer

CALLBACK = "/auth/google/callback"


@dataclass
class Begun:
    """A browser that was sent to the provider.

    Attributes:
        url: Where to.
        cookies: What it was given to keep.
    """

    url: str
    cookies: dict[str, str]

    @property
    def params(self) -> dict[str, str]:
        """What it was sent there with."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}

    @property
    def cookie(self) -> str:
        """The name of its only cookie."""
        (name,) = self.cookies
        return name


def cookies_of(response: httpx.Response) -> SimpleCookie:
    """What a browser is to keep."""
    jar = SimpleCookie()
    for line in response.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


def cookie_header(cookies: Mapping[str, str]) -> dict[str, str]:
    """As browsers send them."""
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}


@dataclass
class World:
    """A gateway whose people sign in with a provider of ours."""

    gateway: Gateway
    provider: HostileProvider
    seen: list[str] = field(default_factory=list[str])

    async def begin(self, headers: Mapping[str, str] | None = None) -> Begun:
        """Open /auth/google."""
        response = await self.gateway.anonymous.get("/auth/google", headers=headers or {})
        assert response.status_code == 302, response.text
        cookies = {name: morsel.value for name, morsel in cookies_of(response).items() if morsel["max-age"] != "0"}
        return Begun(response.headers["location"], cookies)

    async def come_back(
        self, begun: Begun, params: Mapping[str, Any] | None = None, cookies: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Sign in at the provider and follow it back.

        Args:
            params: What differs in the answer; None leaves a parameter out.
            cookies: What the browser has in place of what it was given.
        """
        answer: dict[str, Any] = {"state": begun.params["state"]}
        if params is None or "code" not in params:
            answer["code"] = self.provider.grant(begun.url)
        answer |= params or {}
        sent = {name: value for name, value in answer.items() if value is not None}
        self.seen += [value for value in sent.values() if isinstance(value, str) and len(value) > 20]
        kept = begun.cookies if cookies is None else cookies
        return await self.gateway.anonymous.get(CALLBACK, params=sent, headers=cookie_header(kept))

    async def sign_in(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The token object, once all went well."""
        response = await self.come_back(await self.begin(headers))
        assert response.status_code == 200, response.text
        return response.json()

    async def events(self, action: str | None = None) -> list[AuditEvent]:
        """What the audit log has, oldest first."""
        audit = self.gateway.services.audit
        await audit.close()
        page = await audit.list(PageRequest(limit=100, order="asc"), EventFilter(actions=[action] if action else []))
        return list(page.items)

    async def count(self, collection: str, **where: Any) -> int:
        """How many documents there are."""
        return await self.gateway.services.database.collection(collection).count_documents(where)


def oidc_settings(provider: HostileProvider) -> dict[str, Any]:
    """What makes people sign in there."""
    return {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(CLIENT_SECRET),
    }


@asynccontextmanager
async def signing_in(new_gateway: GatewayFactory, **settings: Any) -> AsyncIterator[World]:
    """A gateway and its provider, started for one test."""
    async with (
        hostile_provider() as provider,
        new_gateway([], **{**oidc_settings(provider), **settings}) as gateway,
    ):
        yield World(gateway, provider)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sign_in_servers(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Servers for all tests that need no other settings: see ``fresh_world``."""
    async with (
        hostile_provider() as provider,
        running_gateway(tmp_path_factory.mktemp("state"), mongodb.uri, "sign_in", []) as gateway,
    ):
        yield World(gateway, provider)


@asynccontextmanager
async def fresh_world(
    servers: World, mongodb: MongoServer, database_name: str, **settings: Any
) -> AsyncIterator[World]:
    """Services that know nothing yet, over an empty database, and a provider that behaves."""
    provider, before = servers.provider, servers.gateway.services
    provider.reset()
    values = {"mongodb_database": database_name, **oidc_settings(provider), **settings}
    services = build_services(before.settings.model_copy(update=values), mongodb.uri, before.catalog, before.backend)
    servers.gateway.app.state.services = services
    try:
        await services.stores.prepare()
        key = await new_key(services)
        yield World(replace(servers.gateway, services=services, key=key), provider)
    finally:
        servers.gateway.app.state.services = before
        await services.close()
