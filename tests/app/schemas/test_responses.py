"""Responses: what OpenAI's request may say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas import chat, responses
from app.schemas.extras import VENDOR_EXTRAS
from app.schemas.response_fields import InputTokensRequest, ResponseRequest

RESPONSE = "resp_" + "0" * 32
CONVERSATION = "conv_" + "0" * 32
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "object", "properties": {"a": {"enum": [None, 1], "default": None}}}


def parsed(**fields: Any) -> responses.ParsedResponse:
    return responses.parse({"model": "m", "input": "Hello"} | fields, extras=VENDOR_EXTRAS)


def refused(**fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as refusal:
        parsed(**fields)
    return refusal.value.param


def test_a_text_is_one_message_of_the_user() -> None:
    assert parsed().items == [
        {
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hello"}],
        }
    ]
    assert parsed(input=[{"role": "user", "content": "Hello"}]).items == parsed().items


def test_what_works_goes_to_the_chat_and_passes_its_checks() -> None:
    fields = parsed(
        max_output_tokens=7,
        temperature=0.5,
        top_p=0.9,
        presence_penalty=1,
        top_k=3,
        tools=[TOOL],
        tool_choice={"type": "function", "name": "get_weather"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
        reasoning={"effort": "low", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
    ).fields
    assert fields == {
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1,
        "top_k": 3,
        "tools": [{"type": "function", "function": {name: TOOL[name] for name in ("name", "parameters", "strict")}}],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 2,
    }
    chat.parse({"model": "m", "prompt": "x"} | fields, extras=VENDOR_EXTRAS)


def test_allowed_tools_keep_their_meaning() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_weather"}]}
    other = TOOL | {"name": "other"}
    fields = parsed(tools=[TOOL, other], tool_choice=choice).fields
    payload = chat.parse({"model": "m", "prompt": "x"} | fields).payload
    assert payload["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in payload["tools"]] == ["get_weather"]


def test_logprobs_come_only_where_they_were_included() -> None:
    assert "logprobs" not in parsed(top_logprobs=5).fields
    assert parsed(include=["message.output_text.logprobs"]).fields == {"logprobs": True, "top_logprobs": 0}


@pytest.mark.parametrize(("form", "wanted"), [("text", None), ("json_object", {"type": "json_object"})])
def test_formats_are_those_of_the_chat(form: str, wanted: dict[str, Any] | None) -> None:
    assert parsed(text={"format": {"type": form}}).fields.get("response_format") == wanted


def test_something_to_continue_makes_input_needless() -> None:
    assert parsed(input=None, previous_response_id=RESPONSE).previous == RESPONSE
    assert parsed(input=[], conversation=CONVERSATION).conversation == CONVERSATION
    assert parsed(conversation={"id": CONVERSATION}).conversation == CONVERSATION


def test_references_stay_references() -> None:
    assert parsed(input=[{"id": "msg_1"}]).items == [{"type": "item_reference", "id": "msg_1"}]


def test_what_was_said_is_repeated_and_what_was_not_has_its_default() -> None:
    plain = parsed().shown
    assert (plain["temperature"], plain["tool_choice"], plain["store"]) == (1.0, "auto", True)
    assert plain["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert "user" not in plain
    said = parsed(
        temperature=0,
        tools=[TOOL],
        tool_choice={"type": "function", "name": "get_weather"},
        metadata={"a": "b"},
        store=False,
        user="me",
        conversation=CONVERSATION,
        text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}, "verbosity": "low"},
    ).shown
    assert said["temperature"] == 0
    assert said["tool_choice"] == {"type": "function", "name": "get_weather"}
    assert said["tools"] == [TOOL | {"description": None}]
    assert (said["metadata"], said["store"], said["user"]) == ({"a": "b"}, False, "me")
    assert said["conversation"] == {"id": CONVERSATION}
    assert said["text"] == {
        "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA},
        "verbosity": "low",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"$set": {}}, "$set"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [TOOL | {"x": 1}]}},
            "tool_choice.tools[0].parameters",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "other"}],
                },
            },
            "tool_choice.tools[0].name",
        ),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"previous_response_id": RESPONSE, "conversation": CONVERSATION}, "previous_response_id"),
        ({"previous_response_id": CONVERSATION}, "previous_response_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": RESPONSE}, "conversation"),
        ({"conversation": {"id": "x"}}, "conversation"),
        ({"conversation": {"id": CONVERSATION, "x": 1}}, "conversation.x"),
        ({"background": True, "store": False}, "store"),
        ({"stream_options": {}}, "stream_options"),
        ({"include": ["everything"]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"$set": "x"}}, "metadata.$set"),
        ({"metadata": {"a.b": "x"}}, "metadata.a.b"),
        ({"truncation": "oldest"}, "truncation"),
        ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


def test_every_field_of_the_sdk_is_known() -> None:
    known = ResponseRequest.known | {"stream"}
    assert set(ResponseCreateParamsBase.__annotations__) - known - set(responses.REFUSED) == set()
    assert set(InputTokenCountParams.__annotations__) - InputTokensRequest.known == set()


def test_what_would_change_the_answer_is_refused_by_name() -> None:
    for name in responses.REFUSED:
        with pytest.raises(UnsupportedParameter) as refusal:
            parsed(**{name: {}})
        assert refusal.value.param == name


def test_a_vendor_extra_needs_leave() -> None:
    with pytest.raises(UnsupportedParameter):
        responses.parse({"model": "m", "input": "x", "top_k": 1})


def test_tokens_are_counted_of_the_same_input() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "Hello"}], "tools": [TOOL], "instructions": "Be brief."}
    counted = responses.parse_input_tokens(body)
    assert counted.items == parsed().items
    assert counted.fields == parsed(tools=[TOOL]).fields
    with pytest.raises(InvalidRequest, match="max_output_tokens"):
        responses.parse_input_tokens(body | {"max_output_tokens": 7})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from((RESPONSE, "auto", "function")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("type", "id", "format", "name")), inner)
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ResponseRequest.known)), VALUES, max_size=4))
def test_any_json_is_either_taken_or_refused_by_name(fields: dict[str, Any]) -> None:
    try:
        responses.parse({"model": "m", "input": "x"} | fields, extras=VENDOR_EXTRAS)
    except InvalidRequest as refusal:
        named = refusal.param
    else:
        named = "model"
    assert named
