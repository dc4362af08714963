from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.user import Identity
from app.routers.cookies import MAX_LOGINS
from tests.support.gateway import Gateway, GatewayFactory, new_key, new_user, running_gateway
from tests.support.hostile_provider import CLIENT_ID, SUBJECT, hostile_provider
from tests.support.mongo import MongoServer
from tests.support.people import bearer
from tests.support.sign_in import World, cookie_header, cookies_of, fresh_world, oidc_settings, signing_in
from tests.test_error_shape import assert_error

PREFIXES = ("", "/v1", "/api/v1")


@pytest.fixture
async def world(sign_in_servers: World, mongodb: MongoServer, database_name: str) -> AsyncIterator[World]:
    async with fresh_world(sign_in_servers, mongodb, database_name) as made:
        yield made


async def me(world: World, token: str) -> dict[str, Any]:
    return (await world.gateway.anonymous.get("/v1/auth/me", headers=bearer(token))).json()


async def guest_of(world: World) -> tuple[str, dict[str, Any]]:
    """A guest's id and tokens."""
    tokens = (await world.gateway.anonymous.post("/v1/auth/guest-login")).json()
    return (await me(world, tokens["access_token"]))["id"], tokens


async def known_user(world: World, **fields: Any) -> str:
    """Somebody who signed in here before."""
    identity = Identity(world.provider.url, SUBJECT)
    return (await new_user(world.gateway.services, identity=identity, **fields)).id


# without a provider


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_without_a_client_id_the_routes_say_so(gateway: Gateway, prefix: str):
    for path in ("", "/login", "/callback", "/callback?code=a&state=b"):
        assert_error(await gateway.anonymous.get(f"{prefix}/auth/google{path}"), 503, "not_configured")
    response = await gateway.anonymous.post(f"{prefix}/auth/google/callback", json={"code": "a", "state": "b"})
    assert_error(response, 503, "not_configured")
    assert "MANTA_OIDC_CLIENT_ID" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"


# to the provider


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_browser_is_sent_to_the_provider_with_all_that_it_must_check(world: World, prefix: str):
    response = await world.gateway.anonymous.get(f"{prefix}/auth/google")
    assert response.status_code == 302
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["location"].startswith(f"{world.provider.url}/authorize?")
    begun = await world.begin()
    params = begun.params
    assert set(params) == {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    }
    assert (params["response_type"], params["client_id"]) == ("code", CLIENT_ID)
    assert params["redirect_uri"] == f"{world.gateway.url}/auth/google/callback"
    assert params["scope"] == "openid email profile"
    assert params["code_challenge_method"] == "S256"
    assert (await world.begin()).params["state"] != params["state"]


async def test_what_the_browser_keeps_is_for_this_service_alone(world: World):
    response = await world.gateway.anonymous.get("/auth/google")
    ((name, cookie),) = cookies_of(response).items()
    assert name.startswith("manta_login_")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (True, "lax", "/", "600")
    assert not cookie["secure"], "development without TLS"
    assert not cookie["domain"]


async def test_with_tls_no_other_host_can_have_set_the_cookie(new_gateway: GatewayFactory):
    async with signing_in(new_gateway, public_url="https://llm.example.com") as world:
        response = await world.gateway.anonymous.get("/auth/google")
        ((name, cookie),) = cookies_of(response).items()
        assert name.startswith("__Host-manta_login_")
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")


async def test_a_browser_keeps_a_few_sign_ins_and_the_oldest_go(world: World):
    kept: dict[str, str] = {}
    for _ in range(MAX_LOGINS + 3):
        response = await world.gateway.anonymous.get("/auth/google", headers=cookie_header(kept))
        for name, cookie in cookies_of(response).items():
            kept.pop(name, None)
            if cookie["max-age"] != "0":
                kept[name] = cookie.value
        assert len(kept) <= MAX_LOGINS
    assert len(kept) == MAX_LOGINS


async def test_the_public_url_says_where_browsers_come_back_to_whatever_the_request_says(new_gateway: GatewayFactory):
    async with signing_in(new_gateway, public_url="https://llm.example.com") as world:
        headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
        begun = await world.begin(headers)
        assert begun.params["redirect_uri"] == "https://llm.example.com/auth/google/callback"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:1@evil.example", "10.0.0.1", ""])
async def test_without_a_public_url_only_loopback_is_believed(world: World, host: str):
    response = await world.gateway.anonymous.get("/auth/google", headers={"host": host})
    assert_error(response, 503, "not_configured")
    assert "MANTA_PUBLIC_URL" in response.json()["error"]["message"]


