from __future__ import annotations

from http.cookies import SimpleCookie

import httpx
import pytest

from tests.support.gateway import CHAT, Gateway, GatewayFactory
from tests.support.people import bearer, signed_in
from tests.test_error_shape import assert_error

ASK = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}


def cookies_of(response: httpx.Response) -> SimpleCookie:
    jar = SimpleCookie()
    for line in response.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


@pytest.mark.parametrize("path", ["/v1/auth/refresh", "/api/v1/auth/refresh-token", "/auth/refresh"])
async def test_a_refresh_token_as_bearer_in_the_body_or_in_the_cookie_gives_a_new_pair(gateway: Gateway, path: str):
    _, pair = await signed_in(gateway)
    response = await gateway.anonymous.post(path, headers=bearer(pair.refresh_token))
    assert response.status_code == 200
    assert set(response.json()) == {"object", "access_token", "refresh_token", "token_type", "expires_in"}
    assert response.headers["cache-control"] == "no-store"
    response = await gateway.anonymous.post(path, json={"refresh_token": response.json()["refresh_token"]})
    assert response.status_code == 200
    token = response.json()["refresh_token"]
    response = await gateway.anonymous.post(path, headers={"cookie": f"manta_refresh={token}"})
    assert response.status_code == 200
    assert response.json()["refresh_token"] != token


async def test_a_used_refresh_token_ends_what_its_access_tokens_open_at_once(gateway: Gateway):
    _, pair = await signed_in(gateway)
    second = (await gateway.anonymous.post("/v1/auth/refresh", headers=bearer(pair.refresh_token))).json()
    await gateway.anonymous.post("/v1/auth/refresh", headers=bearer(second["refresh_token"]))
    headers = bearer(second["access_token"])
    assert (await gateway.anonymous.get("/v1/auth/me", headers=headers)).status_code == 200
    assert_error(
        await gateway.anonymous.post("/v1/auth/refresh", headers=bearer(pair.refresh_token)), 401, "refresh_reused"
    )
    assert_error(await gateway.anonymous.get("/v1/auth/me", headers=headers), 401, "session_ended")


async def test_the_older_name_takes_get_too(gateway: Gateway):
    _, pair = await signed_in(gateway)
    response = await gateway.anonymous.get("/v1/auth/refresh-token", headers=bearer(pair.refresh_token))
    assert response.status_code == 200


async def test_what_is_no_refresh_token_is_refused(gateway: Gateway):
    _, pair = await signed_in(gateway)
    for token, code in ((pair.access_token, "not_a_refresh_token"), (gateway.key, "invalid_token"), ("x", ANY_CODE)):
        assert_error(await gateway.anonymous.post("/v1/auth/refresh", headers=bearer(token)), 401, code)
    assert_error(await gateway.anonymous.post("/v1/auth/refresh"), 401, "missing_credentials")
    assert_error(await gateway.anonymous.post("/v1/auth/refresh", json={"refresh_token": 5}), 400, None)
    assert_error(await gateway.anonymous.post("/v1/auth/refresh", json={"refresh_token": {"$ne": ""}}), 400, None)
    assert_error(
        await gateway.anonymous.post("/v1/auth/refresh", json={"token": "x"}), 400, "unsupported_parameter", "token"
    )


ANY_CODE = "invalid_token"


async def test_an_access_token_opens_what_a_key_opens_and_a_refresh_token_nothing(gateway: Gateway):
    _, pair = await signed_in(gateway)
    response = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=bearer(pair.access_token))
    assert response.status_code == 200
    for token in (pair.refresh_token, pair.access_token + "x"):
        response = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=bearer(token))
        assert_error(response, 401)


async def test_a_guest_comes_in_and_may_use_models_and_have_no_keys(gateway: Gateway):
    response = await gateway.anonymous.post("/v1/auth/guest-login")
    assert response.status_code == 200
    headers = bearer(response.json()["access_token"])
    me = (await gateway.anonymous.get("/v1/auth/me", headers=headers)).json()
    assert (me["role"], me["is_guest"], me["email"], me["object"]) == ("guest", True, None, "user")
    asked = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=headers)
    assert asked.status_code == 200
    refused = await gateway.anonymous.post("/v1/user/api-keys", json={"name": "x"}, headers=headers)
    assert_error(refused, 403)


async def test_guests_are_let_in_only_where_that_is_allowed(new_gateway: GatewayFactory):
    async with new_gateway(guest_login=False) as gateway:
        assert_error(await gateway.anonymous.post("/v1/auth/guest-login"), 403, "guests_disabled")


async def test_tokens_are_kept_in_cookies_that_scripts_and_other_sites_cannot_use(gateway: Gateway):
    response = await gateway.anonymous.post("/v1/auth/guest-login")
    cookies = cookies_of(response)
    assert cookies["manta_access"].value == response.json()["access_token"]
    for name, same_site in (("manta_access", "lax"), ("manta_refresh", "strict")):
        assert cookies[name]["httponly"] is True
        assert cookies[name]["samesite"] == same_site
        assert cookies[name]["path"] == "/"
        assert not cookies[name]["secure"], "development without TLS"
    assert cookies["manta_access"]["max-age"] == "900"


async def test_cookies_are_for_tls_alone_where_there_is_any(new_gateway: GatewayFactory):
    for settings in ({"public_url": "https://llm.example.com"}, {"profile": "production", "guest_login": True}):
        async with new_gateway(**settings) as gateway:
            cookies = cookies_of(await gateway.anonymous.post("/v1/auth/guest-login"))
            assert cookies["manta_access"]["secure"] is True
            assert cookies["manta_refresh"]["secure"] is True


