"""Chat completions are OpenAI's, on every engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.services.asgi_call import ASGIApp
from tests.contract.calls import MODEL, REQUEST_ID, Reply, post, user
from tests.support.openai_schema import validate, validate_stream

CHAT = "/v1/chat/completions"
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}},
]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}


async def chat(app: ASGIApp, **fields: Any) -> Reply:
    # What a random model says depends on its seed alone then, not on what it was asked before.
    usual = {"model": "contract", "messages": user("Hello"), "max_tokens": 24, "seed": 1}
    reply = await post(app, CHAT, {**usual, **fields})
    assert reply.status == 200, reply.body
    return reply


async def chat_stream(app: ASGIApp, **fields: Any) -> list[dict[str, Any]]:
    reply = await chat(app, stream=True, **fields)
    assert reply.content_type.startswith("text/event-stream")
    return validate_stream("CreateChatCompletionStreamResponse", reply.body)


def deltas(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(chunks, index))


async def test_an_answer_is_openais(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app)
    validate("CreateChatCompletionResponse", reply.json)
    choice = reply.json["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["refusal"] is None
    assert choice["logprobs"] is None
    assert "tool_calls" not in choice["message"]
    assert reply.json["system_fingerprint"]


async def test_an_answer_carries_the_callers_name_for_the_model_and_the_requests_id(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app)
    assert (reply.json["model"], reply.json["id"]) == (MODEL, f"chatcmpl-{REQUEST_ID}")
    for chunk in await chat_stream(engine_app):
        assert (chunk["model"], chunk["id"]) == (MODEL, f"chatcmpl-{REQUEST_ID}")


async def test_the_model_may_be_left_out_of_the_body(engine_app: ASGIApp) -> None:
    reply = await post(engine_app, CHAT, {"messages": user("Hello"), "max_tokens": 2})
    assert (reply.status, reply.json["model"]) == (200, MODEL)


async def test_a_stream_is_role_content_finish_done(engine_app: ASGIApp) -> None:
    chunks = await chat_stream(engine_app, max_tokens=5, ignore_eos=True)
    assert deltas(chunks)[0]["role"] == "assistant"
    assert all("role" not in delta or delta["role"] is None for delta in deltas(chunks)[1:])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert not any(chunk.get("usage") for chunk in chunks)


async def test_usage_is_the_last_chunk_where_it_was_asked_for(engine_app: ASGIApp) -> None:
    chunks = await chat_stream(engine_app, max_tokens=5, ignore_eos=True, stream_options={"include_usage": True})
    assert [bool(chunk["choices"]) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    usage = chunks[-1]["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5


async def test_a_stream_says_what_the_whole_answer_says(engine_app: ASGIApp) -> None:
    whole = await chat(engine_app, temperature=0, ignore_eos=True)
    chunks = await chat_stream(engine_app, temperature=0, ignore_eos=True, stream_options={"include_usage": True})
    assert text_of(chunks) == whole.json["choices"][0]["message"]["content"]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][count] == whole.json["usage"][count]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_bound_on_tokens_is_kept(engine_app: ASGIApp, field: str) -> None:
    body = {"messages": user("Hello"), "ignore_eos": True, field: 3}
    reply = await post(engine_app, CHAT, body)
    assert reply.json["usage"]["completion_tokens"] == 3
    assert reply.json["choices"][0]["finish_reason"] == "length"


async def test_n_choices_come_with_their_indexes(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app, n=3, max_tokens=4, ignore_eos=True)
    validate("CreateChatCompletionResponse", reply.json)
    assert [choice["index"] for choice in reply.json["choices"]] == [0, 1, 2]
    assert reply.json["usage"]["completion_tokens"] == 12
    chunks = await chat_stream(engine_app, n=3, max_tokens=4, ignore_eos=True)
    finished = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(finished) == [0, 1, 2]


async def test_a_seed_makes_answers_repeat(engine_app: ASGIApp) -> None:
    first, second = [await chat(engine_app, seed=7, temperature=1, ignore_eos=True) for _ in range(2)]
    assert first.json["choices"][0]["message"] == second.json["choices"][0]["message"]


async def test_a_stop_text_ends_the_answer_and_is_not_in_it(engine_app: ASGIApp) -> None:
    free = await chat(engine_app, temperature=0, ignore_eos=True)
    text = free.json["choices"][0]["message"]["content"]
    stop = text[4:7]
    stopped = await chat(engine_app, temperature=0, ignore_eos=True, stop=[stop])
    assert stopped.json["choices"][0]["message"]["content"] == text[: text.index(stop)]
    assert stopped.json["choices"][0]["finish_reason"] == "stop"
    assert text_of(await chat_stream(engine_app, temperature=0, ignore_eos=True, stop=stop)) == text[: text.index(stop)]


async def test_logprobs_come_for_every_token(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app, max_tokens=4, ignore_eos=True, logprobs=True, top_logprobs=2)
    validate("CreateChatCompletionResponse", reply.json)
    entries = reply.json["choices"][0]["logprobs"]["content"]
    assert len(entries) == 4
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in entries)
    chunks = await chat_stream(engine_app, max_tokens=4, ignore_eos=True, logprobs=True, top_logprobs=2)
    parts = [chunk["choices"][0].get("logprobs") for chunk in chunks]
    assert sum(len(part["content"] or []) for part in parts if part) == 4


@pytest.mark.parametrize("choice", [NAMED, "required"])
async def test_a_forced_tool_call_obeys_its_schema(engine_app: ASGIApp, choice: Any) -> None:
    tools = TOOLS if choice is NAMED else TOOLS[1:]
    # A random model calls a few times, with any white space, before it comes to an end.
    reply = await chat(engine_app, max_tokens=700, tools=tools, tool_choice=choice)
    validate("CreateChatCompletionResponse", reply.json)
    answer = reply.json["choices"][0]
    function = answer["message"]["tool_calls"][0]["function"]
    assert function["name"] == "get_weather"
    Draft202012Validator(WEATHER).validate(json.loads(function["arguments"]))
    assert answer["finish_reason"] in ("tool_calls", "stop")


async def test_a_tool_call_streams_its_arguments(engine_app: ASGIApp) -> None:
    chunks = await chat_stream(engine_app, max_tokens=200, tools=TOOLS, tool_choice=NAMED)
    calls = [call for delta in deltas(chunks) for call in delta.get("tool_calls") or []]
    assert [call["function"]["name"] for call in calls if call["function"].get("name")] == ["get_weather"]
    assert len({call["id"] for call in calls if call.get("id")}) == 1
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    Draft202012Validator(WEATHER).validate(json.loads(arguments))


async def test_tool_choice_none_calls_nothing(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app, tools=TOOLS, tool_choice="none")
    assert "tool_calls" not in reply.json["choices"][0]["message"]


async def test_a_json_schema_is_obeyed(engine_app: ASGIApp) -> None:
    reply = await chat(engine_app, max_tokens=200, response_format=FORMAT)
    validate("CreateChatCompletionResponse", reply.json)
    Draft202012Validator(WEATHER).validate(json.loads(reply.json["choices"][0]["message"]["content"]))
    chunks = await chat_stream(engine_app, max_tokens=200, response_format=FORMAT)
    Draft202012Validator(WEATHER).validate(json.loads(text_of(chunks)))


async def test_a_conversation_with_tool_results_is_understood(engine_app: ASGIApp) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "The weather?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    reply = await chat(engine_app, messages=messages, tools=TOOLS)
    validate("CreateChatCompletionResponse", reply.json)
