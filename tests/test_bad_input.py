"""Bad input never gives 500 and never reaches an engine, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.support.gateway import CHAT, EMBEDDER, Gateway
from tests.test_error_shape import TYPES, assert_error, assert_error_object

MESSAGES = [{"role": "user", "content": "Hello"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": CHAT, "messages": MESSAGES},
    "/v1/conv/chat/completions": {"model": CHAT, "messages": MESSAGES},
    "/v1/completions": {"model": CHAT, "prompt": "Hello"},
    "/v1/messages": {"model": CHAT, "messages": MESSAGES, "max_tokens": 8},
    "/v1/messages/count_tokens": {"model": CHAT, "messages": MESSAGES},
    "/v1/responses": {"model": CHAT, "input": "Hello"},
    "/v1/responses/input_tokens": {"model": CHAT, "input": "Hello"},
    "/v1/tokenize": {"model": CHAT, "prompt": "Hello"},
    "/v1/detokenize": {"model": CHAT, "tokens": [1, 2]},
    "/v1/embeddings": {"model": EMBEDDER, "input": "Hello"},
    "/v1/rerank": {"model": EMBEDDER, "query": "Hello", "documents": ["a", "b"]},
    "/v1/score": {"model": EMBEDDER, "text_1": "a", "text_2": "b"},
}
"""A request for each route; every field of it is needed."""

MAX_BYTES = 4 * 1024 * 1024
HOLE = "a hole to be filled"

paths = st.sampled_from(sorted(REQUESTS))
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)

many = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
few = settings(many, max_examples=40)


def with_hole(path: str, field: str, filling: bytes) -> bytes:
    """The route's request with raw bytes as a field's value."""
    body = json.dumps({**REQUESTS[path], field: HOLE}).encode()
    return body.replace(json.dumps(HOLE).encode(), filling)


async def refused(gateway: Gateway, path: str, body: bytes, statuses: tuple[int, ...] = (400,)) -> httpx.Response:
    """Fail unless the body is refused in the error shape, far from every engine."""
    before = len(gateway.backend.requests)
    response = await gateway.client.post(path, content=body)
    assert response.status_code in statuses, (path, body[:200], response.status_code, response.text[:500])
    assert_error(response, response.status_code)
    assert len(gateway.backend.requests) == before, "it reached the engine"
    return response


def is_json(body: bytes) -> bool:
    """Whether Python's own parser takes it."""
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


@many
@given(path=paths, body=st.binary(max_size=200))
@example(path="/v1/completions", body=b"")
@example(path="/v1/completions", body=b"\xef\xbb\xbf{}")
async def test_any_bytes(gateway: Gateway, path: str, body: bytes):
    await refused(gateway, path, body)


@many
@given(path=paths, keep=st.floats(0, 1), tail=st.sampled_from([b"", b"}", b"]", b'"', b",", b"\x00", b"\\u12", b"//"]))
async def test_broken_json(gateway: Gateway, path: str, keep: float, tail: bytes):
    whole = json.dumps(REQUESTS[path]).encode()
    body = whole[: int(keep * (len(whole) - 1))] + tail
    assume(not is_json(body))
    response = await refused(gateway, path, body)
    assert response.json()["error"]["code"] == "invalid_json"


@many
@given(path=paths, junk=st.binary(min_size=1, max_size=20), place=st.sampled_from(["model", "user", "x"]))
async def test_bad_utf8(gateway: Gateway, path: str, junk: bytes, place: str):
    body = with_hole(path, place, b'"' + junk + b'\xff"')
    response = await refused(gateway, path, body)
    assert response.json()["error"]["code"] == "invalid_json"


