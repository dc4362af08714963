"""Signing in as a person does it: in a browser, at a real OpenID provider, and back."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from app.domain.login import CALLBACK
from tests.browser.conftest import Visit
from tests.support.gateway import Gateway, GatewayFactory
from tests.support.oidc_provider import OidcProvider
from tests.support.switch import switch

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
TOKENS = ["access_token", "expires_in", "object", "refresh_token", "token_type"]


@pytest.fixture
async def page(visit: Visit) -> Page:
    """A page that asks nobody but this machine: the provider's would like a font from elsewhere."""

    async def stay_here(route: Route) -> None:
        host = re.match(r"https?://([^/:]+)", route.request.url)
        await (route.continue_() if host and host[1] in ("127.0.0.1", "localhost") else route.abort())

    await visit.page.route("**/*", stay_here)
    visit.page.set_default_timeout(PATIENCE_MS)
    return visit.page


async def authenticate(page: Page, who: str = "ada") -> None:
    """Prove to the provider who one is, so far that it has but to be consented."""
    await page.get_by_placeholder("Enter any login").fill(who)
    await page.get_by_placeholder("and password").fill("whatever")
    await page.get_by_role("button", name="Sign-in").click()
    await expect(page.get_by_role("button", name="Continue")).to_be_visible(timeout=PATIENCE_MS)


async def consent(page: Page) -> dict[str, Any]:
    """Let the provider send the browser back; what it then shows."""
    await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url(re.compile(re.escape(CALLBACK)))
    return json.loads(await page.inner_text("body"))


async def sign_in(page: Page, url: str) -> dict[str, Any]:
    """All of it."""
    await page.goto(f"{url}/auth/google")
    await authenticate(page)
    return await consent(page)


async def fetched(page: Page, path: str, **options: Any) -> dict[str, Any]:
    """What the page gets from the service that it is of, by its cookies alone."""
    script = "async ([path, options]) => await (await fetch(path, options)).json()"
    return await page.evaluate(script, [path, options])


@pytest.mark.parametrize("claims_in", ["userinfo", "id_token"])
async def test_a_person_signs_in_and_is_known_from_then_on(page: Page, new_gateway: GatewayFactory, claims_in: str):
    provider = OidcProvider.on_free_port()
    async with new_gateway([], **provider.settings) as gateway:
        with provider.running([gateway.url + CALLBACK], conformIdTokenClaims=claims_in == "userinfo"):
            token = await sign_in(page, gateway.url)
            assert sorted(token) == TOKENS
            assert token["object"] == "access.token"
            assert await page.evaluate("document.cookie") == ""
            cookies = {cookie["name"]: cookie for cookie in await page.context.cookies(gateway.url)}
            for name, same_site in (("manta_access", "Lax"), ("manta_refresh", "Strict")):
                assert cookies[name].get("httpOnly") is True
                assert cookies[name].get("sameSite") == same_site
            assert not [name for name in cookies if name.startswith("manta_login")]
            me = await fetched(page, "/v1/auth/me")
            assert (me["name"], me["email"], me["role"]) == ("Ada", "ada@example.com", "user")
            assert me["picture"] == "https://example.com/ada.png"
            again = await fetched(page, "/v1/auth/refresh", method="POST")
            assert again["refresh_token"] != token["refresh_token"]

            # A sign-in is finished once: going back to where it ended is none.
            await page.reload()
            assert json.loads(await page.inner_text("body"))["error"]["code"] == "login_failed"


async def test_a_guest_who_signs_in_stays_who_they_are(page: Page, new_gateway: GatewayFactory):
    provider = OidcProvider.on_free_port()
    async with new_gateway([], **provider.settings) as gateway:
        with provider.running([gateway.url + CALLBACK]):
            await page.goto(f"{gateway.url}/health")
            await fetched(page, "/v1/auth/guest-login", method="POST")
            guest = await fetched(page, "/v1/auth/me")
            assert guest["is_guest"] is True
            await sign_in(page, gateway.url)
            me = await fetched(page, "/v1/auth/me")
            assert (me["id"], me["is_guest"], me["name"]) == (guest["id"], False, "Ada")
            assert me["created_at"] == guest["created_at"]


async def test_who_cancels_is_told_so(page: Page, new_gateway: GatewayFactory):
    provider = OidcProvider.on_free_port()
    async with new_gateway([], **provider.settings) as gateway:
        with provider.running([gateway.url + CALLBACK]):
            await page.goto(f"{gateway.url}/auth/google")
            await page.get_by_text("Cancel").click()
            await page.wait_for_url(re.compile(re.escape(CALLBACK)))
            assert json.loads(await page.inner_text("body"))["error"]["code"] == "login_cancelled"


async def test_a_sign_in_begun_at_one_gateway_is_finished_at_another(page: Page, new_gateway: GatewayFactory):
    provider = OidcProvider.on_free_port()
    async with switch() as front, AsyncExitStack() as stack:
        settings = {**provider.settings, "public_url": front.url}
        one: Gateway = await stack.enter_async_context(new_gateway([], **settings))
        two: Gateway = await stack.enter_async_context(new_gateway([], **settings))
        with provider.running([front.url + CALLBACK]):
            front.to(one.url)
            await page.goto(f"{front.url}/auth/google")
            await authenticate(page)
            front.to(two.url)
            assert sorted(await consent(page)) == TOKENS
            at_two = await fetched(page, "/v1/auth/me")
            front.to(one.url)
            at_one = await fetched(page, "/v1/auth/me")
            assert at_one["id"] == at_two["id"]
            assert at_one["email"] == "ada@example.com"


@pytest.mark.parametrize("auth", ["client_secret_post", "none"])
async def test_the_gateway_says_who_it_is_as_the_provider_wants_it(page: Page, new_gateway: GatewayFactory, auth: str):
    provider = OidcProvider.on_free_port()
    settings = provider.settings
    if auth == "none":
        del settings["oidc_client_secret"]
    async with new_gateway([], **settings) as gateway:
        with provider.running([gateway.url + CALLBACK], auth=auth, clientAuthMethods=[auth]):
            assert sorted(await sign_in(page, gateway.url)) == TOKENS
