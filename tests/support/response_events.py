"""Streams of the Responses API: their events, checked."""

from __future__ import annotations

import json
from typing import Any

from tests.support.openai_schema import validate

Event = dict[str, Any]

SCHEMAS = {
    "response.created": "ResponseCreatedEvent",
    "response.queued": "ResponseQueuedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.incomplete": "ResponseIncompleteEvent",
    "response.failed": "ResponseFailedEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.refusal.delta": "ResponseRefusalDeltaEvent",
    "response.refusal.done": "ResponseRefusalDoneEvent",
    "response.reasoning_text.delta": "ResponseReasoningTextDeltaEvent",
    "response.reasoning_text.done": "ResponseReasoningTextDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
    "error": "ResponseErrorEvent",
}
"""By the type of an event, what OpenAI's document calls it."""


def events(stream: bytes | str) -> list[Event]:
    """The events of a stream; fails unless each is named as it is and numbered after the one before it."""
    text = stream.decode() if isinstance(stream, bytes) else stream
    blocks = [block for block in text.split("\n\n") if not block.startswith(":")]
    assert blocks.pop() == "", f"the stream stops in the middle of an event: {text[-200:]!r}"
    told: list[Event] = []
    for block in blocks:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        told.append(event)
    first = told[0]["sequence_number"]
    assert [event["sequence_number"] for event in told] == list(range(first, first + len(told)))
    return told


def valid_events(stream: bytes | str) -> list[Event]:
    """The same; fails unless each is one that OpenAI describes."""
    told = events(stream)
    for event in told:
        validate(SCHEMAS[event["type"]], event)
    return told


def order(stream: bytes | str) -> list[str]:
    """The kinds of events, those of the same kind in a row told once."""
    kinds = [event["type"].removeprefix("response.") for event in events(stream)]
    return [kind for at, kind in enumerate(kinds) if not at or kind != kinds[at - 1]]