async def test_the_cookie_of_a_sign_in_says_who_is_calling(gateway: Gateway):
    user, pair = await signed_in(gateway)
    cookie = {"cookie": f"other=1; manta_access={pair.access_token}"}
    response = await gateway.anonymous.get("/v1/user/profile", headers=cookie)
    assert response.json()["id"] == user.id


ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]
"""What browsers say of requests that another site made them send."""


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_cookies_do_not_count_on_behalf_of_other_sites(gateway: Gateway, headers: dict[str, str]):
    _, pair = await signed_in(gateway)
    cookie = {"cookie": f"manta_access={pair.access_token}; manta_refresh={pair.refresh_token}", **headers}
    assert_error(await gateway.anonymous.get("/v1/user/profile", headers=cookie), 401, "missing_credentials")
    assert_error(await gateway.anonymous.post("/v1/auth/refresh", headers=cookie), 401, "missing_credentials")


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_no_other_site_decides_who_a_browser_is_here(gateway: Gateway, headers: dict[str, str]):
    _, pair = await signed_in(gateway)
    for path, body in (
        ("/v1/auth/guest-login", {}),
        ("/v1/auth/refresh", {"refresh_token": pair.refresh_token}),
        ("/v1/auth/logout", {"refresh_token": pair.refresh_token}),
    ):
        response = await gateway.anonymous.post(path, json=body, headers=headers)
        assert response.status_code == 200
        assert not cookies_of(response), path
    assert not cookies_of(await gateway.anonymous.post("/v1/auth/logout", headers=headers))


async def test_cookies_of_a_session_that_is_over_can_be_laid_down(gateway: Gateway):
    user, pair = await signed_in(gateway)
    await gateway.client.post(f"/v1/admin/users/{user.id}/revoke")
    cookie = {"cookie": f"manta_access={pair.access_token}; manta_refresh={pair.refresh_token}"}
    response = await gateway.anonymous.post("/v1/auth/logout", headers=cookie)
    assert_error(response, 401, "session_ended")
    assert {name: cookie["max-age"] for name, cookie in cookies_of(response).items()} == {
        "manta_access": "0",
        "manta_refresh": "0",
    }


async def test_our_own_pages_may_use_the_cookie(gateway: Gateway):
    _, pair = await signed_in(gateway)
    headers = {"cookie": f"manta_access={pair.access_token}", "origin": gateway.url, "sec-fetch-site": "same-origin"}
    assert (await gateway.anonymous.post("/v1/user/profile", json={"name": "A"}, headers=headers)).status_code == 200


async def test_a_header_goes_before_a_cookie(gateway: Gateway):
    _, pair = await signed_in(gateway)
    headers = {"cookie": f"manta_access={pair.access_token}", **bearer(gateway.key)}
    assert (await gateway.anonymous.get("/v1/user/profile", headers=headers)).json()["role"] == "admin"


@pytest.mark.parametrize("way", ["access", "refresh", "body", "cookie"])
async def test_signing_out_ends_the_session_at_once(gateway: Gateway, way: str):
    _, pair = await signed_in(gateway)
    headers = {
        "access": bearer(pair.access_token),
        "refresh": bearer(pair.refresh_token),
        "body": {},
        "cookie": {"cookie": f"manta_refresh={pair.refresh_token}"},
    }[way]
    body = {"json": {"refresh_token": pair.refresh_token}} if way == "body" else {}
    assert (await gateway.anonymous.get("/v1/auth/me", headers=bearer(pair.access_token))).status_code == 200
    response = await gateway.anonymous.post("/v1/auth/logout", headers=headers, **body)
    assert response.status_code == 200
    assert response.json()["object"] == "session.deleted"
    assert cookies_of(response)["manta_access"]["max-age"] == "0"
    me = await gateway.anonymous.get("/v1/auth/me", headers=bearer(pair.access_token))
    assert_error(me, 401, "session_ended")
    again = await gateway.anonymous.post("/v1/auth/refresh", headers=bearer(pair.refresh_token))
    assert_error(again, 401, "session_ended")


async def test_signing_out_everywhere_ends_every_session_of_the_user_and_nobody_elses(gateway: Gateway):
    user, one = await signed_in(gateway)
    two = await gateway.services.sessions.start(user)
    _, other = await signed_in(gateway)
    response = await gateway.anonymous.post("/v1/auth/logout", json={"all": True}, headers=bearer(one.access_token))
    assert response.status_code == 200
    for pair, status in ((one, 401), (two, 401), (other, 200)):
        me = await gateway.anonymous.get("/v1/auth/me", headers=bearer(pair.access_token))
        assert me.status_code == status


async def test_a_key_has_no_session_to_end(gateway: Gateway):
    assert_error(await gateway.client.post("/v1/auth/logout"), 400)
    assert_error(await gateway.anonymous.post("/v1/auth/logout"), 401, "missing_credentials")
    assert (await gateway.client.get("/v1/auth/me")).status_code == 200


async def test_public_keys_are_shown_where_there_are_any(gateway: Gateway, new_gateway: GatewayFactory):
    assert (await gateway.anonymous.get("/.well-known/jwks.json")).json() == {"keys": []}
    async with new_gateway(jwt_algorithm="ES256") as signing:
        (key,) = (await signing.anonymous.get("/.well-known/jwks.json")).json()["keys"]
        assert (key["alg"], key["use"], key["kty"]) == ("ES256", "sig", "EC")
        _, pair = await signed_in(signing)
        me = await signing.anonymous.get("/v1/auth/me", headers=bearer(pair.access_token))
        assert me.status_code == 200