@few
@given(
    path=paths,
    number=st.sampled_from(
        [b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e999", b"-1e999", b"1e400", b"0x10", b"01", b".5", b"+1"]
    ),
    field=st.sampled_from(["temperature", "seed", "max_tokens", "model", "x"]),
)
async def test_numbers_that_are_none(gateway: Gateway, path: str, number: bytes, field: str):
    response = await refused(gateway, path, with_hole(path, field, number))
    assert response.json()["error"]["code"] == "invalid_json"


@few
@given(
    path=paths,
    digits=st.integers(20, 6000),
    sign=st.sampled_from([b"", b"-"]),
    field=st.sampled_from(["seed", "max_tokens", "n", "top_k", "tokens", "model", "messages", "x"]),
)
async def test_huge_integers(gateway: Gateway, path: str, digits: int, sign: bytes, field: str):
    await refused(gateway, path, with_hole(path, field, sign + b"9" * digits))


@few
@given(
    path=paths,
    depth=st.integers(65, 3000) | st.just(100_000),
    pair=st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")]),
    closed=st.booleans(),
    field=st.sampled_from(["messages", "tools", "metadata", "input", "x"]),
)
async def test_depth(gateway: Gateway, *, path: str, depth: int, pair: tuple[bytes, bytes], closed: bool, field: str):
    filling = pair[0] * depth + b"1" + (pair[1] * depth if closed else b"")
    response = await refused(gateway, path, with_hole(path, field, filling))
    assert response.json()["error"]["code"] == "invalid_json"


@many
@given(
    path=paths,
    data=st.data(),
    value=st.sampled_from([None, True, False, 1.5, {}, {"a": 1}, [True], [[{}]], [None], [1.5], "", []]),
)
async def test_wrong_types(gateway: Gateway, path: str, data: st.DataObject, value: Any):
    field = data.draw(st.sampled_from(sorted(REQUESTS[path])))
    # Token lists may be empty, and any text may.
    if (path, field, value) in (
        ("/v1/detokenize", "tokens", []),
        ("/v1/tokenize", "prompt", ""),
        ("/v1/completions", "prompt", ""),
    ):
        value = None
    body = json.dumps({**REQUESTS[path], field: value}).encode()
    response = await refused(gateway, path, body, (400, 404) if field == "model" else (400,))
    param = response.json()["error"]["param"]
    assert param is not None
    assert param.startswith((field, "text_", "queries", "data_1", "messages", "prompt")), param


@many
@given(path=paths, name=st.text(max_size=30), value=values)
@example(path="/v1/chat/completions", name="", value=1)
@example(path="/v1/chat/completions", name="\ud800".encode("utf-8", "replace").decode(), value=1)
@example(path="/v1/chat/completions", name="__proto__", value={})
@example(path="/v1/chat/completions", name="x" * 10_000, value=None)
async def test_unknown_fields(gateway: Gateway, path: str, name: str, value: Any):
    field = name and f"zz_{name}"
    response = await refused(gateway, path, json.dumps({**REQUESTS[path], field: value}).encode())
    assert response.json()["error"]["code"] in ("unsupported_parameter", "invalid_json")


@pytest.mark.parametrize("path", REQUESTS)
async def test_oversize(gateway: Gateway, path: str):
    body = json.dumps(REQUESTS[path]).encode().ljust(MAX_BYTES + 1)
    await refused(gateway, path, body, (413,))


@many
@given(path=paths, data=st.data())
async def test_known_fields_with_any_value(gateway: Gateway, path: str, data: st.DataObject):
    """Some of these are good requests; whatever they are, the answer is one that was foreseen."""
    document = gateway.app.openapi()
    name = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition(
        "/"
    )[2]
    fields = sorted(document["components"]["schemas"][name]["properties"])
    changes = data.draw(st.dictionaries(st.sampled_from(fields), values, min_size=1, max_size=3))
    response = await gateway.client.post(path, json={**REQUESTS[path], **changes})
    assert response.status_code in (200, 400, 404), (changes, response.text[:500])
    if response.status_code != 200:
        assert_error_object(response.json(), type_=TYPES[response.status_code])
