"""Every failure of every engine has THE error shape, in an answer and in a stream."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.asgi_call import ASGIApp
from tests.contract.calls import assert_error, post, user

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
LONG = "fish " * 3000


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, "/tokenize", "/detokenize"])
@pytest.mark.parametrize("body", [b"{", b"nonsense"])
async def test_broken_json_is_named(engine_app: ASGIApp, path: str, body: bytes) -> None:
    assert_error(await post(engine_app, path, body), 400, "invalid_request_error", "invalid_json")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, "/tokenize", "/detokenize"])
@pytest.mark.parametrize("body", [b"", b'{"a": \xff}', b"[]", b"7", b"null"])
async def test_what_is_no_request_at_all_is_refused(engine_app: ASGIApp, path: str, body: bytes) -> None:
    assert_error(await post(engine_app, path, body), 400, "invalid_request_error")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {}, "messages"),
        (CHAT, {"messages": "hello"}, "messages"),
        (CHAT, {"messages": user("x"), "max_tokens": "many"}, "max_tokens"),
        (CHAT, {"messages": user("x"), "max_tokens": "many", "stream": True}, "max_tokens"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": []}, "max_tokens"),
        (MESSAGES, {"model": "contract", "max_tokens": 5}, "messages"),
        ("/detokenize", {}, "tokens"),
    ],
)
async def test_the_field_to_blame_is_named(engine_app: ASGIApp, path: str, body: Any, param: str) -> None:
    error = assert_error(await post(engine_app, path, body), 400, "invalid_request_error")
    assert error["param"] == param


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": user(LONG)}),
        (CHAT, {"messages": user("x"), "max_tokens": 5000}),
        (COMPLETIONS, {"prompt": LONG}),
        (MESSAGES, {"model": "contract", "messages": user(LONG), "max_tokens": 5}),
    ],
)
async def test_a_context_that_is_too_small_is_named(engine_app: ASGIApp, path: str, body: Any, stream: bool) -> None:
    reply = await post(engine_app, path, body | {"stream": stream})
    assert_error(reply, 400, "invalid_request_error", "context_length_exceeded")


async def test_a_tool_that_is_not_there_cannot_be_chosen(engine_app: ASGIApp) -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
    choice = {"type": "function", "function": {"name": "b"}}
    reply = await post(engine_app, CHAT, {"messages": user("x"), "tools": [tool], "tool_choice": choice})
    assert_error(reply, 400, "invalid_request_error")


async def test_no_message_shows_a_path_or_a_traceback(engine_app: ASGIApp) -> None:
    for body in ({}, {"messages": 1}, {"messages": user(LONG)}, {"messages": user("x"), "max_tokens": "many"}):
        message = (await post(engine_app, CHAT, body)).json["error"]["message"]
        assert "Traceback" not in message
        assert "/lib/" not in message
        assert ".py" not in message
