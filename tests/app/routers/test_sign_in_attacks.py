"""What a sign-in can be attacked with: by whoever holds a browser, and by a provider that is not what it should be.

Each is refused, with one and the same answer; the reason is in the log and in the audit log, and nothing that could be
used is in either. Nobody comes to exist by it, and nobody is signed in.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from app.domain.login import LOGIN_TTL_S, Login
from app.services.login_seal import LoginSeal
from app.services.oidc import fetcher
from app.services.oidc.fetcher import MAX_BYTES
from app.services.sign_in import MESSAGES, TROUBLE
from tests.support.gateway import SECRET, GatewayFactory
from tests.support.hostile_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    HostileProvider,
    answering,
    public_pem,
    silent,
    stranger_key,
)
from tests.support.mongo import MongoServer
from tests.support.sign_in import Begun, World, fresh_world
from tests.test_error_shape import assert_error

FAILED = (401, "login_failed")
UNAVAILABLE = (503, "provider_unavailable")
DOMAIN = "example.com"


@dataclass
class Attack:
    """One wrong thing.

    Attributes:
        reason: What is written down.
        provider: Makes the provider do it.
        params: What differs in what the browser brings back.
        told: Status and code of the answer.
    """

    reason: str
    provider: Callable[[HostileProvider], object] = lambda provider: None
    params: dict[str, Any] | None = None
    told: tuple[int, str] = FAILED
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


def claims(**changes: Any) -> Callable[[HostileProvider], object]:
    return lambda provider: provider.claims.update(changes)


def header(**changes: Any) -> Callable[[HostileProvider], object]:
    return lambda provider: provider.header.update(changes)


def tokens(**changes: Any) -> Callable[[HostileProvider], object]:
    return lambda provider: provider.tokens.update(changes)


def discovery(**changes: Any) -> Callable[[HostileProvider], object]:
    return lambda provider: provider.discovery.update(changes)


def instead(path: str, handler: Any) -> Callable[[HostileProvider], object]:
    return lambda provider: provider.instead.update({path: handler})


def unsigned(provider: HostileProvider) -> None:
    provider.header["alg"], provider.signer = "none", lambda _: b""


def signed_with_secret(secret: bytes, **changes: Any) -> Callable[[HostileProvider], object]:
    def shape(provider: HostileProvider) -> None:
        provider.header |= {"alg": "HS256", **changes}
        provider.signer = lambda message: hmac.digest(secret, message, hashlib.sha256)

    return shape


def signed_by_stranger(provider: HostileProvider) -> None:
    provider.signer = lambda message: stranger_key().sign(message, padding.PKCS1v15(), hashes.SHA256())


def userinfo(**changes: Any) -> Callable[[HostileProvider], object]:
    def shape(provider: HostileProvider) -> None:
        provider.claims |= {"name": None, "email": None}
        provider.userinfo |= changes

    return shape


NOW = int(time.time())
OURS = {"oidc_allowed_domains": [DOMAIN]}

ATTACKS: dict[str, Attack] = {
    # the ID token is somebody else's, or about something else
    "wrong audience": Attack("for somebody else", claims(aud="another-client")),
    "audience list without us": Attack("for somebody else", claims(aud=["a", "b"])),
    "audience is an object": Attack("for somebody else", claims(aud={"manta-tests": 1})),
    "audience list without azp": Attack("given to somebody else", claims(aud=[CLIENT_ID, "another"])),
    "audience list with a foreign azp": Attack("given to somebody", claims(aud=[CLIENT_ID, "another"], azp="another")),
    "foreign azp": Attack("given to somebody else", claims(azp="another-client")),
    "wrong issuer": Attack("another issuer's", claims(iss="https://accounts.example.com")),
    "issuer without its scheme": Attack("another issuer's", lambda p: claims(iss=p.url.removeprefix("http://"))(p)),
    "issuer with a slash": Attack("another issuer's", lambda p: claims(iss=p.url + "/")(p)),
    "Google's second name": Attack("another issuer's", claims(iss="accounts.google.com")),
    "wrong nonce": Attack("nonce is another sign-in's", claims(nonce="x" * 43)),
    "nonce that is none": Attack("nonce is another sign-in's", claims(nonce=["x"])),
    "missing nonce": Attack("lacks nonce", claims(nonce=None)),
    "missing subject": Attack("lacks sub", claims(sub=None)),
    "empty subject": Attack("subject is none", claims(sub="")),
    "subject that is a number": Attack("subject is none", claims(sub=5)),
    "subject without an end": Attack("subject is none", claims(sub="x" * 256)),
    "missing times": Attack("lacks exp, iat", claims(exp=None, iat=None)),
    "expired": Attack("has expired", claims(exp=NOW - 120)),
    "expires in words": Attack("times are none", claims(exp="9999999999")),
    "expires truly": Attack("times are none", claims(exp=True)),
    "made in the future": Attack("from the future", claims(iat=NOW + 3600, exp=NOW + 7200)),
    "begins in the future": Attack("from the future", claims(nbf=NOW + 3600)),
    "older than the sign-in": Attack("older than the sign-in", claims(iat=NOW - 3600)),
    "another access token": Attack("not the one that the ID token speaks of", tokens(access_token="another")),
    "no access token": Attack("that the ID token speaks of is not there", tokens(access_token=None)),
    # its signature
    "unsigned": Attack("algorithm is not one", unsigned),
    "signed with the client's secret": Attack("algorithm is not one", signed_with_secret(CLIENT_SECRET.encode())),
    "signed with the public key as a secret": Attack(
        "algorithm is not one", signed_with_secret(public_pem(), kid="rs256")
    ),
    "the same, but said to be RSA's": Attack("does not hold", signed_with_secret(public_pem(), alg="RS256")),
    "an algorithm that the provider does not offer": Attack(
        "algorithm is not one", discovery(id_token_signing_alg_values_supported=["ES256"])
    ),
    "the key of another algorithm": Attack("key is none of the provider's", header(kid="es256")),
    "signed by a stranger": Attack("does not hold", signed_by_stranger),
    "unknown key": Attack("key is none of the provider's", header(kid="unheard-of")),
    "no key named, of several": Attack("key is none of the provider's", header(kid=None)),
    "key id that is none": Attack("is none", header(kid={"$ne": ""})),
    "a key of its own in the header": Attack(
        "key is none of the provider's",
        header(kid="mine", jku="http://127.0.0.1:1/jwks", jwk={"kty": "oct", "k": "AA"}),
    ),
    "extensions that must be understood": Attack("the ID token is none", header(crit=["x"], x=1)),
    "a token for something else": Attack("something else", header(typ="at+jwt")),
    "no ID token": Attack("no ID token", tokens(id_token=None)),
    "an ID token that is none": Attack("the ID token is none", tokens(id_token="a.b")),
    "an ID token that is a number": Attack("no ID token", tokens(id_token=5)),
    "a huge ID token": Attack("a huge one", claims(name="x" * 20_000)),
    # the person
    "unverified e-mail": Attack("did not verify", claims(email_verified=False)),
    "e-mail that nobody vouches for": Attack("did not verify", claims(email_verified=None)),
    "e-mail verified in words": Attack("did not verify", claims(email_verified="false")),
    "foreign domain": Attack("of no domain", claims(hd="evil.example"), settings=OURS),
    "no domain but in the e-mail": Attack("of no domain", claims(email=f"a@{DOMAIN}"), settings=OURS),
    "domain that is a list": Attack("of no domain", claims(hd=[DOMAIN]), settings=OURS),
    "domain in the userinfo alone": Attack("of no domain", userinfo(hd=DOMAIN, name="Eve"), settings=OURS),
    "userinfo about somebody else": Attack("about somebody else", userinfo(sub="another", name="Eve")),
    "unverified e-mail in the userinfo": Attack("did not verify", userinfo(email="a@example.com")),
    # the answer that the browser brings
    "code that the provider never gave": Attack("does not take the code: invalid_grant", params={"code": "made-up"}),
    "no code": Attack("no code", params={"code": None}),
    "two codes": Attack("no state", params={"code": ["a", "b"]}),
    "garbled code": Attack("no code", params={"code": "\x00"}),
    "endless code": Attack("no code", params={"code": "x" * 5000}),
    "no state": Attack("no state", params={"state": None}),
    "two states": Attack("no state", params={"state": ["a", "b"]}),
    "garbled state": Attack("no state", params={"state": "é" * 43}),
    "another issuer's answer": Attack("not this provider's", params={"iss": "https://accounts.example.com"}),
    "answer of nobody, of a provider that names itself": Attack(
        "not this provider's", discovery(authorization_response_iss_parameter_supported=True)
    ),
    "an error": Attack("signed nobody in: server_error", params={"error": "server_error", "code": None}),
    "an error of its own": Attack("for no reason that is known", params={"error": "<script>"}),
    "cancelled": Attack(
        "cancelled at the provider", params={"error": "access_denied", "code": None}, told=(401, "login_cancelled")
    ),
    # the token endpoint
    "wrong secret": Attack("invalid_client", lambda p: setattr(p, "secret", "another")),
    "error in words of its own": Attack(
        "for no reason that is known", instead("/token", answering(400, b'{"error": "code-0 is <bad>"}'))
    ),
    "token endpoint fails": Attack("answered 500", instead("/token", answering(500)), told=UNAVAILABLE),
    "token endpoint is busy": Attack("answered 429", instead("/token", answering(429, b"{}")), told=UNAVAILABLE),
    "token endpoint talks garbage": Attack(
        "something else than tokens", instead("/token", answering(200, b"<html>")), told=UNAVAILABLE
    ),
    "token endpoint talks lists": Attack(
        "something else than tokens", instead("/token", answering(200, b"[1]")), told=UNAVAILABLE
    ),
    "token endpoint redirects": Attack(
        "answered 307", instead("/token", answering(307, location="/jwks")), told=UNAVAILABLE
    ),
    "token endpoint is silent": Attack("took longer", instead("/token", silent()), told=UNAVAILABLE),
    "token endpoint never ends": Attack(
        f"over {MAX_BYTES} bytes", instead("/token", answering(200, b" " * (MAX_BYTES + 1))), told=UNAVAILABLE
    ),
    "token endpoint compresses": Attack(
        "compressed", instead("/token", answering(200, b"", **{"content-encoding": "gzip"})), told=UNAVAILABLE
    ),
    # keys and userinfo
    "keys cannot be had": Attack("key set was answered with 503", instead("/jwks", answering(503)), told=UNAVAILABLE),
    "keys are elsewhere": Attack(
        "key set was answered with 302", instead("/jwks", answering(302, location="/jwks2")), told=UNAVAILABLE
    ),
    "keys are no list": Attack("no list of keys", instead("/jwks", answering(200, b'{"keys": 5}')), told=UNAVAILABLE),
    "keys are not ours to use": Attack(
        "key is none of the provider's", instead("/jwks", answering(200, b'{"keys": [5, {"kty": "RSA"}, {}]}'))
    ),
    "userinfo fails": Attack(
        "userinfo endpoint was answered with 500",
        lambda p: (userinfo()(p), instead("/userinfo", answering(500))(p)),
        told=UNAVAILABLE,
    ),
}


@pytest.fixture
async def world(
    sign_in_servers: World, mongodb: MongoServer, database_name: str, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    attack: Attack | None = getattr(request, "param", None)
    settings = attack.settings if attack else {}
    async with fresh_world(sign_in_servers, mongodb, database_name, **settings) as made:
        yield made


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "DEADLINE_S", 2.0)


def ours(caplog: pytest.LogCaptureFixture) -> str:
    """What the service logged; the tests' own server and client are in there too, with whole URLs."""
    records = [record for record in caplog.records if record.name.startswith("manta")]
    return "\n".join(f"{record.getMessage()} {vars(record)}" for record in records)