async def test_no_header_but_host_is_asked_where_we_are(world: World):
    begun = await world.begin({"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "origin": "https://e"})
    assert begun.params["redirect_uri"] == f"{world.gateway.url}/auth/google/callback"


async def test_one_allowed_domain_is_told_the_provider_to_spare_people_the_others(new_gateway: GatewayFactory):
    async with signing_in(new_gateway, oidc_allowed_domains=["Example.com"]) as world:
        begun = await world.begin()
        assert begun.params["hd"] == "example.com"
        world.provider.claims["hd"] = "EXAMPLE.com"
        assert (await world.come_back(begun)).status_code == 200


# back from the provider


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_who_comes_back_gets_tokens_and_cookies_and_is_somebody(world: World, prefix: str):
    begun = await world.begin()
    params = {
        "code": world.provider.grant(begun.url),
        "state": begun.params["state"],
        "scope": "openid",
        "authuser": "0",
    }
    url = f"{prefix}/auth/google/callback"
    response = await world.gateway.anonymous.get(url, params=params, headers=cookie_header(begun.cookies))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    token = response.json()
    assert set(token) == {"object", "access_token", "refresh_token", "token_type", "expires_in"}
    cookies = cookies_of(response)
    assert cookies["manta_access"].value == token["access_token"]
    assert cookies["manta_refresh"].value == token["refresh_token"]
    assert all(cookies[name]["httponly"] for name in ("manta_access", "manta_refresh"))
    assert cookies[begun.cookie]["max-age"] == "0"
    who = await me(world, token["access_token"])
    assert (who["name"], who["email"], who["role"], who["is_guest"]) == (
        "Ada Lovelace",
        "ada@example.com",
        "user",
        False,
    )
    assert who["picture"] == "https://example.com/ada.png"
    (event,) = await world.events("login.succeeded")
    assert (event.actor, event.target, event.outcome) == (who["id"], who["id"], "succeeded")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_page_can_go_there_and_come_back_by_itself(world: World, prefix: str):
    response = await world.gateway.anonymous.get(f"{prefix}/auth/google/login")
    assert list(response.json()) == ["url"]
    assert response.headers["cache-control"] == "no-store"
    ((name, cookie),) = cookies_of(response).items()
    url = response.json()["url"]
    code = world.provider.grant(url)
    state = httpx.URL(url).params["state"]
    headers = {
        **cookie_header({name: cookie.value}),
        "origin": world.gateway.url,
        "sec-fetch-site": "same-origin",
    }
    body = {"code": code, "state": state, "iss": world.provider.url}
    answer = await world.gateway.anonymous.post(f"{prefix}/auth/google/callback", json=body, headers=headers)
    assert answer.status_code == 200
    assert (await me(world, answer.json()["access_token"]))["email"] == "ada@example.com"


async def test_a_page_that_brings_something_else_is_told_what_is_wrong_with_it(world: World):
    async def told(body: Any) -> Any:
        return await world.gateway.anonymous.post("/v1/auth/google/callback", json=body)

    assert_error(await told({"code": 5}), 400, None, "code")
    assert_error(await told({"token": "x"}), 400, "unsupported_parameter", "token")
    assert_error(await told({"code": "x" * 5000}), 400, None, "code")
    assert_error(await told({}), 401, "login_failed")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_every_algorithm_that_we_accept_is_accepted(world: World, algorithm: str):
    world.provider.algorithm = algorithm
    await world.sign_in()


async def test_what_is_unusual_but_right_is_accepted(world: World):
    now = int(time.time())
    for claims in (
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID},
        {"azp": CLIENT_ID},
        {"iat": now + 20},
        {"exp": now - 10},
        {"at_hash": None},
        {"nbf": now},
        {"email": None, "email_verified": None},
    ):
        world.provider.claims = claims
        await world.sign_in()
    world.provider.claims, world.provider.header = {}, {"typ": None}
    await world.sign_in()
    assert await world.count("users", role="user") == 1


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        (None, "client_secret_basic"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["private_key_jwt", "client_secret_post"], "client_secret_post"),
    ],
)
async def test_the_secret_is_shown_as_the_provider_takes_it(world: World, offered: Any, used: str):
    world.provider.discovery["token_endpoint_auth_methods_supported"] = offered
    await world.sign_in()
    assert world.provider.auth == used


async def test_a_public_client_shows_no_secret(new_gateway: GatewayFactory):
    async with signing_in(new_gateway, oidc_client_secret="") as world:
        world.provider.secret = None
        await world.sign_in()
        assert world.provider.auth == "none"


async def test_a_provider_that_names_itself_is_believed(world: World):
    world.provider.discovery["authorization_response_iss_parameter_supported"] = True
    response = await world.come_back(await world.begin(), {"iss": world.provider.url})
    assert response.status_code == 200


