"""THE error shape.

Whatever goes wrong, on every path and under every prefix, the caller gets

    HTTP/1.1 <status>
    content-type: application/json
    x-request-id: req_...

    {"error": {"message": "...", "type": "...", "param": null, "code": null}}

with these four fields, no others: ``message`` and ``type`` strings with something in them, ``param`` and ``code``
strings or null. The type follows from the status. A 401 carries ``WWW-Authenticate``, a 503 ``Retry-After`` in whole
seconds, a 405 ``Allow``. The message has no trace, no path of ours and no secret in it.

Inside a stream, whose status has left already, the same object is the data of one last event; no ``[DONE]`` follows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.serve.exceptions import BackPressureError

from app.domain.api_key import ApiKey
from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState
from app.errors import ApiError
from app.services.backend import EngineRequest, EngineResponse
from app.services.catalog import CatalogEntry
from deployments.outcomes import crashed_by_request, timed_out, translate
from deployments.proxy import ProxyGuardMiddleware
from tests.support.gateway import BROKEN, CHAT, EMBEDDER, OFF, Gateway, GatewayFactory, running_gateway, scripted
from tests.support.mongo import MongoServer

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    500: "server_error",
    503: "service_unavailable_error",
}
FORBIDDEN = ("Traceback", 'File "', "/root/", "/home/", "/work/", "/tmp/", "site-packages", "sk-manta-", "object at 0x")
PREFIXES = ("", "/v1", "/api/v1")
ANY: Any = object()


def assert_error_object(value: Any, *, type_: str, code: Any = ANY, param: Any = ANY) -> None:
    """Fail unless ``value`` is the JSON object of an error."""
    assert list(value) == ["error"]
    error = value["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"] == type_
    for name in ("param", "code"):
        assert error[name] is None or (isinstance(error[name], str) and error[name]), name
    assert code is ANY or error["code"] == code, error
    assert param is ANY or error["param"] == param, error
    assert len(error["message"]) < 2000
    assert not [word for word in FORBIDDEN if word in error["message"]], error


def assert_error(response: httpx.Response, status: int, code: Any = ANY, param: Any = ANY) -> None:
    """Fail unless ``response`` is an error of this status in THE error shape."""
    assert response.status_code == status, response.text[:2000]
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get_list("content-length") == [str(len(response.content))]
    assert_error_object(response.json(), type_=TYPES[status], code=code, param=param)
    if status == 401:
        assert response.headers["www-authenticate"] == 'Bearer realm="manta"'
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    if status == 405:
        assert response.headers["allow"]


def assert_stream_error(body: str, type_: str, code: Any = ANY) -> list[str]:
    """Fail unless the stream ends in THE error shape; the events before it."""
    assert body.endswith("\n\n")
    *before, last = [event for event in body.split("\n\n")[:-1] if not event.startswith(":")]
    lines = last.split("\n")
    assert [line for line in lines if not line.startswith(("data: ", "event: error"))] == []
    (data,) = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert_error_object(json.loads(data), type_=type_, code=code)
    assert "[DONE]" not in body
    return before


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], **fields}


def chat_bytes(insert: bytes) -> bytes:
    return b'{"model": "scripted-chat", "messages": [{"role": "user", "content": "Hello"}], ' + insert + b"}"


@dataclass
class Case:
    """A request that goes wrong, and how."""

    status: int
    code: Any
    param: Any = None
    method: str = "POST"
    path: str = "/chat/completions"
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    async def send(self, client: httpx.AsyncClient, prefix: str) -> httpx.Response:
        body = {"json": self.json} if self.content is None else {"content": self.content}
        return await client.request(self.method, prefix + self.path, headers=dict(self.headers), **body)


CASES: dict[str, Case] = {
    # the body as a whole
    "no body": Case(400, "invalid_json", content=b""),
    "malformed JSON": Case(400, "invalid_json", content=b'{"model": '),
    "not an object": Case(400, "invalid_json", content=b"[1]"),
    "bad UTF-8": Case(400, "invalid_json", content=chat_bytes(b'"user": "\xff"')),
    "half of a surrogate pair": Case(400, "invalid_json", content=chat_bytes(rb'"user": "\ud800"')),
    "NaN": Case(400, "invalid_json", content=chat_bytes(b'"temperature": NaN')),
    "infinity": Case(400, "invalid_json", content=chat_bytes(b'"temperature": 1e999')),
    "deep": Case(400, "invalid_json", content=chat_bytes(b'"user": ' + b"[" * 100 + b"]" * 100)),
    "very deep": Case(400, "invalid_json", content=chat_bytes(b'"user": ' + b"[" * 100_000)),
    "huge integer": Case(400, "invalid_json", content=chat_bytes(b'"seed": ' + b"9" * 4000)),
    "trailing words": Case(400, "invalid_json", content=chat_bytes(b'"n": 1') + b"x"),
    "null bytes": Case(400, "invalid_json", content=b"\x00" * 10),
    "too large": Case(413, "payload_too_large", content=b" " * (4 * 1024 * 1024 + 1)),
    "not JSON by its own account": Case(
        415, "unsupported_media_type", content=b"model=x", headers={"content-type": "application/x-www-form-urlencoded"}
    ),
    "compressed": Case(415, "unsupported_media_type", json=chat(), headers={"content-encoding": "gzip"}),
    # fields
    "no messages": Case(400, ANY, "messages", json={"model": CHAT}),
    "wrong type": Case(400, ANY, "messages", json=chat(messages="Hello")),
    "wrong type below": Case(400, ANY, ANY, json=chat(messages=[{"role": "user", "content": 5}])),
    "out of range": Case(400, ANY, "temperature", json=chat(temperature=3)),
    "unknown field": Case(400, "unsupported_parameter", "colour", json=chat(colour="grey")),
    "what cannot be honoured": Case(400, "unsupported_parameter", "audio", json=chat(audio={})),
    "completion without a prompt": Case(400, ANY, "prompt", path="/completions", json={"model": CHAT}),
    "embedding of nothing": Case(400, ANY, "input", path="/embeddings", json={"model": EMBEDDER}),
    "Anthropic's message without a maximum": Case(400, ANY, "max_tokens", path="/messages", json=chat()),
    "wrong tokens": Case(400, ANY, ANY, path="/detokenize", json={"model": CHAT, "tokens": [-1]}),
    "ranking without documents": Case(400, ANY, "documents", path="/rerank", json={"model": EMBEDDER, "query": "x"}),
    "score of one text": Case(400, ANY, ANY, path="/score", json={"model": EMBEDDER, "text_1": "x"}),
    # models
    "no model": Case(400, ANY, "model", json={"messages": []}),
    "unknown model": Case(404, "model_not_found", "model", json=chat(model="nothing")),
    "unknown model, looked up": Case(404, "model_not_found", "model", method="GET", path="/models/org/nothing"),
    "no such capability": Case(400, "unsupported_capability", "model", json=chat(model=EMBEDDER)),
    "longer than the model answers": Case(400, ANY, "max_tokens", json=chat(max_tokens=513)),
    "context too long": Case(400, ANY, ANY, json=chat(messages=[{"role": "user", "content": "word " * 5000}])),
    "model failed": Case(503, "model_failed", json=chat(model=BROKEN)),
    "model switched off": Case(503, "model_disabled", json=chat(model=OFF)),
    "wrong query": Case(400, ANY, "limit", method="GET", path="/models?limit=0"),
    "wrong order": Case(400, ANY, "order", method="GET", path="/models?order=up"),
    # who is calling
    "unknown key": Case(
        401, "invalid_api_key", json=chat(), headers={"authorization": f"Bearer {ApiKey.mint(b'x').value}"}
    ),
    "no key of ours": Case(401, "invalid_api_key", json=chat(), headers={"authorization": "Bearer sk-123"}),
    "another scheme": Case(401, "invalid_api_key", json=chat(), headers={"authorization": "Basic dXNlcjpwYXNz"}),
    "a very long key": Case(401, "invalid_api_key", json=chat(), headers={"authorization": "Bearer " + "x" * 20_000}),
    # routes
    "no such path": Case(404, "not_found", method="GET", path="/nothing"),
    "no such path, with a body": Case(404, "not_found", path="/nothing", json={}),
    "wrong method": Case(405, "method_not_allowed", method="PUT"),
    "wrong method elsewhere": Case(405, "method_not_allowed", method="DELETE", path="/models"),
    "no such method": Case(405, "method_not_allowed", method="TRACE"),
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", CASES)
async def test_every_refusal_has_the_error_shape_and_costs_the_engine_nothing(gateway: Gateway, prefix: str, name: str):
    case = CASES[name]
    client = gateway.anonymous if "authorization" in case.headers else gateway.client
    before = len(gateway.backend.requests)
    response = await case.send(client, prefix)
    assert_error(response, case.status, case.code, case.param)
    assert response.headers["x-request-id"].startswith("req_")
    if name != "context too long":  # only the engine can count tokens
        assert len(gateway.backend.requests) == before


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if isinstance(case.json, dict) and case.path == "/chat/completions"]
)
async def test_a_stream_is_refused_like_anything_else(gateway: Gateway, name: str):
    case = CASES[name]
    client = gateway.anonymous if "authorization" in case.headers else gateway.client
    streaming = Case(**{**case.__dict__, "json": {**case.json, "stream": True}})
    assert_error(await streaming.send(client, "/v1"), case.status, case.code, case.param)


async def test_a_body_that_grows_too_large_without_saying_so(gateway: Gateway):
    async def growing() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 65536

    assert_error(await gateway.client.post("/v1/completions", content=growing()), 413, "payload_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /nothing?%ff=%fe HTTP/1.1\r\nHost: x\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: [\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: x:99999999\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: \xff\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n",
        b"GET /docs/assets/%ff%00 HTTP/1.1\r\nHost: x\r\n",
        b"GET //nothing//// HTTP/1.1\r\nHost: x\r\n",
        b"GET /v1/models/%00%0a HTTP/1.1\r\nHost: x\r\n",
    ],
)
async def test_odd_requests_for_nothing_find_nothing(gateway: Gateway, head: bytes):
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head + b"Connection: close\r\n\r\n")
        async with asyncio.timeout(30):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(b"HTTP/1.1 404 "), answer
    assert_error_object(json.loads(rest.partition(b"\r\n\r\n")[2]), type_="not_found_error")


# who may call


async def test_without_credentials_where_they_are_needed(new_gateway: GatewayFactory):
    async with new_gateway(anonymous_inference=False) as gateway:
        for headers in ({}, {"authorization": "Bearer"}, {"x-api-key": ""}):
            response = await gateway.anonymous.post("/v1/chat/completions", json=chat(), headers=headers)
            assert_error(response, 401, "missing_credentials", None)
        response = await gateway.anonymous.post("/v1/chat/completions", content=b"{")
        assert_error(response, 401, "missing_credentials", None)


@pytest.mark.parametrize("change", [{"status": "revoked"}, {"expires_at_ms": 1}])
async def test_a_key_that_is_no_longer_valid(gateway: Gateway, change: dict[str, Any]):
    key = await gateway.new_key(**change)
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        response = await gateway.anonymous.post("/v1/chat/completions", json=chat(), headers=headers)
        assert_error(response, 401, "invalid_api_key", None)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_key_that_may_only_look(gateway: Gateway, prefix: str):
    key = await gateway.new_key("read")
    response = await gateway.anonymous.post(
        f"{prefix}/chat/completions", json=chat(), headers={"authorization": f"Bearer {key}"}
    )
    assert_error(response, 403, None, None)


async def test_an_unknown_key_while_the_database_is_down(own_mongodb: MongoServer, database_name: str, tmp_path: Path):
    async with running_gateway(tmp_path, own_mongodb.uri, database_name, mongodb_timeout_s=1) as gateway:
        warm, cold = await gateway.new_key(), await gateway.new_key()

        async def ask(key: str) -> httpx.Response:
            return await gateway.anonymous.post("/v1/tokenize", json=chat(), headers={"x-api-key": key})

        assert (await ask(warm)).status_code == 200
        await asyncio.to_thread(own_mongodb.stop)
        assert (await ask(warm)).status_code == 200
        assert_error(await ask(cold), 503, "database_unavailable", None)
        for made_up in ("sk-123", ApiKey.mint(b"another secret").value):
            assert_error(await ask(made_up), 401, "invalid_api_key", None)
        assert_error(await gateway.anonymous.get("/readyz"), 503, "database_unavailable", None)


# what runs the models

SPEC = scripted()
BACKEND_ERRORS: dict[str, tuple[ApiError, int, str]] = {
    "no answer in time": (timed_out(SPEC, accepted=True), 503, "request_timeout"),
    "the queue is full": (translate(BackPressureError(1, 1), SPEC), 503, "overloaded"),
    "anything else of Ray's": (translate(RuntimeError("/root/secret"), SPEC), 500, "internal_error"),
    "two replicas died": (crashed_by_request(), 500, "engine_crashed_by_request"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BACKEND_ERRORS)
async def test_what_ray_says_before_the_answer(gateway: Gateway, name: str, stream: bool):
    error, status, code = BACKEND_ERRORS[name]

    async def refuse(spec: ModelSpec, request: EngineRequest) -> EngineResponse:
        raise error

    with gateway.backend.replaced(refuse):
        response = await gateway.client.post("/v1/chat/completions", json=chat(stream=stream))
    assert_error(response, status, code, None)
    assert response.headers.get("x-should-retry") == ("false" if name == "two replicas died" else None)


@pytest.mark.parametrize("name", BACKEND_ERRORS)
async def test_what_ray_says_after_a_stream_has_begun_to_wait(new_gateway: GatewayFactory, name: str):
    error, status, code = BACKEND_ERRORS[name]

    async def refuse_late(spec: ModelSpec, request: EngineRequest) -> EngineResponse:
        await asyncio.sleep(0.2)
        raise error

    async with new_gateway(stream_keepalive_s=0.02) as gateway:
        with gateway.backend.replaced(refuse_late):
            response = await gateway.client.post("/v1/chat/completions", json=chat(stream=True))
            assert response.status_code == 200
            assert response.text.startswith(":")
            assert assert_stream_error(response.text, TYPES[status], code) == []
            response = await gateway.client.post("/v1/messages", json=chat(stream=True, max_tokens=5))
            assert_stream_error(response.text, TYPES[status], code)
            assert "event: error\ndata: " in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exception_that_nobody_foresaw(gateway: Gateway, stream: bool):
    async def fail(spec: ModelSpec, request: EngineRequest) -> EngineResponse:
        raise ZeroDivisionError("/root/secret")

    with gateway.backend.replaced(fail):
        response = await gateway.client.post("/v1/chat/completions", json=chat(stream=stream))
    assert_error(response, 500, "internal_error", None)
    assert response.headers["x-request-id"] in response.json()["error"]["message"]


async def test_an_engine_that_fails_in_the_middle(gateway: Gateway):
    failing = chat(messages=[{"role": "user", "content": "[error]"}])
    assert_error(await gateway.client.post("/v1/chat/completions", json=failing), 500, ANY, None)
    response = await gateway.client.post("/v1/chat/completions", json={**failing, "stream": True})
    assert response.status_code == 200
    assert len(assert_stream_error(response.text, "server_error")) >= 3
    response = await gateway.client.post("/v1/completions", json={"model": CHAT, "prompt": "[error]", "stream": True})
    assert_stream_error(response.text, "server_error")
    response = await gateway.client.post("/v1/messages", json={**failing, "stream": True, "max_tokens": 8})
    assert_stream_error(response.text, "server_error")
    assert "event: error\ndata: " in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_dies_before_it_answers(new_gateway: GatewayFactory, stream: bool):
    dying = CatalogEntry(scripted(engine_args={"die_before_first_token": True}), ModelState("ready"))
    async with new_gateway([dying]) as gateway:
        response = await gateway.client.post("/v1/chat/completions", json=chat(stream=stream))
        assert_error(response, 500, "engine_crashed", None)


async def test_an_engine_that_dies_in_the_middle(new_gateway: GatewayFactory):
    dying = CatalogEntry(scripted(engine_args={"die_after_tokens": 3}), ModelState("ready"))
    async with new_gateway([dying]) as gateway:
        response = await gateway.client.post("/v1/chat/completions", json=chat(stream=True))
        assert response.status_code == 200
        assert len(assert_stream_error(response.text, "server_error", "engine_crashed")) >= 3


# what stands before the gateway


@pytest.mark.parametrize(("status", "told"), [(404, 503), (408, 503), (503, 503), (500, 503), (502, 503)])
async def test_what_serves_proxy_says_in_words_of_its_own(status: int, told: int):
    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"Path '/x' not found."})

    transport = httpx.ASGITransport(ProxyGuardMiddleware(proxy))
    async with httpx.AsyncClient(transport=transport, base_url="http://manta") as client:
        assert_error(await client.get("/x"), told)


async def test_a_preflight_from_a_place_that_may_not_call(new_gateway: GatewayFactory):
    async with new_gateway(cors_origins=["https://good.example"]) as gateway:
        headers = {"origin": "https://bad.example", "access-control-request-method": "POST"}
        response = await gateway.anonymous.options("/v1/chat/completions", headers=headers)
        assert_error(response, 400)
