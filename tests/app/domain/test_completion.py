from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.completion import Completion, of_body, of_stream, output_items
from tests.support.openai_schema import needs_openai_schema, validate

TAIL = "0198a6c1b2c3" + "4" * 20
ENVELOPE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
DONE = b"data: [DONE]\n\n"


def frame(*choices: dict[str, Any], **more: Any) -> bytes:
    return b"data: " + json.dumps({**ENVELOPE, "choices": choices, **more}).encode() + b"\n\n"


def delta(index: int = 0, finish: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "logprobs": logprobs, "finish_reason": finish}


def said(*texts: str) -> bytes:
    return b"".join([frame(delta(role="assistant", content="")), *(frame(delta(content=text)) for text in texts)])


PLAIN = said("Hello", ' \\"world"', "\n\ndata: [DONE]\n\n") + frame(delta(finish="stop")) + DONE
CALLS = (
    frame(delta(role="assistant", content=None))
    + frame(
        delta(tool_calls=[{"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}])
    )
    + frame(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]))
    + frame(delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]))
    + frame(
        delta(
            tool_calls=[{"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]
        )
    )
    + frame(delta(finish="tool_calls"))
    + DONE
)
THOUGHT = (
    frame(delta(role="assistant", content=""))
    + frame(delta(reasoning="Let me "))
    + frame(delta(reasoning_content="see."))
    + frame(delta(content="Yes."))
    + frame(delta(finish="stop"))
    + DONE
)


def texts(completion: Completion, tail: str = TAIL) -> list[tuple[str, str]]:
    """Type and status of each item."""
    return [(item["type"], item["status"]) for item in output_items(completion, tail)]


def test_a_stream_says_what_a_whole_answer_would():
    completion = of_stream(PLAIN)
    assert completion.complete
    assert completion.to_dict() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": 'Hello \\"world"\n\ndata: [DONE]\n\n', "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }
    assert of_body(json.dumps(completion.to_dict()).encode()) == completion


def test_a_message_is_one_item():
    (item,) = output_items(of_stream(PLAIN), TAIL)
    assert item == {
        "type": "message",
        "id": f"msg_{TAIL}",
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": 'Hello \\"world"\n\ndata: [DONE]\n\n', "annotations": [], "logprobs": []}
        ],
    }


def test_calls_are_items_each():
    completion = of_stream(CALLS)
    items = output_items(completion, TAIL)
    assert [(item["id"], item["call_id"], item["name"], item["arguments"], item["status"]) for item in items] == [
        (f"fc_{TAIL}00", "call_a", "f", '{"a":1}', "completed"),
        (f"fc_{TAIL}01", "call_b", "g", "{}", "completed"),
    ]
    assert of_body(json.dumps(completion.to_dict()).encode()) == completion


def test_what_was_thought_comes_before_what_was_said():
    items = output_items(of_stream(THOUGHT), TAIL)
    assert [item["id"] for item in items] == [f"rs_{TAIL}", f"msg_{TAIL}"]
    assert items[0]["content"] == [{"type": "reasoning_text", "text": "Let me see."}]


def test_several_choices_are_kept_apart():
    stream = b"".join(
        [
            frame(delta(0, content="a"), delta(1, content="x")),
            frame(delta(1, content="y")),
            frame(delta(0, finish="stop")),
            frame(delta(1, finish="length")),
            frame(usage={"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}),
            DONE,
        ]
    )
    completion = of_stream(stream)
    assert [(choice.index, choice.content, choice.finish_reason) for choice in completion.choices] == [
        (0, "a", "stop"),
        (1, "xy", "length"),
    ]
    assert completion.usage == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


def test_a_refusal_is_a_part_of_a_message():
    stream = frame(delta(role="assistant", content=None)) + frame(delta(refusal="No")) + frame(delta(refusal="."))
    (item,) = output_items(of_stream(stream + frame(delta(finish="stop")) + DONE), TAIL)
    assert item["content"] == [{"type": "refusal", "refusal": "No."}]


def test_log_probabilities_survive():
    row = {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": None,
        "top_logprobs": [{"token": "Ho", "logprob": -1, "bytes": [1]}],
    }
    stream = frame(delta(content="Hi", logprobs={"content": [row], "refusal": None})) * 2
    completion = of_stream(stream + frame(delta(finish="stop")) + DONE)
    assert completion.choices[0].logprobs == {"content": [row, row], "refusal": None}
    (item,) = output_items(completion, TAIL)
    shown = {**row, "bytes": [72, 105]}
    assert item["content"][0]["logprobs"] == [shown, shown]


@pytest.mark.parametrize(
    ("finish", "status"), [("stop", "completed"), ("length", "incomplete"), ("content_filter", "incomplete")]
)
def test_an_answer_that_was_bounded_is_incomplete(finish: str, status: str):
    completion = of_stream(said("Hello") + frame(delta(finish=finish)) + DONE)
    assert completion.complete
    assert texts(completion) == [("message", status)]


def test_the_call_that_was_cut_off_is_the_last_one():
    completion = of_stream(CALLS[: CALLS.index(b'"finish_reason": "tool_calls"')])
    assert texts(completion) == [("function_call", "completed"), ("function_call", "incomplete")]


def test_an_error_ends_an_answer_that_is_kept_as_far_as_it_came():
    error = {"message": "died", "type": "server_error", "param": None, "code": None}
    completion = of_stream(said("Hel") + b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    assert (completion.complete, completion.error) == (False, error)
    assert texts(completion) == [("message", "incomplete")]


@pytest.mark.parametrize(
    "nothing", [b"", b"{", b"data: ", b": waiting\n\n", b"[]", b"data: []\n\n", b"\xff\n\n", b"null"]
)
def test_of_nothing_comes_nothing(nothing: bytes):
    for completion in (of_stream(nothing), of_body(nothing)):
        assert not completion.complete
        assert output_items(completion, TAIL) == []


def test_an_answer_that_only_began_is_none():
    assert output_items(of_stream(frame(delta(role="assistant", content=""))), TAIL) == []


def test_an_answer_that_says_nothing_is_one():
    completion = of_stream(said() + frame(delta(finish="stop")) + DONE)
    assert texts(completion) == [("message", "completed")]


def test_comments_and_names_of_events_are_no_part_of_it():
    stream = b": waiting for the model\n\n" + b"event: chunk\n" + PLAIN
    assert of_stream(stream) == of_stream(PLAIN)


@pytest.mark.parametrize("stream", [PLAIN, CALLS, THOUGHT], ids=["text", "calls", "thought"])
def test_wherever_it_is_cut_off_what_came_whole_counts(stream: bytes):
    ends = [at + 2 for at in range(len(stream)) if stream[at : at + 2] == b"\n\n"]
    for at in range(len(stream)):
        whole = max((end for end in ends if end <= at), default=0)
        assert of_stream(stream[:at]) == of_stream(stream[:whole])
        assert not of_stream(stream[:at]).complete


@needs_openai_schema
@pytest.mark.parametrize("stream", [PLAIN, CALLS, THOUGHT], ids=["text", "calls", "thought"])
def test_items_are_openais_wherever_they_were_cut_off(stream: bytes):
    for at in range(0, len(stream), 37):
        completion = of_stream(stream[:at])
        for item in output_items(completion, TAIL):
            validate("ConversationItem", item)
        if completion.choices:
            validate("CreateChatCompletionResponse", completion.to_dict())