async def test_who_somebody_is_can_be_in_the_userinfo_alone(world: World):
    world.provider.claims = {"name": None, "email": None, "email_verified": None, "picture": None}
    world.provider.userinfo = {"name": "Ada", "email": "ada@example.com", "email_verified": True}
    who = await me(world, (await world.sign_in())["access_token"])
    assert (who["name"], who["email"], who["picture"]) == ("Ada", "ada@example.com", None)
    assert world.provider.asked["/userinfo"] == 1


async def test_the_provider_is_described_once(world: World):
    for _ in range(3):
        await world.sign_in()
    assert world.provider.asked["/.well-known/openid-configuration"] == 1
    assert world.provider.asked["/jwks"] == 1
    assert world.provider.asked["/userinfo"] == 0


# who it is


async def test_the_same_person_is_the_same_user_in_a_new_session_and_under_their_new_name(world: World):
    first = await world.sign_in()
    user = (await me(world, first["access_token"]))["id"]
    world.provider.claims = {"name": "Ada King", "email": "king@example.com", "picture": None}
    second = await world.sign_in()
    who = await me(world, second["access_token"])
    assert (who["id"], who["name"], who["email"]) == (user, "Ada King", "king@example.com")
    assert who["picture"] == "https://example.com/ada.png", "what is not said is kept"
    assert await world.count("users", role="user") == 1
    assert await world.count("sessions", owner=user) == 2
    assert (await me(world, first["access_token"]))["id"] == user


async def test_the_same_address_does_not_make_two_people_one(world: World):
    added = await new_user(world.gateway.services, email="ada@example.com")
    one = (await me(world, (await world.sign_in())["access_token"]))["id"]
    world.provider.claims = {"sub": "another"}
    two = (await me(world, (await world.sign_in())["access_token"]))["id"]
    assert len({added.id, one, two}) == 3


async def test_a_name_is_shown_as_plain_text_and_an_address_that_is_none_is_left_out(world: World):
    world.provider.claims = {"name": " Ada\u202e\x00\n ", "picture": "javascript:alert(1)", "email": "not an address"}
    who = await me(world, (await world.sign_in())["access_token"])
    assert (who["name"], who["picture"], who["email"]) == ("Ada", None, None)


async def test_a_disabled_user_is_refused(world: World):
    user = await known_user(world, status="disabled")
    assert_error(await world.come_back(await world.begin()), 401, "login_failed")
    (event,) = await world.events("login.failed")
    assert (event.detail["reason"], event.target) == ("the user is disabled", user)
    assert await world.count("sessions") == 0


async def test_a_person_who_signs_in_twice_at_once_is_one_user(world: World):
    begun = [await world.begin() for _ in range(4)]
    answers = await asyncio.gather(*(world.come_back(each) for each in begun))
    assert [answer.status_code for answer in answers] == [200] * 4
    users = {(await me(world, answer.json()["access_token"]))["id"] for answer in answers}
    assert len(users) == 1
    assert await world.count("users", role="user") == 1


# guests


@pytest.mark.parametrize("shown", ["bearer", "cookie", "refresh cookie"])
async def test_a_guest_who_signs_in_stays_who_they_are(world: World, shown: str):
    guest, tokens = await guest_of(world)
    key = await new_key(world.gateway.services, "read", owner=guest)
    headers = {
        "bearer": bearer(tokens["access_token"]),
        "cookie": cookie_header({"manta_access": tokens["access_token"]}),
        "refresh cookie": cookie_header({"manta_refresh": tokens["refresh_token"]}),
    }[shown]
    token = await world.sign_in(headers)
    who = await me(world, token["access_token"])
    assert (who["id"], who["is_guest"], who["role"], who["name"]) == (guest, False, "user", "Ada Lovelace")
    assert (await me(world, key))["id"] == guest, "what is theirs is theirs still"
    (event,) = await world.events("guest.upgraded")
    assert (event.actor, event.target) == (guest, guest)
    assert (await me(world, (await world.sign_in())["access_token"]))["id"] == guest


async def test_tokens_of_the_guest_are_not_the_users(world: World):
    """Somebody may have put a guest of theirs into this browser, to be whoever signs in with it."""
    _, tokens = await guest_of(world)
    await world.sign_in(bearer(tokens["access_token"]))
    response = await world.gateway.anonymous.get("/v1/auth/me", headers=bearer(tokens["access_token"]))
    assert_error(response, 401, "session_ended")
    response = await world.gateway.anonymous.post("/v1/auth/refresh", headers=bearer(tokens["refresh_token"]))
    assert_error(response, 401, "session_ended")


