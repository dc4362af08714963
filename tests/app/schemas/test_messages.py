"""Messages: six roles come in, four go on; text only."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import UnsupportedParameter
from tests.app.schemas.bodies import CALL, QUESTION, chat_body, parse_chat, refusal


def forwarded(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return parse_chat(chat_body(messages=list(messages))).payload["messages"]


def refused(*messages: dict[str, Any]) -> str | None:
    return refusal(parse_chat, chat_body(messages=list(messages))).param


def test_a_developer_speaks_as_the_system() -> None:
    assert forwarded({"role": "developer", "content": "Be brief."}) == [{"role": "system", "content": "Be brief."}]


def test_names_and_text_parts_are_kept() -> None:
    message = {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}
    assert forwarded(message) == [message]


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    answer = {
        "role": "assistant",
        "content": "Hello.",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning": None,
    }
    assert forwarded(QUESTION, answer) == [QUESTION, {"role": "assistant", "content": "Hello."}]


def test_a_refusal_is_what_the_assistant_said() -> None:
    assert forwarded({"role": "assistant", "content": None, "refusal": "No."}) == [
        {"role": "assistant", "content": "No."}
    ]
    parts = [{"type": "refusal", "refusal": "No."}]
    assert forwarded({"role": "assistant", "content": parts})[0]["content"] == parts


def test_reasoning_goes_under_one_name() -> None:
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Because."}
    assert forwarded(message)[0]["reasoning"] == "Because."


def test_only_calls_make_content_needless() -> None:
    assert forwarded({"role": "assistant", "content": None, "tool_calls": [CALL]}) == [
        {"role": "assistant", "tool_calls": [CALL]}
    ]
    assert refused({"role": "assistant", "content": None}) == "messages[0].content"
    assert refused({"role": "assistant", "tool_calls": []}) == "messages[0].content"


@pytest.mark.parametrize("arguments", ["", "{", "not json", "[1]", "3", '{"a": NaN}', '{"a":' * 60 + "1"])
def test_a_call_that_a_model_wrote_badly_counts_as_one_without_arguments(arguments: str) -> None:
    call = CALL | {"function": {"name": "f", "arguments": arguments}}
    assert forwarded({"role": "assistant", "tool_calls": [call]})[0]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("arguments", ["{}", '{ "a" : 1 }', '{"a": 18446744073709551616}'])
def test_arguments_that_can_be_read_are_kept_to_the_letter(arguments: str) -> None:
    call = CALL | {"function": {"name": "f", "arguments": arguments}}
    function = forwarded({"role": "assistant", "tool_calls": [call]})[0]["tool_calls"][0]["function"]
    assert function["arguments"] == arguments


@pytest.mark.parametrize("arguments", ['{"a":' + "[" * 64 + "]" * 64 + "}", "[" * 5_000, '{"a":' * 100_000])
def test_arguments_that_no_parser_likes_are_refused(arguments: str) -> None:
    call = CALL | {"function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "tool_calls": [call]}
    assert refused(message) == "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "prompt_embeds", "data": ""},
    ],
)
def test_content_is_text_alone(role: str, part: dict[str, Any]) -> None:
    message = {"role": role, "content": [{"type": "text", "text": "Look:"}, part], "tool_call_id": "c"}
    if role != "tool":
        del message["tool_call_id"]
    error = refusal(parse_chat, chat_body(messages=[message]))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == "messages[0].content[1].type"
    assert part["type"] in error.message


def test_a_picture_without_a_type_is_refused_too() -> None:
    assert refused({"role": "user", "content": [{"image_url": {"url": "x"}}]}) == "messages[0].content[0].image_url"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": ["text"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": ["text"]}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, "messages[0].content[0].type"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "x"}, "messages[0].name"),
        ({"role": "critic", "content": "x"}, "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "messages[0].tool_calls"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "messages[0].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "x", "input": ""}}]},
            "messages[0].tool_calls[0].type",
        ),
        ({"role": "assistant", "tool_calls": [CALL] * 129}, "messages[0].tool_calls"),
    ],
)
def test_a_misshapen_message_is_refused(message: dict[str, Any], param: str) -> None:
    assert refused(message) == param
