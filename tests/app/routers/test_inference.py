from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.access_log import access_line
from tests.support.gateway import CHAT, EMBEDDER, Gateway

PREFIXES = ("", "/v1", "/api/v1")
MESSAGES = [{"role": "user", "content": "Hello"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/chat/completions": {"model": CHAT, "messages": MESSAGES},
    "/completions": {"model": CHAT, "prompt": "Hello"},
    "/messages": {"model": CHAT, "messages": MESSAGES, "max_tokens": 8},
    "/messages/count_tokens": {"model": CHAT, "messages": MESSAGES},
    "/tokenize": {"model": CHAT, "prompt": "Hello"},
    "/detokenize": {"model": CHAT, "tokens": [1, 2]},
    "/embeddings": {"model": EMBEDDER, "input": "Hello"},
    "/rerank": {"model": EMBEDDER, "query": "Hello", "documents": ["a", "b"]},
    "/score": {"model": EMBEDDER, "text_1": "a", "text_2": "b"},
}


def events(text: str) -> list[str]:
    return [event for event in text.split("\n\n") if event and not event.startswith(":")]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", REQUESTS)
async def test_every_route_answers_under_every_prefix(gateway: Gateway, prefix: str, path: str):
    response = await gateway.client.post(prefix + path, json=REQUESTS[path])
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
async def test_a_stream_ends_with_done(gateway: Gateway, path: str):
    response = await gateway.client.post("/v1" + path, json={**REQUESTS[path], "stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    *chunks, done = events(response.text)
    assert done == "data: [DONE]"
    assert len({json.loads(chunk.removeprefix("data: "))["id"] for chunk in chunks}) == 1


async def test_whoever_has_no_key_may_infer_in_development(gateway: Gateway):
    response = await gateway.anonymous.post("/v1/chat/completions", json=REQUESTS["/chat/completions"])
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer {key}"},
        {"authorization": "bearer  {key}"},
        {"x-api-key": "{key}"},
        {"authorization": "Bearer", "x-api-key": "{key}"},
        {"authorization": "", "x-api-key": "{key}"},
    ],
)
async def test_a_key_is_taken_in_either_header(
    gateway: Gateway, headers: dict[str, str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "manta.access")
    filled = {name: value.format(key=gateway.key) for name, value in headers.items()}
    response = await gateway.anonymous.post("/v1/tokenize", json=REQUESTS["/tokenize"], headers=filled)
    assert response.status_code == 200
    assert (await access_line(caplog)).subject == "user_admin"


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "Application/JSON; charset=utf-8", "application/x+json"]
)
async def test_json_is_taken_by_any_of_its_names(gateway: Gateway, content_type: str | None):
    headers = {"content-type": content_type} if content_type else {}
    body = json.dumps(REQUESTS["/tokenize"]).encode()
    response = await gateway.client.post("/v1/tokenize", content=body, headers=headers)
    assert response.status_code == 200


async def test_a_browser_may_call_from_elsewhere(gateway: Gateway):
    origin = {"origin": "https://example.org"}
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os,mcp-x",
    }
    preflight = await gateway.anonymous.options("/v1/chat/completions", headers={**origin, **asks})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for name in ("authorization", "x-stainless-os", "mcp-x"):
        assert name in preflight.headers["access-control-allow-headers"]
    for body in (REQUESTS["/chat/completions"], {"model": "nothing"}):
        response = await gateway.anonymous.post("/v1/chat/completions", json=body, headers=origin)
        assert response.headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in response.headers["access-control-expose-headers"]
