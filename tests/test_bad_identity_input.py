"""Whatever identity is told, in a body, a path, a query or a header: it never answers 5xx."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.brief import Brief
from tests.support.gateway import Gateway, new_user, running_gateway
from tests.support.mongo import MongoServer
from tests.support.people import key_of, signed_in
from tests.support.routes import PARAMETER, Entry, table, unconnected_app
from tests.test_bad_input import few, many, values
from tests.test_error_shape import TYPES, assert_error, assert_error_object

APP = unconnected_app()
ENTRIES = [
    entry
    for entry in table(APP, "/v1/")
    if (entry.requirement is None or entry.requirement.who != "anyone") and not entry.path.startswith("/v1/models")
]
"""All but models and what they answer: those have tests of their own."""

WITH_BODY = [entry for entry in ENTRIES if entry.method in ("POST", "PATCH")]
JSON = "application/json"

routes = st.sampled_from(ENTRIES)
routes_with_body = st.sampled_from(WITH_BODY)
ids = st.sampled_from(["user_admin", "key_", ".", "..", "$ne", "{}", "\x00", "%00", "None", "é", "x" * 3000]) | st.text(
    min_size=1, max_size=40
)
tempting = st.sampled_from(
    [
        {"$ne": None},
        {"$gt": ""},
        [{"$where": "1"}],
        ["read", "write", "admin"],
        ["write", "write"],
        "none",
        "admin",
        "user_admin",
        "disabled",
        "a@b.c",
        {"requests_per_minute": 1},
        {"requests_per_minute": 10**30},
        253_402_300_799,
        2**63 - 1,
        -1,
        True,
    ]
)
header_values = st.binary(max_size=60).map(lambda raw: re.sub(rb"[\x00-\x1f\x7f]", b"", raw).strip())


def fields() -> list[str]:
    """What bodies of these routes may hold."""
    document = APP.openapi()
    found: set[str] = set()
    for entry in WITH_BODY:
        operation = document["paths"].get(entry.path, {}).get(entry.method.lower(), {})
        if "requestBody" in operation:
            name = operation["requestBody"]["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
            found |= set(document["components"]["schemas"][name]["properties"])
    return sorted(found)


FIELDS = fields()
PARAMETERS = ["limit", "after", "before", "order", "role", "email", "owner", "actor", "target", "action", "since"]
PARAMETERS += ["until", "code", "state", "error", "iss", "x"]


@dataclass
class Target(Brief):
    """A gateway of its own, and an admin of it."""

    gateway: Gateway
    headers: dict[str, str] = field(repr=False)

    async def send(self, entry: Entry, path: str | None = None, **request: Any) -> httpx.Response:
        """Fail unless it is answered in a way that was foreseen."""
        headers = [*self.headers.items(), *request.pop("headers", [])]
        response = await self.gateway.anonymous.request(
            entry.method, path or entry.filled({}), headers=headers, **request
        )
        told = (str(entry), path, request, response.status_code, response.text[:500])
        if response.status_code == 503:
            assert response.json()["error"]["code"] == "not_configured", told
        assert response.status_code < 500 or response.status_code == 503, told
        if response.status_code >= 400:
            assert_error_object(response.json(), type_=TYPES[response.status_code])
        return response


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def target(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with running_gateway(tmp_path_factory.mktemp("state"), mongodb.uri, "bad_identity_input") as gateway:
        # Not the first admin: whoever guesses their name here does not end the test.
        admin = await new_user(gateway.services, "admin")
        yield Target(gateway, await key_of(gateway, admin, "read", "write", "admin"))


def test_these_are_the_routes_of_identity():
    assert {"/v1/auth/refresh", "/v1/user/api-keys", "/v1/admin/users/{user_id}"} <= {entry.path for entry in ENTRIES}
    assert {"name", "permissions", "refresh_token", "owner", "all", "role"} <= set(FIELDS)


@many
@given(
    entry=routes_with_body, body=st.binary(max_size=200), media_type=st.sampled_from([JSON, "", "text/plain", "x/y"])
)
@example(entry=WITH_BODY[0], body=b"\xef\xbb\xbf{}", media_type=JSON)
@example(entry=WITH_BODY[0], body=b"[" * 100_000, media_type=JSON)
async def test_any_bytes(target: Target, entry: Entry, body: bytes, media_type: str):
    await target.send(entry, content=body, headers=[("content-type", media_type)])


@many
@given(entry=routes_with_body, value=values | tempting)
@example(entry=WITH_BODY[0], value={"": None})
async def test_any_json(target: Target, entry: Entry, value: Any):
    await target.send(entry, content=json.dumps(value).encode(), headers=[("content-type", JSON)])


@many
@given(entry=routes_with_body, body=st.dictionaries(st.sampled_from(FIELDS), tempting | values, max_size=4))
@example(entry=WITH_BODY[0], body={"refresh_token": "\ud800"})
async def test_known_fields_with_any_value(target: Target, entry: Entry, body: dict[str, Any]):
    for named in (body, {"name": "x", **body}):
        await target.send(entry, content=json.dumps(named).encode(), headers=[("content-type", JSON)])


@many
@given(entry=st.sampled_from([entry for entry in ENTRIES if entry.parameters]), id_=ids)
async def test_any_id(target: Target, entry: Entry, id_: str):
    path = PARAMETER.sub(quote(id_, safe=""), entry.path)
    response = await target.send(entry, path, **({"json": {"name": "x"}} if entry in WITH_BODY else {}))
    if id_ != "user_admin" and "/" not in id_ and id_ not in (".", ".."):
        # Or the body is none for this route, which is said first.
        assert response.status_code in (400, 404) if entry in WITH_BODY else response.status_code == 404


@many
@given(
    entry=routes,
    query=st.dictionaries(
        st.sampled_from(PARAMETERS),
        st.text(max_size=20) | st.sampled_from(["1", "100", "101", "-1", "9" * 40, "1e9", "asc", "NaN", "$ne", "\x00"]),
        max_size=3,
    ),
)
async def test_any_query(target: Target, entry: Entry, query: dict[str, str]):
    await target.send(entry, params=query)


@many
@given(
    entry=routes,
    headers=st.dictionaries(
        st.sampled_from(
            [
                "authorization",
                "x-api-key",
                "cookie",
                "origin",
                "sec-fetch-site",
                "x-forwarded-for",
                "user-agent",
                "content-type",
            ]
        ),
        header_values,
        min_size=1,
        max_size=4,
    ),
    scheme=st.sampled_from([b"", b"Bearer ", b"bearer\t", b"Basic ", b"manta_access=", b"manta_refresh="]),
)
async def test_any_header(target: Target, entry: Entry, headers: dict[str, bytes], scheme: bytes):
    shown = {
        name: (scheme + value).strip() if name in ("authorization", "cookie") else value
        for name, value in headers.items()
    }
    response = await target.gateway.anonymous.request(
        entry.method, entry.filled({}), headers=[(name.encode(), value) for name, value in shown.items()]
    )
    assert response.status_code in (200, 302, 400, 401, 403, 404, 415) or (
        response.json()["error"]["code"] == "not_configured"
    ), (str(entry), shown, response.text)
    if response.status_code >= 400:
        assert_error_object(response.json(), type_=TYPES[response.status_code])


@few
@given(position=st.integers(0, 400), byte=st.integers(0x21, 0x7E))
async def test_a_token_with_one_letter_changed_is_nobodys(target: Target, position: int, byte: int):
    _, pair = await signed_in(target.gateway)
    for token, path in ((pair.access_token, "/v1/auth/me"), (pair.refresh_token, "/v1/auth/refresh-token")):
        place = position % len(token)
        changed = token[:place] + chr(byte) + token[place + 1 :]
        response = await target.gateway.anonymous.get(path, headers={"authorization": f"Bearer {changed}"})
        if changed != token and not same_signature(token, changed):
            assert_error(response, 401)


def same_signature(token: str, changed: str) -> bool:
    """Whether they differ in bits alone that base 64 leaves unused at its end."""
    return token.count(".") == 2 and token[:-1] == changed[:-1]


@pytest.mark.parametrize("path", ["/v1/user/api-keys", "/v1/auth/refresh", "/v1/admin/users"])
async def test_oversize(target: Target, path: str):
    body = b'{"name": "' + b"x" * (4 * 1024 * 1024) + b'"}'
    response = await target.gateway.client.post(path, content=body, headers=target.headers)
    assert_error(response, 413)
