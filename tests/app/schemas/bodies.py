"""Bodies that pass, and what becomes of those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.schemas import anthropic, chat, completions, embeddings, rerank, score, tokenize
from app.schemas.extras import VENDOR_EXTRAS
from app.schemas.request import ParsedRequest

Parse = Callable[[Mapping[str, Any]], ParsedRequest]

QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
ANTHROPIC_TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}


def chat_body(**changes: Any) -> dict[str, Any]:
    return {"model": "smollm2-135m-instruct", "messages": [QUESTION]} | changes


def anthropic_body(**changes: Any) -> dict[str, Any]:
    return chat_body(max_tokens=64) | changes


def nested(depth: int) -> dict[str, Any]:
    """An object with ``depth`` objects inside each other, itself included."""
    root: dict[str, Any] = {}
    for _ in range(depth - 1):
        root = {"a": root}
    return root


def parse_chat(body: Mapping[str, Any]) -> ParsedRequest:
    return chat.parse(body, extras=VENDOR_EXTRAS)


def parse_completion(body: Mapping[str, Any]) -> ParsedRequest:
    return completions.parse(body, extras=VENDOR_EXTRAS)


def refusal(parse: Parse, body: Mapping[str, Any]) -> InvalidRequest:
    """The error that ``body`` earns."""
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert caught.value.status == 400
    return caught.value


VALID: dict[str, tuple[Parse, dict[str, Any]]] = {
    "chat": (parse_chat, chat_body(max_tokens=10, temperature=0.7, stop=["\n"], top_k=5)),
    "chat with prompt": (parse_chat, {"model": "text-bison-001", "prompt": "Hello, world!", "max_tokens": 10}),
    "chat stream": (parse_chat, chat_body(stream=True, stream_options={"include_usage": True}, n=2, seed=7)),
    "chat tools": (
        parse_chat,
        chat_body(
            messages=[
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                QUESTION,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            ],
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
        ),
    ),
    "chat schema": (
        parse_chat,
        chat_body(
            response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}},
            logprobs=True,
            top_logprobs=3,
            logit_bias={"42": -100},
            metadata={"team": "blue"},
        ),
    ),
    "chat functions": (
        parse_chat,
        chat_body(
            messages=[
                QUESTION,
                {"role": "assistant", "content": None, "function_call": CALL["function"]},
                {"role": "function", "name": "get_weather", "content": "Rain."},
            ],
            functions=[WEATHER["function"]],
            function_call="auto",
        ),
    ),
    "completion": (
        parse_completion,
        {"model": "m", "prompt": ["Once", "Twice"], "max_tokens": 8, "echo": True, "logprobs": 2, "min_tokens": 1},
    ),
    "completion tokens": (parse_completion, {"model": "m", "prompt": [[1, 2], [3]], "suffix": "."}),
    "embeddings": (embeddings.parse, {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}),
    "embedding tokens": (embeddings.parse, {"model": "m", "input": [1, 2], "dimensions": 8}),
    "tokenize": (tokenize.parse, {"model": "m", "prompt": "Hello", "return_token_strs": True}),
    "tokenize chat": (tokenize.parse, chat_body(tools=[WEATHER], add_generation_prompt=False)),
    "detokenize": (tokenize.parse_detokenize, {"model": "m", "tokens": [1, 2, 3]}),
    "rerank": (rerank.parse, {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1}),
    "score": (score.parse, {"model": "m", "text_1": "a", "text_2": ["b", "c"]}),
    "anthropic": (
        anthropic.parse,
        anthropic_body(
            system="Be brief.",
            messages=[
                QUESTION,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                        {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Paris"}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Rain."}]},
            ],
            tools=[ANTHROPIC_TOOL],
            tool_choice={"type": "any"},
            stream=True,
        ),
    ),
    "anthropic count": (anthropic.parse_count_tokens, chat_body(tools=[ANTHROPIC_TOOL])),
}
"""One body for each shape of request, with the function that takes it."""
