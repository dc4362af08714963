"""Tools and schemas: named, bounded, and chosen among those that are there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.errors import UnsupportedParameter
from app.schemas.tools import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from tests.app.schemas.bodies import WEATHER, chat_body, nested, parse_chat, refusal

NAMED = {"type": "function", "function": {"name": "get_weather"}}


def tool(name: str = "f", parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def structured(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def allowed(*names: str, mode: str = "auto") -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_tools_and_choices_go_on_as_they_came() -> None:
    for choice in ("auto", "none", "required", NAMED):
        payload = parse_chat(chat_body(tools=[WEATHER], tool_choice=choice)).payload
        assert (payload["tools"], payload["tool_choice"]) == ([WEATHER], choice)
    assert "tool_choice" not in parse_chat(chat_body(tools=[WEATHER])).payload


def test_a_tool_needs_no_parameters() -> None:
    bare = {"type": "function", "function": {"name": "get_weather", "description": "Get current weather information"}}
    assert parse_chat(chat_body(tools=[bare])).payload["tools"] == [bare]


def test_a_choice_that_demands_nothing_needs_no_tools() -> None:
    for choice in ("auto", "none"):
        assert parse_chat(chat_body(tool_choice=choice)).payload == chat_body()


@pytest.mark.parametrize("choice", ["required", NAMED, allowed("get_weather")])
def test_a_choice_that_demands_a_call_needs_tools(choice: Any) -> None:
    assert refusal(parse_chat, chat_body(tool_choice=choice)).param == "tool_choice"


def test_a_choice_names_one_of_the_tools() -> None:
    choice = {"type": "function", "function": {"name": "other"}}
    error = refusal(parse_chat, chat_body(tools=[WEATHER], tool_choice=choice))
    assert error.param == "tool_choice.function.name"
    assert "get_weather" in error.message


def test_allowed_tools_are_the_only_ones_the_engine_sees() -> None:
    tools = [tool("a"), tool("b"), tool("c")]
    payload = parse_chat(chat_body(tools=tools, tool_choice=allowed("a", "c", mode="required"))).payload
    assert payload["tools"] == [tools[0], tools[2]]
    assert payload["tool_choice"] == "required"
    error = refusal(parse_chat, chat_body(tools=tools, tool_choice=allowed("a", "d")))
    assert error.param == "tool_choice.allowed_tools.tools[1].function.name"


@pytest.mark.parametrize("name", ["a", "get_weather-2", "x" * 64])
def test_good_names_pass(name: str) -> None:
    assert parse_chat(chat_body(tools=[tool(name)])).payload["tools"][0]["function"]["name"] == name


@pytest.mark.parametrize("name", ["", "a b", "é", "a.b", "x" * 65, "a\n", "a\x00"])
def test_bad_names_do_not(name: str) -> None:
    assert refusal(parse_chat, chat_body(tools=[tool(name)])).param == "tools[0].function.name"


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
    ],
)
def test_other_kinds_of_tools_are_refused_by_name(changes: dict[str, Any]) -> None:
    error = refusal(parse_chat, chat_body(**changes))
    assert isinstance(error, UnsupportedParameter)
    assert (error.param or "").endswith(".type")


def test_a_hundred_and_twenty_eight_tools_are_the_most() -> None:
    assert len(parse_chat(chat_body(tools=[WEATHER] * 128)).payload["tools"]) == 128
    assert refusal(parse_chat, chat_body(tools=[WEATHER] * 129)).param == "tools"
    assert refusal(parse_chat, chat_body(tools=[])).param == "tools"


def test_schemas_are_bounded_in_depth() -> None:
    fits, deep = nested(MAX_SCHEMA_DEPTH), nested(MAX_SCHEMA_DEPTH + 1)
    assert parse_chat(chat_body(tools=[tool(parameters=fits)], response_format=structured(fits)))
    assert refusal(parse_chat, chat_body(tools=[tool(parameters=deep)])).param == "tools[0].function.parameters"
    error = refusal(parse_chat, chat_body(response_format=structured(deep)))
    assert error.param == "response_format.json_schema.schema"


def test_schemas_are_bounded_in_size() -> None:
    fits = {"description": "x" * (MAX_SCHEMA_BYTES - len('{"description":""}'))}
    assert len(msgspec.json.encode(fits)) == MAX_SCHEMA_BYTES
    assert parse_chat(chat_body(tools=[tool(parameters=fits)], response_format=structured(fits)))
    big = {"description": fits["description"] + "x"}
    assert refusal(parse_chat, chat_body(tools=[tool(parameters=big)])).param == "tools[0].function.parameters"
    error = refusal(parse_chat, chat_body(response_format=structured(big)))
    assert error.param == "response_format.json_schema.schema"


def test_a_schema_holds_no_nul() -> None:
    error = refusal(parse_chat, chat_body(response_format=structured({"pattern": "\x00"})))
    assert error.param == "response_format.json_schema.schema"


@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}, structured({"type": "object"})])
def test_the_three_response_formats_pass(response_format: dict[str, Any]) -> None:
    payload = parse_chat(chat_body(response_format=response_format)).payload
    assert payload["response_format"] == response_format


@pytest.mark.parametrize(
    ("response_format", "param"),
    [
        ("json", "response_format"),
        ({}, "response_format.type"),
        ({"type": "structural_tag"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "response_format.json_schema.schema"),
        (structured(True), "response_format.json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, "response_format.json_schema.name"),
        ({"type": "text", "json_schema": {}}, "response_format.json_schema"),
    ],
)
def test_a_misshapen_response_format_is_refused(response_format: Any, param: str) -> None:
    assert refusal(parse_chat, chat_body(response_format=response_format)).param == param