async def assert_refused(
    world: World,
    response: httpx.Response,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    told: tuple[int, str] = FAILED,
) -> None:
    """The answer says nothing, the log says why, and nothing came of it."""
    assert_error(response, *told)
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["error"]["message"] == MESSAGES.get(told[1], TROUBLE)
    assert reason not in response.text
    assert "manta_access" not in "".join(response.headers.get_list("set-cookie"))
    event = (await world.events("login.failed"))[-1]
    assert event.outcome == "refused"
    assert reason in event.detail["reason"]
    logged = ours(caplog)
    assert reason in logged
    written = logged + json.dumps([kept.to_dict() for kept in await world.events()])
    assert not [secret for secret in (CLIENT_SECRET, SECRET, *world.seen, *world.provider.issued) if secret in written]
    assert await world.count("users", role="user") == 0
    assert await world.count("sessions") == 0


@pytest.mark.parametrize(("world", "attack"), [(a, a) for a in ATTACKS.values()], ids=list(ATTACKS), indirect=["world"])
async def test_an_attack_is_refused_without_a_word(world: World, attack: Attack, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    attack.provider(world.provider)
    response = await world.come_back(await world.begin(), attack.params)
    await assert_refused(world, response, caplog, attack.reason, attack.told)


async def test_an_answer_comes_back_once(world: World, caplog: pytest.LogCaptureFixture):
    begun = await world.begin()
    code = world.provider.grant(begun.url)
    assert (await world.come_back(begun, {"code": code})).status_code == 200
    asked = world.provider.asked["/token"]
    for params in ({"code": code}, {"code": world.provider.grant(begun.url)}):
        assert_error(await world.come_back(begun, params), *FAILED)
    assert (await world.events("login.failed"))[-1].detail["reason"] == "the sign-in was finished before"
    assert world.provider.asked["/token"] == asked
    assert await world.count("sessions") == 1


async def test_of_many_who_bring_the_same_answer_at_once_one_comes_in(world: World):
    begun = await world.begin()
    code = world.provider.grant(begun.url)
    answers = await asyncio.gather(*(world.come_back(begun, {"code": code}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]
    assert world.provider.asked["/token"] == 1
    assert await world.count("sessions") == 1


async def test_a_code_that_was_used_signs_nobody_in_again(world: World, caplog: pytest.LogCaptureFixture):
    begun = await world.begin()
    code = world.provider.grant(begun.url)
    assert (await world.come_back(begun, {"code": code})).status_code == 200
    assert_error(await world.come_back(await world.begin(), {"code": code}), *FAILED)
    assert "invalid_grant" in caplog.text
    assert await world.count("sessions") == 1


async def test_a_code_of_another_sign_in_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    """Somebody slips their own code into another's sign-in: the verifier is not theirs."""
    ours, theirs = await world.begin(), await world.begin()
    response = await world.come_back(ours, {"code": world.provider.grant(theirs.url)})
    await assert_refused(world, response, caplog, "does not take the code: invalid_grant")


async def test_a_state_without_its_cookie_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    response = await world.come_back(await world.begin(), cookies={})
    await assert_refused(world, response, caplog, "this browser did not begin the sign-in")


async def test_a_state_of_another_sign_in_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    ours, theirs = await world.begin(), await world.begin()
    response = await world.come_back(ours, {"state": theirs.params["state"]})
    await assert_refused(world, response, caplog, "this browser did not begin the sign-in")


async def test_a_cookie_of_another_browser_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    ours, theirs = await world.begin(), await world.begin()
    response = await world.come_back(ours, cookies={ours.cookie: theirs.cookies[theirs.cookie]})
    await assert_refused(world, response, caplog, "the state is another sign-in's")


def tampered(sealed: str) -> list[str]:
    raw = bytearray(base64.urlsafe_b64decode(sealed))
    changed: list[str] = []
    for index in (0, 5, 12, 40, len(raw) - 1):
        raw[index] ^= 1
        changed.append(base64.urlsafe_b64encode(raw).decode())
        raw[index] ^= 1
    return [*changed, sealed[:-8], "x", "\xff", "x" * 6000]


async def test_a_changed_cookie_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    begun = await world.begin()
    for value in tampered(begun.cookies[begun.cookie]):
        response = await world.gateway.anonymous.get(
            "/auth/google/callback",
            params={"state": begun.params["state"], "code": "x"},
            headers=[(b"cookie", f"{begun.cookie}={value}".encode("latin-1"))],
        )
        await assert_refused(world, response, caplog, "not sealed by us")
    assert world.provider.asked["/token"] == 0


async def test_a_cookie_sealed_by_another_installation_is_worth_nothing(world: World, caplog: pytest.LogCaptureFixture):
    begun = await world.begin()
    login = Login(begun.params["state"], "n", "v", begun.params["redirect_uri"], None, time.time() + 100)
    response = await world.come_back(begun, cookies={begun.cookie: LoginSeal(b"k" * 32).seal(login)})
    await assert_refused(world, response, caplog, "not sealed by us")


async def test_a_sign_in_ends_after_ten_minutes(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    begun = await world.begin()
    monkeypatch.setattr(world.gateway.services.sign_in, "_clock", lambda: time.time() + LOGIN_TTL_S + 1)
    await assert_refused(world, await world.come_back(begun), caplog, "the sign-in took too long")


async def test_unknown_keys_do_not_make_us_flood_the_provider(world: World):
    for number in range(10):
        world.provider.header["kid"] = f"unheard-of-{number}"
        assert_error(await world.come_back(await world.begin()), *FAILED)
    assert world.provider.asked["/jwks"] == 1
    assert world.provider.asked["/.well-known/openid-configuration"] == 1


async def test_keys_that_were_had_once_serve_while_they_cannot_be_had(world: World):
    await world.sign_in()
    world.provider.instead["/jwks"] = answering(503)
    world.provider.header["kid"] = "unheard-of"
    assert_error(await world.come_back(await world.begin()), *FAILED)
    world.provider.header.clear()
    await world.sign_in()


DISCOVERIES: dict[str, tuple[str, Callable[[HostileProvider], object]]] = {
    "another issuer": ("another issuer's", discovery(issuer="https://accounts.example.com")),
    "the issuer with a slash": ("another issuer's", lambda p: discovery(issuer=p.url + "/")(p)),
    "no issuer": ("another issuer's", discovery(issuer=None)),
    "redirects": (
        "answered with 302",
        instead("/.well-known/openid-configuration", answering(302, location="/elsewhere")),
    ),
    "huge": (
        f"over {MAX_BYTES} bytes",
        instead("/.well-known/openid-configuration", answering(200, b'{"x": "' + b"x" * MAX_BYTES + b'"}')),
    ),
    "not JSON": ("no JSON object", instead("/.well-known/openid-configuration", answering(200, b"<html>"))),
    "deep": ("no JSON object", instead("/.well-known/openid-configuration", answering(200, b"[" * 100_000))),
    "not there": ("answered with 404", instead("/.well-known/openid-configuration", answering(404))),
    "silent": ("took longer", instead("/.well-known/openid-configuration", silent())),
    "no token endpoint": ("token_endpoint is no URL", discovery(token_endpoint=None)),
    "a token endpoint that is not encrypted": (
        "token_endpoint is not encrypted",
        discovery(token_endpoint="http://accounts.example.com/token"),
    ),
    "a page of another kind": (
        "authorization_endpoint is not encrypted",
        discovery(authorization_endpoint="javascript://x/%0aalert(1)"),
    ),
    "no algorithm of ours": ("with none of", discovery(id_token_signing_alg_values_supported=["HS256", "none"])),
    "no way to say who we are": ("takes no client secret", discovery(token_endpoint_auth_methods_supported=["tls"])),
}


@pytest.mark.parametrize(("reason", "shape"), DISCOVERIES.values(), ids=list(DISCOVERIES))
async def test_nobody_is_sent_to_a_provider_that_does_not_describe_itself(
    world: World, caplog: pytest.LogCaptureFixture, reason: str, shape: Callable[[HostileProvider], object]
):
    shape(world.provider)
    for path in ("/auth/google", "/v1/auth/google/login"):
        response = await world.gateway.anonymous.get(path)
        assert_error(response, *UNAVAILABLE)
        assert "set-cookie" not in response.headers
        assert reason not in response.text
    assert reason in caplog.text
    assert await world.count("sessions") == 0


async def test_a_provider_that_is_down_is_asked_once_for_many_who_come_at_once(
    world: World, caplog: pytest.LogCaptureFixture
):
    world.provider.instead["/.well-known/openid-configuration"] = silent()
    answers = await asyncio.gather(*(world.gateway.anonymous.get("/auth/google") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {503}
    assert world.provider.asked["/.well-known/openid-configuration"] == 1
    assert caplog.text.count("the sign-in provider: ") == 1


async def test_a_provider_that_nobody_answers_for_is_503(new_gateway: GatewayFactory):
    async with new_gateway([], oidc_issuer="http://127.0.0.1:1", oidc_client_id=CLIENT_ID) as gateway:
        assert_error(await gateway.anonymous.get("/auth/google"), *UNAVAILABLE)


async def test_other_sites_cannot_have_a_sign_in_finished(world: World, caplog: pytest.LogCaptureFixture):
    """The POST is for our own pages: the cookie does not count for others', even if a browser sent it along."""
    begun = await world.begin()
    body = {"state": begun.params["state"], "code": world.provider.grant(begun.url)}
    headers = {"cookie": f"{begun.cookie}={begun.cookies[begun.cookie]}", "origin": "https://evil.example"}
    response = await world.gateway.anonymous.post("/v1/auth/google/callback", json=body, headers=headers)
    await assert_refused(world, response, caplog, "this browser did not begin the sign-in")


async def test_what_a_browser_keeps_tells_nothing(world: World):
    begun = await world.begin()
    sealed = begun.cookies[begun.cookie]
    assert not [value for value in begun.params.values() if value in sealed or value in begun.cookie]
    assert isinstance(begun, Begun)
    assert len(sealed) < 1000