async def test_what_a_guest_has_goes_over_to_the_user_whom_they_turn_out_to_be(world: World):
    user = await known_user(world)
    guest, tokens = await guest_of(world)
    key = await new_key(world.gateway.services, "read", owner=guest)
    token = await world.sign_in(bearer(tokens["access_token"]))
    assert (await me(world, token["access_token"]))["id"] == user
    assert (await me(world, key))["id"] == user
    assert await world.gateway.services.stores.users.get(guest) is None
    assert await world.count("sessions", owner=guest) == 0
    response = await world.gateway.anonymous.get("/v1/auth/me", headers=bearer(tokens["access_token"]))
    assert_error(response, 401, "session_ended")
    (event,) = await world.events("guest.upgraded")
    assert (event.actor, event.target) == (user, guest)
    moved = {name: count for name, count in event.detail["moved"].items() if count}
    assert (event.detail["into"], moved) == (user, {"api_keys": 1})


async def test_a_guest_who_signed_out_meanwhile_stays_apart(world: World):
    guest, tokens = await guest_of(world)
    begun = await world.begin(bearer(tokens["access_token"]))
    await world.gateway.anonymous.post("/v1/auth/logout", headers=bearer(tokens["access_token"]))
    token = (await world.come_back(begun)).json()
    assert (await me(world, token["access_token"]))["id"] != guest


async def test_of_two_people_who_sign_in_out_of_one_guest_the_second_is_somebody_else(world: World):
    guest, tokens = await guest_of(world)
    one, two = [await world.begin(bearer(tokens["access_token"])) for _ in range(2)]
    first = (await world.come_back(one)).json()
    world.provider.claims = {"sub": "another", "name": "Eve"}
    second = (await world.come_back(two)).json()
    assert (await me(world, first["access_token"]))["id"] == guest
    assert (await me(world, second["access_token"]))["id"] != guest
    assert await world.count("users", role="user") == 2


@pytest.mark.parametrize("shown", ["user", "key", "garbage", "old token", "used refresh cookie"])
async def test_whoever_else_signs_in_does_so_like_anybody(world: World, shown: str):
    guest, tokens = await guest_of(world)
    user = await new_user(world.gateway.services)
    pair = await world.gateway.services.sessions.start(user)
    if shown == "used refresh cookie":
        await world.gateway.anonymous.post("/v1/auth/refresh", headers=bearer(tokens["refresh_token"]))
    headers = {
        "user": bearer(pair.access_token),
        "key": bearer(world.gateway.key),
        "garbage": {"authorization": "Basic eDp5", "cookie": "manta_access=x; manta_refresh=y"},
        "old token": bearer(tokens["access_token"] + "x"),
        "used refresh cookie": cookie_header({"manta_refresh": tokens["refresh_token"]}),
    }[shown]
    who = await me(world, (await world.sign_in(headers))["access_token"])
    assert who["id"] not in (guest, user.id, "user_admin")
    assert await world.count("users", role="guest") == 1


async def test_other_sites_cannot_have_a_guest_become_somebody(world: World):
    guest, tokens = await guest_of(world)
    headers = {**cookie_header({"manta_access": tokens["access_token"]}), "sec-fetch-site": "cross-site"}
    assert (await me(world, (await world.sign_in(headers))["access_token"]))["id"] != guest


# several gateways


async def test_a_sign_in_is_begun_at_one_gateway_and_finished_at_another_once(
    world: World, new_gateway: GatewayFactory
):
    async with new_gateway([], **oidc_settings(world.provider)) as other:
        there = replace(world, gateway=other)
        guest, tokens = await guest_of(world)
        begun = await world.begin(bearer(tokens["access_token"]))
        code = world.provider.grant(begun.url)
        answers = await asyncio.gather(*(place.come_back(begun, {"code": code}) for place in (there, world) * 3))
        assert sorted(answer.status_code for answer in answers) == [200, *[401] * 5]
        (token,) = [answer.json()["access_token"] for answer in answers if answer.status_code == 200]
        for place in (world, there):
            assert (await me(place, token))["id"] == guest
        assert world.provider.asked["/token"] == 1


async def test_an_installation_with_another_secret_cannot_finish_it(world: World, new_gateway: GatewayFactory):
    async with new_gateway([], secret_key="another secret of the tests", **oidc_settings(world.provider)) as other:
        assert_error(await replace(world, gateway=other).come_back(await world.begin()), 401, "login_failed")


async def test_while_the_database_is_away_nobody_is_refused_and_nothing_is_used_up(
    own_mongodb: MongoServer, tmp_path: Path, database_name: str
):
    async with (
        hostile_provider() as provider,
        running_gateway(
            tmp_path, own_mongodb.uri, database_name, [], mongodb_timeout_s=1, **oidc_settings(provider)
        ) as gateway,
    ):
        world = World(gateway, provider)
        begun = await world.begin()
        code = provider.grant(begun.url)
        own_mongodb.stop()
        response = await world.come_back(begun, {"code": code})
        assert_error(response, 503, "database_unavailable")
        assert "set-cookie" not in response.headers, "the browser keeps what it needs to try again"
        assert provider.asked["/token"] == 0
        own_mongodb.start()
        assert (await world.come_back(begun, {"code": code})).status_code == 200
