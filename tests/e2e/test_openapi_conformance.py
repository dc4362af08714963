"""Every answer, chunk and error validates against OpenAI's published document; from the real and the scripted model."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import pytest

from tests.support.live import CHAT, CHAT_ALIAS, EMBEDDINGS, SCRIPTED
from tests.support.openai_schema import needs_openai_schema, validate, validate_stream

pytestmark = [pytest.mark.live, needs_openai_schema]

CHAT_MODELS = pytest.mark.parametrize("model", [CHAT, SCRIPTED])
EMBEDDING_MODELS = pytest.mark.parametrize("model", [EMBEDDINGS, SCRIPTED])

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PLACE}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}

CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"n": 2, "temperature": 0.7, "seed": 1},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "no top logprobs": {"logprobs": True},
    "named tool": {"tools": [TOOL], "tool_choice": NAMED, "max_tokens": 128},
    "required tool": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 128},
    "offered tool": {"tools": [TOOL], "tool_choice": "auto"},
    "schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}},
        "max_tokens": 128,
    },
    "stop": {"stop": ["a", "e"]},
    "one token": {"max_tokens": 1},
    "ignored parameters": {"user": "u", "service_tier": "auto", "prompt_cache_key": "k", "metadata": {"a": "b"}},
}
"""Request members beside model and messages."""

TEXTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"n": 2, "temperature": 0.7, "seed": 1},
    "several prompts": {"prompt": ["One", "Two"]},
    "logprobs": {"logprobs": 2},
    "echo": {"echo": True},
    "echo with logprobs": {"echo": True, "logprobs": 1},
    "stop": {"stop": "a"},
    "tokens": {"prompt": [1, 2, 3]},
}

ERRORS: dict[str, tuple[str, bytes | dict[str, Any], int]] = {
    "broken JSON": ("/v1/chat/completions", b"{", 400),
    "no model": ("/v1/chat/completions", {"messages": []}, 400),
    "unknown model": ("/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "Hi"}]}, 404),
    "unknown member": ("/v1/completions", {"model": SCRIPTED, "prompt": "Hi", "wings": 2}, 400),
    "wrong type": ("/v1/embeddings", {"model": EMBEDDINGS, "input": {}}, 400),
    "no capability": ("/v1/embeddings", {"model": CHAT, "input": "Hi"}, 400),
    "too long": ("/v1/completions", {"model": CHAT, "prompt": "word " * 9000}, 400),
    "too many tokens": ("/v1/completions", {"model": CHAT, "prompt": "Hi", "max_tokens": 9000}, 400),
    "bad token": ("/v1/completions", {"model": CHAT, "prompt": [10_000_000]}, 400),
    "bad schema": (
        "/v1/chat/completions",
        {
            "model": CHAT,
            "messages": [{"role": "user", "content": "Hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}},
        },
        400,
    ),
    "no route": ("/v1/nothing", {}, 404),
    "no method": ("/v1/status", {}, 405),
}


def chat(model: str, **members: Any) -> dict[str, Any]:
    """A chat request; short answers, so that the tests are."""
    messages = [{"role": "user", "content": "Name a city and say whether it is sunny."}]
    return {"model": model, "messages": messages, "max_tokens": 12, "temperature": 0} | members


def text(model: str, **members: Any) -> dict[str, Any]:
    """A completion request."""
    return {"model": model, "prompt": "The capital of France is", "max_tokens": 6, "temperature": 0} | members


def posted(http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    """The answer, which is a good one."""
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    check_headers(response)
    return response


@CHAT_MODELS
@pytest.mark.parametrize("case", CHATS)
def test_chat_answers(http: httpx.Client, model: str, case: str) -> None:
    answer = posted(http, "/v1/chat/completions", chat(model, **CHATS[case])).json()
    validate("CreateChatCompletionResponse", answer)
    assert answer["model"] == model
    assert answer["system_fingerprint"]
    for choice in answer["choices"]:
        assert {"logprobs", "finish_reason", "index"} <= set(choice)
        assert {"content", "refusal", "role"} <= set(choice["message"])
    if "tool" in case and case != "offered tool":
        check_calls(answer["choices"][0]["message"]["tool_calls"])
    if case == "schema":
        check_place(answer["choices"][0]["message"]["content"])


@CHAT_MODELS
@pytest.mark.parametrize(("case", "usage"), [*((case, True) for case in CHATS), ("plain", False), ("plain", None)])
def test_chat_streams(http: httpx.Client, model: str, case: str, usage: bool | None) -> None:
    options = {} if usage is None else {"stream_options": {"include_usage": usage}}
    body = chat(model, **CHATS[case], **options, stream=True)
    response = posted(http, "/v1/chat/completions", body)
    check_stream_headers(response)
    chunks = validate_stream("CreateChatCompletionStreamResponse", response.text)
    assert {chunk["model"] for chunk in chunks} == {model}
    assert len({chunk["id"] for chunk in chunks}) == 1
    check_usage_chunk(chunks, wanted=bool(usage))
    told = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    for index in range(body.get("n", 1)):
        check_choice([choice for choice in told if choice["index"] == index])
    if case == "schema":
        check_place("".join(choice["delta"].get("content") or "" for choice in told))


@CHAT_MODELS
@pytest.mark.parametrize("case", TEXTS)
def test_completions(http: httpx.Client, model: str, case: str) -> None:
    answer = posted(http, "/v1/completions", text(model, **TEXTS[case])).json()
    validate("CreateCompletionResponse", without_nulls_of_old(answer))
    assert answer["model"] == model
    if "echo" in case:
        assert answer["choices"][0]["text"].startswith("The capital of France is")


@CHAT_MODELS
@pytest.mark.parametrize("case", TEXTS)
def test_completion_streams(http: httpx.Client, model: str, case: str) -> None:
    body = text(model, **TEXTS[case], stream=True, stream_options={"include_usage": True})
    response = posted(http, "/v1/completions", body)
    check_stream_headers(response)
    *events, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    chunks = [json.loads(event) for event in events]
    for chunk in chunks:
        validate("CreateCompletionResponse", without_nulls_of_old(chunk))
    check_usage_chunk(chunks, wanted=True)


@EMBEDDING_MODELS
@pytest.mark.parametrize("texts", ["Hello", ["Hello", "Goodbye"]])
def test_embeddings(http: httpx.Client, model: str, texts: Any) -> None:
    answer = posted(http, "/v1/embeddings", {"model": model, "input": texts}).json()
    validate("CreateEmbeddingResponse", answer)
    assert answer["model"] == model


@EMBEDDING_MODELS
def test_packed_embeddings_differ_only_in_how_a_vector_is_written(http: httpx.Client, model: str) -> None:
    """The document knows vectors as lists alone; what ``base64`` gives is described in prose."""
    body = {"model": model, "input": "Hello", "encoding_format": "base64"}
    answer = posted(http, "/v1/embeddings", body).json()
    for item in answer["data"]:
        packed = base64.b64decode(item["embedding"])
        item["embedding"] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    validate("CreateEmbeddingResponse", answer)


@pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])
def test_models(http: httpx.Client, prefix: str) -> None:
    listed = http.get(f"{prefix}/models").json()
    validate("ListModelsResponse", listed)
    for name in (CHAT, CHAT_ALIAS, EMBEDDINGS, "scripted/alias"):
        validate("Model", http.get(f"{prefix}/models/{name}").json())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ERRORS)
def test_errors(http: httpx.Client, case: str, stream: bool) -> None:
    path, body, status = ERRORS[case]
    if isinstance(body, dict) and stream:
        body = body | {"stream": True} if "embeddings" not in path else body
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    check_headers(response)
    validate("ErrorResponse", response.json())


def test_an_error_in_the_middle_of_a_stream(http: httpx.Client) -> None:
    body = chat(SCRIPTED, messages=[{"role": "user", "content": "[error]"}], stream=True)
    *chunks, failure = [
        json.loads(line.removeprefix("data: "))
        for line in posted(http, "/v1/chat/completions", body).text.splitlines()
        if line.startswith("data: ")
    ]
    for chunk in chunks:
        validate("CreateChatCompletionStreamResponse", chunk)
    validate("ErrorResponse", failure)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(CHAT_ALIAS)),
        ("/v1/completions", text(CHAT_ALIAS)),
        ("/v1/messages", chat(CHAT_ALIAS)),
        ("/v1/embeddings", {"model": "scripted/alias", "input": "Hello"}),
    ],
)
def test_an_answer_names_the_model_that_the_caller_named(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    assert posted(http, path, body).json()["model"] == body["model"]


def check_headers(response: httpx.Response) -> None:
    """Each of them once."""
    assert len(response.headers.get_list("x-request-id")) == 1
    assert len(response.headers.get_list("openai-processing-ms")) == 1
    assert len(response.headers.get_list("content-type")) == 1


def check_stream_headers(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers.get_list("cache-control") == ["no-cache"]
    assert response.headers.get_list("x-accel-buffering") == ["no"]


def check_usage_chunk(chunks: list[dict[str, Any]], *, wanted: bool) -> None:
    """Asked for, usage comes last and without choices; the chunks before it, and streams without it, tell none."""
    if wanted:
        usage = chunks.pop()
        assert usage["choices"] == []
        counts = usage["usage"]
        assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]
    for chunk in chunks:
        assert chunk["choices"]
        assert chunk.get("usage") is None


def check_choice(told: list[dict[str, Any]]) -> None:
    """First the role, then content or calls, then one reason to end."""
    assert told[0]["delta"]["role"] == "assistant"
    assert all("role" not in choice["delta"] or choice["delta"]["role"] == "assistant" for choice in told[1:])
    assert [choice["finish_reason"] for choice in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1]["finish_reason"] in ("stop", "length", "tool_calls")


def check_calls(calls: list[dict[str, Any]]) -> None:
    assert calls[0]["function"]["name"] == "get_weather"
    check_place(calls[0]["function"]["arguments"])


def check_place(written: str) -> None:
    """Whole and as the schema says, also from a model that knows no better."""
    place = json.loads(written)
    assert set(place) == {"city", "sunny"}
    assert isinstance(place["sunny"], bool)


def without_nulls_of_old(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without two nulls that OpenAI's own answers have and its document does not.

    A chunk's ``finish_reason`` before the last, and the log probability of an echoed prompt's first token.
    """
    for choice in answer["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
        logprobs = choice["logprobs"] or {}
        for name in ("token_logprobs", "top_logprobs"):
            if name in logprobs and logprobs[name] is not None:
                logprobs[name] = [value for value in logprobs[name] if value is not None]
    return answer
