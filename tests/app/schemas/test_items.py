"""Items: every kind comes in as it is sent or was answered, and is shown in one shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.schemas.conversations import parse_added
from app.schemas.items import MAX_ITEMS
from app.schemas.responses import parse
from tests.support.openai_schema import needs_openai_schema, validate

OUTPUT_TEXT: dict[str, Any] = {"type": "output_text", "text": "Hi.", "annotations": [], "logprobs": []}
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
CITATION = {"type": "url_citation", "url": "https://a.test", "start_index": 0, "end_index": 2, "title": "A"}
ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "Hello"},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
    {"type": "message", "role": "user", "content": [{"type": "text", "text": "as threads have it"}]},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "what is it?", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_image", "image_url": "https://a.test/cat.png"},
            {"type": "input_image", "file_id": "file-1", "detail": "low"},
        ],
    },
    {"role": "assistant", "content": "Hi."},
    {"role": "assistant", "content": [{"type": "input_text", "text": "Hi."}], "phase": "commentary"},
    {"role": "assistant", "content": [], "status": "incomplete"},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "phase": None,
        "content": [
            {**OUTPUT_TEXT, "annotations": [CITATION], "logprobs": [LOGPROB], "parsed": None},
            {**OUTPUT_TEXT, "logprobs": None},
            {"type": "refusal", "refusal": "No."},
        ],
    },
    {"type": "function_call", "call_id": "call_1", "name": "now", "arguments": "{}"},
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_2",
        "name": "now",
        "arguments": '{"zone": ',
        "status": "incomplete",
        "caller": None,
        "namespace": None,
        "parsed_arguments": {"a": 1},
    },
    {"type": "function_call_output", "call_id": "call_1", "output": "12:00"},
    {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": [{"type": "input_text", "text": "12"}, {"type": "input_image", "file_id": "file-1"}],
    },
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}],
        "encrypted_content": None,
        "status": None,
    },
    {"type": "reasoning", "id": "rs_1", "summary": None, "content": None, "encrypted_content": "abc"},
]


def shown(item: dict[str, Any]) -> dict[str, Any]:
    return dict(parse_added({"items": [item]})[0])


def refused(item: Any) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as refusal:
        parse_added({"items": [item]})
    return refusal.value.param, refusal.value.message


@needs_openai_schema
@pytest.mark.parametrize("item", ITEMS)
def test_whatever_is_accepted_is_shown_as_openai_shows_it(item: dict[str, Any]) -> None:
    body = shown(item) | {"id": "item_1"}
    validate("ConversationItem", body)
    validate("ItemResource", body)


@pytest.mark.parametrize("item", ITEMS)
def test_what_is_shown_can_be_sent_again_and_stays_as_it_is(item: dict[str, Any]) -> None:
    assert shown(shown(item)) == shown(item)


def test_a_message_in_short_becomes_one_in_full() -> None:
    assert shown({"role": "user", "content": "Hello"}) == {
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }
    assert shown({"role": "assistant", "content": "Hi."})["content"] == [OUTPUT_TEXT]


def test_a_phase_is_kept_where_it_means_something() -> None:
    assert shown({"role": "assistant", "content": "Hi.", "phase": "final_answer"})["phase"] == "final_answer"
    assert "phase" not in shown({"role": "user", "content": "Hi.", "phase": None})


def test_an_id_is_kept_only_if_it_was_given() -> None:
    assert "id" not in shown({"role": "user", "content": "Hi."})
    assert shown({"id": "msg_7", "type": "message", "role": "user", "content": "Hi."})["id"] == "msg_7"


def test_arguments_stay_as_the_model_wrote_them() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":  broken'}
    assert shown(call)["arguments"] == '{"a":  broken'


def test_references_are_taken_only_where_they_can_be_followed() -> None:
    items = [{"id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}, {"type": None, "id": "msg_3"}]
    taken = parse({"model": "m", "input": items}).items
    assert taken == [{"type": "item_reference", "id": f"msg_{number}"} for number in (1, 2, 3)]
    assert refused(items[1])[0] == "items[0]"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "web_search_call", "id": "ws_1"}, "items[0].type"),
        ({"type": ["message"]}, "items[0].type"),
        ({}, "items[0].type"),
        ("text", "items[0]"),
        (None, "items[0]"),
        ({"type": "message", "content": "x"}, "items[0].role"),
        ({"role": "tool", "content": "x"}, "items[0].role"),
        ({"role": "user"}, "items[0].content"),
        ({"role": "user", "content": []}, "items[0].content"),
        ({"role": "user", "content": 7}, "items[0].content"),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "x"}]}, "items[0].content[1].type"),
        ({"role": "user", "content": [{"type": "output_text", "text": "a"}]}, "items[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "items[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "items[0].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_text", "text": None}]}, "items[0].content[0].text"),
        ({"role": "user", "content": "x", "$set": {}}, "items[0].$set"),
        ({"role": "user", "content": "x", "a.b": 1}, "items[0].a.b"),
        ({"role": "user", "content": "x", "status": "done"}, "items[0].status"),
        ({"role": "user", "content": "x", "id": ""}, "items[0].id"),
        (
            {"role": "assistant", "content": [{**OUTPUT_TEXT, "annotations": [{"type": "x"}]}]},
            "items[0].content[0].annotations[0].type",
        ),
        (
            {"role": "assistant", "content": [{**OUTPUT_TEXT, "logprobs": [{"token": "a"}]}]},
            "items[0].content[0].logprobs[0].logprob",
        ),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "items[0].call_id"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "items[0].arguments"),
        (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "[" * 99 + "]" * 99},
            "items[0].arguments",
        ),
        ({"type": "function_call_output", "call_id": "c"}, "items[0].output"),
        ({"type": "reasoning", "summary": [{"type": "text", "text": ""}]}, "items[0].summary[0].type"),
        ({"type": "item_reference"}, "items[0].id"),
    ],
)
def test_what_is_wrong_is_named(item: Any, param: str) -> None:
    assert refused(item)[0] == param


def test_the_list_itself_is_checked_and_named_as_its_field() -> None:
    for value in ("text", {"role": "user"}, None, 5):
        with pytest.raises(InvalidRequest) as refusal:
            parse_added({"items": value})
        assert refusal.value.param == "items"
    with pytest.raises(InvalidRequest, match=f"at most {MAX_ITEMS} items"):
        parse({"model": "m", "input": [{"role": "user", "content": ""}] * (MAX_ITEMS + 1)})


def test_an_unknown_kind_is_told_with_the_known_ones() -> None:
    assert '"web_search_call"' in refused({"type": "web_search_call"})[1]
    assert "'function_call_output'" in refused({"type": "web_search_call"})[1]


KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(("type", "role", "id")), inner),
)
FIELDS = ("type", "role", "content", "id", "status", "output", "summary", "call_id", "name", "arguments", "text")
WORDS = ("message", "user", "assistant", "function_call", "reasoning", "item_reference", "input_text", "output_text")
NEARLY = st.recursive(
    st.sampled_from(WORDS) | st.text() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
)


@settings(max_examples=150, deadline=None)
@given(JSON | NEARLY | st.lists(NEARLY))
def test_any_json_is_either_taken_or_refused_by_name(value: Any) -> None:
    try:
        bodies = parse({"model": "m", "input": value}).items
    except InvalidRequest as refusal:
        named = refusal.param or ""
    else:
        named = "input"
        assert {body["type"] for body in bodies} <= set(KINDS)
    assert named.startswith("input")
