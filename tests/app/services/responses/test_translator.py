"""A chat's stream becomes the events of a response: each valid, in OpenAI's order, whatever way the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from app.domain.completion import of_stream, output_items
from app.errors import InvalidRequest, RateLimited, ServerError
from tests.app.services.responses.frames import (
    BROKEN,
    DONE,
    END,
    FAULT,
    GET_TIME,
    ROLE,
    STREAMS,
    TAIL,
    call,
    chunk,
    delta,
    text,
    translated,
    translator,
)
from tests.support.openai_schema import needs_openai_schema, validate
from tests.support.response_events import events, order, valid_events

ALL = STREAMS | BROKEN
NAMES = sorted(ALL)
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
BEGUN = ["created", "in_progress"]
MESSAGE = ["output_item.added", "content_part.added"]
SAID = ["output_text.done", "content_part.done", "output_item.done"]
CALLED = ["function_call_arguments.done", "output_item.done"]


@needs_openai_schema
@pytest.mark.parametrize("name", NAMES)
def test_every_event_is_one_that_openai_describes(name: str) -> None:
    for event in valid_events(translated(ALL[name])[1]):
        SDK_EVENT.validate_python(event)


@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_puts_together_what_the_response_says(name: str) -> None:
    ours, stream = translated(ALL[name])
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events(stream):
        state.handle_event(SDK_EVENT.validate_python(event))
    done = state._completed_response
    if ours.response["status"] == "completed":
        assert done is not None
        assert unparsed(done.to_dict()["output"]) == unparsed(ours.items)
    else:
        assert done is None


def unparsed(value: Any) -> Any:
    """Without what the SDK adds."""
    if isinstance(value, list):
        return [unparsed(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: unparsed(each) for name, each in value.items() if name not in ("parsed", "parsed_arguments")}


@pytest.mark.parametrize("name", NAMES)
def test_deltas_spell_what_is_done(name: str) -> None:
    ours, stream = translated(ALL[name])
    spelt: dict[tuple[int, int], str] = {}
    for event in events(stream):
        place = (event.get("output_index", -1), event.get("content_index", 0))
        if event["type"].endswith(".delta"):
            spelt[place] = spelt.get(place, "") + event["delta"]
        for field in ("text", "refusal", "arguments"):
            if event["type"].endswith(f"{field}.done"):
                assert event[field] == spelt.get(place, "")
    for (index, at), said in spelt.items():
        item = ours.items[index]
        part = item["content"][at] if "content" in item else item
        assert said in part.values()


@pytest.mark.parametrize("name", NAMES)
def test_items_are_those_that_a_whole_answer_has(name: str) -> None:
    stream = ALL[name]
    if name == "a frame that is none":
        stream = stream[: stream.index(b"data: {nonsense")]
    assert translated(ALL[name])[0].items == output_items(of_stream(stream), TAIL)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("text", [*BEGUN, *MESSAGE, "output_text.delta", *SAID, "completed"]),
        ("nothing", [*BEGUN, *MESSAGE, *SAID, "completed"]),
        ("a call", [*BEGUN, "output_item.added", "function_call_arguments.delta", *CALLED, "completed"]),
        (
            "calls",
            [*BEGUN, *(["output_item.added", "function_call_arguments.delta", *CALLED] * 2), "completed"],
        ),
        (
            "a text, then a call",
            [
                *BEGUN,
                *MESSAGE,
                "output_text.delta",
                *SAID,
                "output_item.added",
                "function_call_arguments.delta",
                *CALLED,
                "completed",
            ],
        ),
        (
            "a refusal",
            [
                *BEGUN,
                *MESSAGE,
                "refusal.delta",
                "refusal.done",
                "content_part.done",
                "output_item.done",
                "completed",
            ],
        ),
        (
            "thoughts, then a text",
            [
                *BEGUN,
                *MESSAGE,
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                *MESSAGE,
                "output_text.delta",
                *SAID,
                "completed",
            ],
        ),
        ("a text cut off by its length", [*BEGUN, *MESSAGE, "output_text.delta", *SAID, "incomplete"]),
        ("an error", [*BEGUN, *MESSAGE, "output_text.delta", "error", "failed"]),
        ("an error at once", [*BEGUN, "error", "failed"]),
        ("an end too early", [*BEGUN, *MESSAGE, "output_text.delta", "error", "failed"]),
    ],
)
def test_events_come_in_openais_order(name: str, kinds: list[str]) -> None:
    assert order(translated(ALL[name])[1]) == kinds


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_it_does_not_matter_where_the_bytes_are_cut(data: st.DataObject) -> None:
    stream = ALL[data.draw(st.sampled_from(NAMES))]
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert timeless(translated(stream, cuts)[1]) == timeless(translated(stream)[1])


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_can_come_alone(name: str) -> None:
    stream = ALL[name]
    assert timeless(translated(stream, list(range(len(stream))))[1]) == timeless(translated(stream)[1])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text() | st.text('"\\{}\n\u2028,:'), min_size=1))
def test_any_text_comes_through_as_it_is(pieces: list[str]) -> None:
    ours, stream = translated(ROLE + text(*pieces) + delta("stop") + END)
    assert ours.items[0]["content"][0]["text"] == "".join(pieces)
    said = [event["delta"] for event in events(stream) if event["type"] == "response.output_text.delta"]
    assert "".join(said) == "".join(pieces)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary() | st.sampled_from([ROLE, DONE, GET_TIME, *text("a", "b").split(b"\n\n"), b"\n\n", b"data: "]))
)
def test_nothing_that_an_engine_sends_breaks_it(pieces: list[bytes]) -> None:
    ours = translator()
    told = [ours.start(), *map(ours.feed, pieces), ours.finish()]
    assert events(b"".join(told))[-1]["type"] in ("response.completed", "response.failed", "response.incomplete")


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("choices", "delta", "content", "index", "tool_calls", "function", "error", "usage")),
                inner,
            )
        ),
    )
)
def test_any_json_in_a_frame_is_taken_or_fails_the_response(value: Any) -> None:
    ours = translator()
    ours.start()
    ours.feed(b"data: " + json.dumps(value).encode() + b"\n\n")
    assert events(ours.finish())[-1]["response"]["status"] in ("completed", "failed", "incomplete")


def timeless(stream: bytes) -> list[dict[str, Any]]:
    told = events(stream)
    for event in told:
        event.get("response", {}).pop("completed_at", None)
    return told


def test_plain_frames_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = translator()
    ours.start()
    ours.feed(ROLE + text("first"))
    monkeypatch.setattr("app.services.responses.translator.decoded", pytest.fail)
    said = events(ours.feed(text("second", 'with "quotes"', "with \\ and \n")))
    assert [event["delta"] for event in said] == ["second", 'with "quotes"', "with \\ and \n"]


def test_frames_of_another_choice_are_not_taken_for_more_of_the_first() -> None:
    other = chunk([{"index": 1, "delta": {"content": "other"}, "logprobs": None, "finish_reason": None}])
    ours, _ = translated(ROLE + text("a") + other + text("b") + other + delta("stop") + END)
    assert ours.items[0]["content"][0]["text"] == "ab"


def test_a_frame_with_more_than_text_is_parsed_in_between() -> None:
    finished = delta("stop", content="c")
    ours, _ = translated(ROLE + text("a", "b") + finished + END)
    assert ours.items[0]["content"][0]["text"] == "abc"
    assert ours.items[0]["status"] == "completed"


def test_comments_and_other_fields_of_events_are_passed_over() -> None:
    ours, _ = translated(b": waiting\n\n" + ROLE + b"event: x\nid: 1\n" + text("a") + delta("stop") + END)
    assert ours.items[0]["content"][0]["text"] == "a"


def test_a_text_after_a_call_is_another_message() -> None:
    ours, stream = translated(ROLE + text("a") + GET_TIME + call(0, "{}") + text("b") + delta("stop") + END)
    assert [item["id"] for item in ours.items] == [f"msg_{TAIL}", f"fc_{TAIL}00", f"msg_{TAIL}01"]
    validate("Response", events(stream)[-1]["response"])


def test_line_breaks_between_calls_are_no_messages() -> None:
    ours, _ = translated(STREAMS["lines broken between calls"])
    assert [item["type"] for item in ours.items] == ["message", "function_call", "function_call"]
    between, _ = translated(STREAMS["texts between calls"])
    assert [item["type"] for item in between.items] == ["function_call", "message", "function_call", "message"]
    assert between.items[1]["content"][0]["text"] == "\n And now:"


def test_an_engine_that_comes_back_to_a_call_fails_the_response() -> None:
    other = call(1, "{}", name="g", id="call_2")
    ours, _ = translated(ROLE + GET_TIME + call(0, "{") + other + call(0, "}") + delta("tool_calls") + END)
    assert ours.response["status"] == "failed"


def test_usage_is_told_as_responses_have_it() -> None:
    assert translated(STREAMS["text"])[0].response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a text cut off by its length", "max_output_tokens"),
        ("a text cut off by a filter", "content_filter"),
        ("a call cut off", "max_output_tokens"),
    ],
)
def test_what_was_cut_off_says_why(name: str, reason: str) -> None:
    response = translated(STREAMS[name])[0].response
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][-1]["status"] == "incomplete"
    assert response["completed_at"] is None


def test_an_error_is_told_in_full_and_in_the_response() -> None:
    ours, stream = translated(BROKEN["an error"])
    error, last = events(stream)[-2:]
    assert {name: error[name] for name in ("message", "code", "param")} == {
        name: FAULT[name] for name in ("message", "code", "param")
    }
    assert last["response"]["error"] == {"code": "server_error", "message": FAULT["message"]}
    assert ours.items[0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("a"), "invalid_prompt"),
        (RateLimited("b"), "rate_limit_exceeded"),
        (ServerError("c"), "server_error"),
    ],
)
def test_a_failure_from_elsewhere_fails_the_response(error: Any, code: str) -> None:
    ours = translator()
    ours.start()
    ours.feed(ROLE + text("Hel"))
    last = events(ours.fail(error))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", code)
    validate("ResponseFailedEvent", last)


def test_a_cancelled_response_keeps_what_came() -> None:
    ours = translator()
    ours.start()
    ours.feed(ROLE + text("Hel", "lo"))
    (last,) = events(ours.cancel())
    validate("ResponseIncompleteEvent", last)
    assert (last["response"]["status"], ours.items[0]["status"]) == ("cancelled", "incomplete")
    assert ours.items[0]["content"][0]["text"] == "Hello"


def test_a_response_that_nobody_works_on_any_more_is_incomplete() -> None:
    ours = translator()
    ours.feed(ROLE + text("Hel"))
    (last,) = events(ours.break_off())
    validate("ResponseIncompleteEvent", last)
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == ("incomplete", None)


def test_a_response_that_waits_is_queued_first_and_numbers_go_on() -> None:
    waiting = translator(background=True)
    queued = events(waiting.queue())
    assert [event["type"] for event in queued] == ["response.created", "response.queued"]
    assert {event["response"]["status"] for event in queued} == {"queued"}
    running = translator(first=queued[-1]["sequence_number"] + 1, background=True)
    (begun,) = events(running.start(created=False))
    assert (begun["type"], begun["sequence_number"]) == ("response.in_progress", 2)


def test_every_field_is_always_there() -> None:
    required = [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "incomplete_details",
        "model",
        "previous_response_id",
        "instructions",
        "output",
        "error",
        "tools",
        "tool_choice",
        "truncation",
        "parallel_tool_calls",
        "text",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "temperature",
        "reasoning",
        "usage",
        "max_output_tokens",
        "max_tool_calls",
        "store",
        "background",
        "service_tier",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
    ]
    shown: list[Mapping[str, Any]] = [
        translator().response,
        *(translated(stream)[0].response for stream in ALL.values()),
    ]
    for response in shown:
        assert set(required) <= set(response)
        validate("Response", response)
