from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.completion import of_stream
from app.domain.round_end import Ending, end_round
from app.domain.run import Run, RunOrder
from app.services.threads.events import RoundEvents
from tests.support.threads import events_of, names_of

RUN = Run(
    "run_1", "user_1", "thread_1", "asst_1", 1000, 601_000, RunOrder("m"), status="in_progress", tail="0" * 32, turn=1
)
OPENED = ["thread.run.step.created", "thread.run.step.in_progress"]
SAYS = [*OPENED, "thread.message.created", "thread.message.in_progress", "thread.message.delta"]


def frame(finish: str | None = None, **delta: Any) -> bytes:
    """One event of a chat's stream."""
    chunk = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def call(index: int, arguments: str, **first: str) -> dict[str, Any]:
    """A piece of a call; its first one has its name too."""
    named = {"name": first["name"]} if first else {}
    return {"index": index, **({"id": first["id"]} if first else {}), "function": {**named, "arguments": arguments}}


def told(stream: bytes, ending: Ending = "answered", size: int = 1 << 20) -> list[tuple[str, Any]]:
    """The events of a round; the stream comes in chunks of a size."""
    events = RoundEvents(RUN)
    told = b"".join(events.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    return events_of(told + events.end(end_round(RUN, of_stream(stream), ending, 2000)))


TEXT = frame(role="assistant", content="") + frame(content="Hel") + frame(content='lo "\n\\') + frame("stop")
DONE = b"data: [DONE]\n\n"
CALLS = (
    frame(role="assistant", content=None)
    + frame(tool_calls=[call(0, "", id="call_1", name="look")])
    + frame(tool_calls=[call(0, '{"a"')])
    + frame(tool_calls=[call(0, ":1}")])
    + frame(tool_calls=[call(1, "{}", id="call_2", name="listen")])
    + frame("tool_calls")
)


def test_a_text_is_told_piece_by_piece():
    events = told(TEXT + DONE)
    ends = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"]
    assert names_of(events) == [*SAYS, *ends]
    pieces = [each["delta"]["content"][0]["text"]["value"] for name, each in events if name == "thread.message.delta"]
    assert pieces == ["Hel", 'lo "\n\\']


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_where_the_stream_is_cut(size: int):
    for stream in (TEXT + DONE, CALLS + DONE):
        assert told(stream, size=size) == told(stream)


def test_calls_are_told_once_by_name_and_then_by_their_arguments():
    events = told(CALLS + DONE)
    assert names_of(events) == [*OPENED, "thread.run.step.delta", "thread.run.requires_action", "done"]
    deltas = [each["delta"]["step_details"]["tool_calls"][0] for name, each in events if name.endswith("delta")]
    assert [delta.get("id") for delta in deltas] == ["call_1", None, None, "call_2"]
    assert [delta["function"]["arguments"] for delta in deltas] == ["", '{"a"', ":1}", "{}"]
    waits = dict(events)["thread.run.requires_action"]["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [each["function"]["arguments"] for each in waits] == ['{"a":1}', "{}"]


def test_what_is_said_before_a_call_is_a_message_of_its_own():
    names = names_of(told(frame(content="Let me see") + CALLS + DONE))
    assert names == [
        *SAYS,
        *OPENED,
        "thread.run.step.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.requires_action",
        "done",
    ]


def test_an_empty_answer_is_a_message_all_the_same():
    names = names_of(told(frame(role="assistant", content="") + frame("stop") + DONE))
    assert names[:4] == SAYS[:4]
    assert "thread.message.completed" in names


@pytest.mark.parametrize("ending", ["cancelled", "expired", "failed"])
def test_what_breaks_off_is_closed(ending: Ending):
    names = names_of(told(frame(content="Hel"), ending))
    assert names == [*SAYS, "thread.message.incomplete", f"thread.run.step.{ending}", f"thread.run.{ending}", "done"]
    assert names_of(told(b"", ending)) == [f"thread.run.{ending}", "done"]


def test_what_is_no_chunk_is_nothing_to_tell():
    events = RoundEvents(RUN)
    assert events.feed(b": comment\n\ndata: {\n\ndata: [1]\n\ndata: \xff\n\nevent: x\ndata: {}\n\n") == b""
