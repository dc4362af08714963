"""Messages are Anthropic's, on every engine."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from app.services.asgi_call import ASGIApp
from tests.contract.calls import MODEL, REQUEST_ID, Reply, post, user
from tests.contract.test_engine_chat import WEATHER

TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}]
CHOICE = {"type": "tool", "name": "get_weather"}
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


async def message(app: ASGIApp, **fields: Any) -> Reply:
    reply = await post(app, "/v1/messages", {"model": "contract", "messages": user("Hello"), "max_tokens": 8, **fields})
    assert reply.status == 200, reply.body
    return reply


async def test_an_answer_is_anthropics(engine_app: ASGIApp) -> None:
    body = (await message(engine_app)).json
    Message.model_validate(body, strict=True)
    assert body["model"] == MODEL
    assert REQUEST_ID in body["id"]
    assert body["stop_reason"] in ("max_tokens", "end_turn")
    assert {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"} <= set(
        body["usage"]
    )


async def test_a_stream_has_anthropics_events_in_order(engine_app: ASGIApp) -> None:
    reply = await message(engine_app, stream=True)
    assert reply.content_type.startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in reply.body.decode().splitlines() if line.startswith("event: ")]
    events = reply.chunks
    for event in events:
        EVENT.validate_python(event, strict=True)
    assert [event["type"] for event in events] == names
    assert [name for name in names if name not in ("content_block_delta", "ping")] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert names.index("content_block_start") < names.index("content_block_delta") < names.index("content_block_stop")
    assert events[0]["message"]["model"] == MODEL
    assert events[0]["message"]["content"] == []
    assert events[-2]["usage"]["output_tokens"] > 0
    assert b"[DONE]" not in reply.body


async def test_a_forced_tool_call_obeys_its_schema(engine_app: ASGIApp) -> None:
    body = (await message(engine_app, max_tokens=200, tools=TOOLS, tool_choice=CHOICE)).json
    Message.model_validate(body, strict=True)
    (block,) = [block for block in body["content"] if block["type"] == "tool_use"]
    assert (block["name"], body["stop_reason"]) == ("get_weather", "tool_use")
    Draft202012Validator(WEATHER).validate(block["input"])


async def test_a_tool_call_streams_its_input(engine_app: ASGIApp) -> None:
    events = (await message(engine_app, max_tokens=200, tools=TOOLS, tool_choice=CHOICE, stream=True)).chunks
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    Draft202012Validator(WEATHER).validate(json.loads("".join(delta.get("partial_json", "") for delta in deltas)))


async def test_counting_agrees_with_the_bill(engine_app: ASGIApp) -> None:
    body = {"model": "contract", "messages": user("Hello"), "system": "Be brief."}
    counted = await post(engine_app, "/v1/messages/count_tokens", body)
    MessageTokensCount.model_validate(counted.json, strict=True)
    usage = (await message(engine_app, **body)).json["usage"]
    billed = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    assert counted.json["input_tokens"] == billed
