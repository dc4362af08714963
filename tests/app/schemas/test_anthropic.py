"""Anthropic's messages and token counts."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import UnsupportedParameter
from app.schemas import anthropic
from tests.app.schemas.bodies import ANTHROPIC_TOOL, QUESTION, anthropic_body, chat_body, refusal


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


TEXT = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
USE = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [TEXT], "is_error": False}


def test_a_conversation_goes_on_as_it_came() -> None:
    body = anthropic_body(
        system=[TEXT],
        messages=[
            QUESTION,
            assistant({"type": "thinking", "thinking": "Hm.", "signature": "s"}, TEXT, USE),
            user(RESULT, TEXT),
            {"role": "system", "content": "Now."},
            assistant({"type": "redacted_thinking", "data": "x"}, TEXT),
        ],
        tools=[ANTHROPIC_TOOL],
        tool_choice={"type": "tool", "name": "get_weather"},
        temperature=1,
        top_k=5,
        top_p=0.5,
        stop_sequences=["\n\n"],
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        thinking={"type": "disabled"},
    )
    parsed = anthropic.parse(body)
    assert parsed.payload == body
    assert not parsed.stream
    assert anthropic.parse(body | {"stream": True}).stream


def test_what_cannot_change_the_answer_is_checked_and_dropped() -> None:
    ignored = {
        "cache_control": {"type": "ephemeral"},
        "diagnostics": {},
        "metadata": {"user_id": "me"},
        "service_tier": "auto",
        "speed": "fast",
        "user_profile_id": "p",
        "workspace_id": "w",
    }
    assert ignored.keys() == anthropic.IGNORED
    assert anthropic.parse(anthropic_body(**ignored)).payload == anthropic_body()
    for name in ignored:
        assert refusal(anthropic.parse, anthropic_body(**{name: 3.5})).param == name


def test_max_tokens_is_required_to_answer_and_unknown_when_counting() -> None:
    assert refusal(anthropic.parse, chat_body()).param == "max_tokens"
    assert anthropic.parse_count_tokens(chat_body()).payload == chat_body()
    assert refusal(anthropic.parse_count_tokens, anthropic_body()).param == "max_tokens"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": [user({"type": "image", "source": {"type": "url"}})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "document", "source": {}})]}, "messages[0].content[0].type"),
        (
            {"messages": [user(RESULT | {"content": [{"type": "image", "source": {}}]})]},
            "messages[0].content[0].content[0].type",
        ),
        ({"messages": [user(USE)]}, "messages[0].content[0].type"),
        ({"messages": [assistant(RESULT)]}, "messages[0].content[0].type"),
        ({"system": [{"type": "image", "source": {}}]}, "system[0].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"context_management": {}}, "context_management"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"betas": []}, "betas"),
    ],
)
def test_what_we_cannot_do_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    error = refusal(anthropic.parse, anthropic_body(**changes))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"stop_sequences": ["a"] * 5}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"system": ""}, "system"),
        ({"messages": []}, "messages"),
        ({"messages": [QUESTION] * 2049}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user()]}, "messages[0].content"),
        ({"messages": [user({"type": "text", "text": ""})]}, "messages[0].content[0].text"),
        ({"messages": [assistant(USE | {"input": "x"})]}, "messages[0].content[0].input"),
        ({"tools": [ANTHROPIC_TOOL] * 129}, "tools"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [ANTHROPIC_TOOL | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "all"}, "tools": [ANTHROPIC_TOOL]}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}, "tools": [ANTHROPIC_TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [ANTHROPIC_TOOL]}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 3}}, "thinking.budget_tokens"),
    ],
)
def test_other_requests_are_refused(changes: dict[str, Any], param: str) -> None:
    assert refusal(anthropic.parse, anthropic_body(**changes)).param == param


def test_a_choice_that_demands_nothing_needs_no_tools() -> None:
    body = anthropic_body(tools=[], tool_choice={"type": "auto"})
    assert anthropic.parse(body).payload == anthropic_body()
