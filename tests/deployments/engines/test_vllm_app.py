"""The door in front of vLLM's application, with small applications in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.services.asgi_call import ASGIApp, AsgiCall, Receive, Scope, Send
from deployments.engines.base import ROUTES, EngineDead
from deployments.engines.vllm_app import CALL, EngineApp

CHAT = "/v1/chat/completions"
TOKENIZED = {"count": 1, "max_model_len": 8, "tokens": [4], "token_strs": None}


def whole(body: Any, status: int = 200) -> ASGIApp:
    """Answers with JSON in two parts."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": raw[:5], "more_body": True})
        await send({"type": "http.response.body", "body": raw[5:], "more_body": False})

    return app


def stream(*chunks: bytes | Exception) -> ASGIApp:
    """Streams chunks; an exception among them is what vLLM's error seam would note."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            if isinstance(chunk, InvalidRequest):
                CALL.get().error = chunk
            elif isinstance(chunk, Exception):
                raise chunk
            else:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def door(inner: ASGIApp, *, served: frozenset[str] = ROUTES, dead: EngineDead | None = None) -> EngineApp:
    return EngineApp(inner, served, lambda: dead, "fp")


async def ask(app: ASGIApp, path: str = CHAT, headers: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[int, bytes]:
    call = AsgiCall(app, path, b"{}", list(headers))
    await call.start()
    return call.status, b"".join([chunk async for chunk in call])


def error_of(body: bytes) -> dict[str, Any]:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/sleep", "/v1/chat/completions/", "/invocations", "/"])
async def test_no_other_route_gets_in(path: str) -> None:
    status, body = await ask(door(whole({})), path)
    assert status == 404
    assert error_of(body)["code"] == "not_found"


async def test_a_route_that_the_model_does_not_serve_says_so() -> None:
    status, body = await ask(door(whole({}), served=frozenset((CHAT,))), "/v1/embeddings")
    assert status == 400
    assert error_of(body)["code"] == "unsupported_capability"


async def test_a_whole_answer_is_normalised_and_its_length_is_right() -> None:
    call = AsgiCall(door(whole(TOKENIZED)), "/tokenize", b"{}", [])
    await call.start()
    body = await call.read()
    assert call.status == 200
    assert json.loads(body) == {"count": 1, "max_model_len": 8, "tokens": [4]}


async def test_vllm_sees_only_the_headers_that_it_may_obey() -> None:
    seen: dict[bytes, bytes] = {}

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(dict(scope["headers"]))
        assert (CALL.get().model, CALL.get().fingerprint) == ("alias", "fp")
        await whole(TOKENIZED)(scope, receive, send)

    headers = ((b"x-request-id", b"r"), (b"x-vllm-priority", b"-9"), (b"x-session-id", b"s"))
    await ask(door(inner), "/tokenize", (*headers, (b"x-manta-model", b"alias")))
    assert seen == {b"content-type": b"application/json", b"x-request-id": b"r"}


async def test_an_error_is_turned_into_ours() -> None:
    raw = {"error": {"message": "no", "type": "BadRequestError", "param": "top_p", "code": 400}}
    status, body = await ask(door(whole(raw, 400)))
    assert status == 400
    assert error_of(body) == {"message": "no", "type": "invalid_request_error", "param": "top_p", "code": None}


@pytest.mark.parametrize("body", ["text", [1], {}, {"choices": 3}])
async def test_an_answer_of_unknown_shape_is_a_server_error(body: Any) -> None:
    status, raw = await ask(door(whole(body)))
    assert status == 500
    assert error_of(raw)["type"] == "server_error"


async def test_chunks_pass_untouched() -> None:
    chunks = (b"data: {}\n\n", b'data: {"x": "error"}\n\n', b"data: [DONE]\n\n")
    status, body = await ask(door(stream(*chunks)))
    assert status == 200
    assert body == b"".join(chunks)


async def test_an_error_before_the_first_chunk_has_its_own_status() -> None:
    broken = stream(InvalidRequest("too long", code="context_length_exceeded"), b'data: {"error"}\n\n', b"data: [DONE]")
    status, body = await ask(door(broken))
    assert status == 400
    assert error_of(body)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("told", [b'data: {"error": {"message": "inside"}}\n\n', b"event: error\ndata: {}\n\n"])
async def test_an_error_inside_a_stream_is_its_last_event(told: bytes) -> None:
    _, body = await ask(door(stream(b"data: {}\n\n", told, b"data: [DONE]\n\n")))
    first, last, rest = body.split(b"\n\n")
    assert (first, rest) == (b"data: {}", b"")
    assert error_of(last.removeprefix(b"data: "))["type"] == "server_error"
    assert b"inside" not in body


async def test_the_cause_that_vllm_noted_is_told_inside_a_stream() -> None:
    _, body = await ask(door(stream(b"data: {}\n\n", InvalidRequest("bad grammar"), b"data: x\n\n", b"data: [DONE]")))
    assert error_of(body.split(b"\n\n")[1].removeprefix(b"data: "))["message"] == "bad grammar"


async def test_an_anthropic_stream_names_its_error_event() -> None:
    _, body = await ask(door(stream(b"event: ping\ndata: {}\n\n", b"event: error\ndata: {}\n\n")), "/v1/messages")
    name, data = body.split(b"\n\n")[1].split(b"\n")
    assert name == b"event: error"
    error_of(data.removeprefix(b"data: "))


async def test_an_exception_inside_a_stream_is_told_as_well() -> None:
    _, body = await ask(door(stream(b"data: {}\n\n", KeyError("secret"))))
    assert error_of(body.split(b"\n\n")[1].removeprefix(b"data: "))["code"] == "internal_error"
    assert b"secret" not in body


async def test_an_exception_before_anything_is_a_plain_error() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret")

    status, body = await ask(door(inner))
    assert status == 500
    assert "secret" not in error_of(body)["message"]


@pytest.mark.parametrize(
    "inner", [whole({"error": {"message": "dead", "code": 500}}, 500), stream(InvalidRequest("x"), b"data: [DONE]")]
)
async def test_a_death_before_the_first_byte_is_raised_so_that_another_replica_can_try(inner: ASGIApp) -> None:
    with pytest.raises(EngineDead, match="it is gone"):
        await ask(door(inner, dead=EngineDead("it is gone")))


async def test_a_death_inside_a_stream_is_told_as_engine_crashed() -> None:
    inner = stream(b"data: {}\n\n", b'data: {"error": {}}\n\n', b"data: [DONE]\n\n")
    _, body = await ask(door(inner, dead=EngineDead("it is gone")))
    assert error_of(body.split(b"\n\n")[1].removeprefix(b"data: "))["code"] == "engine_crashed"
    assert not body.endswith(b"[DONE]\n\n")


async def test_a_request_whose_caller_left_gets_nothing_more() -> None:
    sent: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        await whole(None)(scope, receive, send)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await door(inner)({"type": "http", "path": CHAT, "method": "POST", "headers": []}, receive, send)
    assert not sent
