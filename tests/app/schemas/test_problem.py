"""Refusals say what was wrong and what is right, and name the field as the caller would write it."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidRequest, UnsupportedParameter
from tests.app.schemas.bodies import CALL, QUESTION, WEATHER, chat_body, nested, parse_chat, refusal


def says(error: InvalidRequest, param: str, words: str) -> None:
    assert error.param == param
    assert error.message == f"`{param}` {words}"


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"model": None}, "model", "is required."),
        ({"model": ""}, "model", "must not be empty."),
        ({"model": 3}, "model", "must be a string, not 3."),
        ({"model": "m" * 257}, "model", "may have at most 256 characters."),
        ({"temperature": 3}, "temperature", "must be at most 2, not 3."),
        ({"temperature": -0.5}, "temperature", "must be at least 0, not -0.5."),
        ({"temperature": "hot"}, "temperature", "must be a number, not a string."),
        ({"max_tokens": 1.5}, "max_tokens", "must be an integer, not 1.5."),
        ({"max_tokens": True}, "max_tokens", "must be an integer, not true."),
        ({"stream": "true"}, "stream", "must be true or false, not a string."),
        ({"stop": ["a"] * 5}, "stop", "may have at most 4 items."),
        ({"stop": ["a", ""]}, "stop[1]", "must not be empty."),
        ({"stop": {}}, "stop", "must be a string or an array of strings, not an object."),
        ({"messages": []}, "messages", "must not be empty."),
        ({"messages": {}}, "messages", "must be an array, not an object."),
        ({"messages": [QUESTION, 3]}, "messages[1]", "must be an object with `role`, not a number."),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is required."),
        (
            {"messages": [{"content": "x"}]},
            "messages[0].role",
            "is required: 'system', 'developer', 'user', 'assistant', 'tool' or 'function'.",
        ),
        (
            {"messages": [{"role": "user", "content": 3}]},
            "messages[0].content",
            "must be a string or an array of content parts, not a number.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
            "messages[0].content[0].text",
            "must be a string, not 3.",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL, CALL | {"id": 3}]}]},
            "messages[0].tool_calls[1].id",
            "must be a string, not 3.",
        ),
        (
            {"tools": [WEATHER, {"type": "function", "function": {"name": "a b"}}]},
            "tools[1].function.name",
            "must match ^[a-zA-Z0-9_-]{1,64}$.",
        ),
        (
            {"tools": [WEATHER], "tool_choice": 3},
            "tool_choice",
            "must be 'none', 'auto', 'required' or an object naming a function, not a number.",
        ),
        (
            {"response_format": {"type": "xml"}},
            "response_format.type",
            "must be 'text', 'json_object' or 'json_schema', not \"xml\".",
        ),
        ({"metadata": {"a": 1}}, "metadata.a", "must be a string of at most 512 characters."),
        ({"logit_bias": {"7": 101}}, "logit_bias.7", "must be a number from -100 to 100."),
    ],
)
def test_a_refusal_names_the_field_and_says_what_is_right(changes: dict[str, Any], param: str, words: str) -> None:
    says(refusal(parse_chat, chat_body(**changes)), param, words)


@pytest.mark.parametrize(
    ("changes", "param", "hint"),
    [
        ({"temprature": 1}, "temprature", "Did you mean 'temperature'?"),
        ({"qqqq": 1}, "qqqq", "Remove it."),
        ({"qqqq": None}, "qqqq", "Remove it."),
        ({"messages": [QUESTION | {"contents": 1}]}, "messages[0].contents", "Did you mean 'content'?"),
        ({"tools": [WEATHER | {"~user": 1}]}, "tools[0].~user", "Remove it."),
        ({"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats", "Remove it."),
    ],
)
def test_an_unknown_field_is_named(changes: dict[str, Any], param: str, hint: str) -> None:
    error = refusal(parse_chat, chat_body(**changes))
    assert isinstance(error, UnsupportedParameter)
    assert error.message.endswith(hint)
    assert error.param == param


def test_a_long_unknown_name_is_cut_short() -> None:
    error = refusal(parse_chat, chat_body(**{"x" * 100_000: 1}))
    assert error.param is not None
    assert len(error.param) < 100
    assert len(error.message) < 300


def test_a_long_value_is_cut_short() -> None:
    error = refusal(parse_chat, chat_body(service_tier="x" * 100_000))
    assert error.param == "service_tier"
    assert len(error.message) < 300


def test_a_flood_of_errors_earns_one_refusal() -> None:
    flood = {f"k{index}": index for index in range(50_000)}
    assert refusal(parse_chat, chat_body(**flood)).param == "k0"
    assert refusal(parse_chat, chat_body(messages=[QUESTION | flood])).param == "messages[0].k0"
    assert refusal(parse_chat, chat_body(messages=[{}] * 50_000)).param == "messages[0].role"
    assert refusal(parse_chat, chat_body(logit_bias=flood)).param == "logit_bias"
    assert refusal(parse_chat, chat_body(metadata=flood)).param == "metadata"


def test_depth_is_refused_without_recursion() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": nested(5000)}}
    assert refusal(parse_chat, chat_body(tools=[tool])).param == "tools[0].function.parameters"
