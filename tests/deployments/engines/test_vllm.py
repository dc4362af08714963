"""The real vLLM with a tiny random model: what ``tests/contract`` does not ask of every engine.

These tests are also what a new release of vLLM has to pass: each change that Manta makes in vLLM is seen here.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from deployments.engines.vllm import VllmEngine
from tests.deployments.engines.vllm_support import CONTEXT, call, running
from tests.support.openai_schema import data_events, needs_openai_schema, validate, validate_stream

pytest.importorskip("vllm", reason="vLLM is not installed")

# What vLLM, torch and their like warn of is theirs to mend, and must not become an exception in the middle of them.
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
FORCED = {"type": "function", "function": {"name": "get_weather"}}


async def post(engine: VllmEngine, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    request = call(engine, path, body)
    await request.start()
    return request.status, b"".join([chunk async for chunk in request])


async def ask(engine: VllmEngine, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = await post(engine, path, body)
    assert status == 200, answer
    return json.loads(answer)


@needs_openai_schema
async def test_a_chat_answer(engine: VllmEngine) -> None:
    body = {"messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 2}
    answer = await ask(engine, CHAT, body)
    validate("CreateChatCompletionResponse", answer)
    assert (answer["id"], answer["model"]) == ("chatcmpl-r1", "alias")
    assert answer["system_fingerprint"].startswith("vllm-")


@needs_openai_schema
@pytest.mark.parametrize("extra", [{}, {"logprobs": True, "top_logprobs": 2}, {"n": 2}])
async def test_chat_chunks_are_openais_when_vllm_makes_them(engine: VllmEngine, extra: dict[str, Any]) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    _, stream = await post(engine, CHAT, {"messages": HELLO, "max_tokens": 4} | options | extra)
    chunks = validate_stream("CreateChatCompletionStreamResponse", stream)
    assert {(chunk["id"], chunk["model"]) for chunk in chunks} == {("chatcmpl-r1", "alias")}
    assert len({chunk["system_fingerprint"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 4 * extra.get("n", 1)
    noise = ("token_ids", "prompt_token_ids", "prompt_text", "metrics", "stop_reason")
    assert not [name for name in noise if f'"{name}"'.encode() in stream]


@needs_openai_schema
@pytest.mark.parametrize("choice", [FORCED, "required"])
async def test_a_forced_tool_call_obeys_its_schema(engine: VllmEngine, choice: Any) -> None:
    body = {"messages": HELLO, "tools": [WEATHER], "tool_choice": choice, "max_tokens": 200}
    body |= {"parallel_tool_calls": False}
    answer = await ask(engine, CHAT, body)
    validate("CreateChatCompletionResponse", answer)
    (tool_call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(tool_call["function"]["arguments"])["city"] in ("Paris", "Rome")
    _, stream = await post(engine, CHAT, body | {"stream": True})
    chunks = validate_stream("CreateChatCompletionStreamResponse", stream)
    deltas = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", ())]
    arguments = "".join(part["function"].get("arguments", "") for part in deltas)
    assert json.loads(arguments)["city"] in ("Paris", "Rome")


@needs_openai_schema
async def test_json_schema_is_obeyed(engine: VllmEngine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = await ask(engine, CHAT, {"messages": HELLO, "response_format": wanted, "max_tokens": 100})
    validate("CreateChatCompletionResponse", answer)
    assert json.loads(answer["choices"][0]["message"]["content"])["city"] in ("Paris", "Rome")


@needs_openai_schema
async def test_completions(engine: VllmEngine) -> None:
    body = {"prompt": ["The", "A"], "max_tokens": 3, "logprobs": 1, "ignore_eos": True}
    answer = await ask(engine, "/v1/completions", body)
    validate("CreateCompletionResponse", answer)
    assert (answer["id"], answer["model"], len(answer["choices"])) == ("cmpl-r1", "alias", 2)
    _, stream = await post(engine, "/v1/completions", body | {"prompt": "The", "stream": True})
    chunks = [json.loads(event) for event in data_events(stream)[:-1]]
    assert {(chunk["id"], chunk["model"]) for chunk in chunks} == {("cmpl-r1", "alias")}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_anthropics_messages(engine: VllmEngine) -> None:
    body = {"messages": HELLO, "max_tokens": 4}
    message = Message.model_validate(await ask(engine, "/v1/messages", body))
    assert (message.id, message.model, message.stop_sequence) == ("msg_r1", "alias", None)
    _, stream = await post(engine, "/v1/messages", body | {"stream": True})
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    events = [adapter.validate_json(event) for event in data_events(stream)]
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    assert (events[0].message.id, events[0].message.usage.cache_read_input_tokens) == ("msg_r1", 0)
    counted = await ask(engine, "/v1/messages/count_tokens", {"messages": HELLO})
    assert counted == {"input_tokens": events[0].message.usage.input_tokens}


async def test_tokens_go_there_and_back(engine: VllmEngine) -> None:
    tokens = await ask(engine, "/tokenize", {"prompt": "Hello"})
    assert tokens["max_model_len"] == CONTEXT
    assert await ask(engine, "/detokenize", {"tokens": tokens["tokens"]}) == {"prompt": "Hello"}


TOO_LONG = [{"role": "user", "content": "word " * 9000}]
Blame = tuple[int, str | None, str | None]
MISTAKES: list[tuple[str, dict[str, Any], Blame]] = [
    (CHAT, {"messages": TOO_LONG}, (400, "context_length_exceeded", "messages")),
    (CHAT, {"messages": TOO_LONG, "stream": True}, (400, "context_length_exceeded", "messages")),
    ("/v1/completions", {"prompt": "word " * 9000}, (400, "context_length_exceeded", "prompt")),
    ("/v1/messages", {"messages": TOO_LONG, "max_tokens": 1}, (400, "context_length_exceeded", None)),
    (CHAT, {"messages": HELLO, "max_tokens": CONTEXT + 1}, (400, "context_length_exceeded", "max_tokens")),
    (CHAT, {"messages": HELLO, "temperature": -1}, (400, None, "temperature")),
    (CHAT, {"messages": HELLO, "temperature": "hot"}, (400, None, "temperature")),
    (CHAT, {"messages": "Hello"}, (400, None, "messages")),
    (CHAT, {}, (400, None, "messages")),
    (CHAT, {"messages": HELLO, "chat_template": "{{ 1 }}"}, (400, None, None)),
    (CHAT, {"messages": HELLO, "model": "other"}, (404, "model_not_found", "model")),
    ("/v1/embeddings", {"input": "a"}, (400, "unsupported_capability", "model")),
    ("/sleep", {}, (404, "not_found", None)),
]


@needs_openai_schema
@pytest.mark.parametrize(("path", "body", "blame"), MISTAKES)
async def test_mistakes_are_told_in_our_shape(
    engine: VllmEngine, path: str, body: dict[str, Any], blame: Blame
) -> None:
    status, answer = await post(engine, path, body)
    error = json.loads(answer)
    validate("ErrorResponse", error)
    assert (status, error["error"]["code"], error["error"]["param"]) == blame


async def test_leaving_several_prompts_at_once_stops_them_all(engine: VllmEngine) -> None:
    body = {"prompt": ["The", "A"], "n": 2, "max_tokens": 1800, "ignore_eos": True}
    request = call(engine, "/v1/completions", body)
    starting = asyncio.create_task(request.start())
    await running(engine, 4)
    starting.cancel()
    await asyncio.wait([starting])
    stopped = await running(engine, 0)
    await asyncio.sleep(0.3)
    assert (await engine.load()).generated_tokens == stopped.generated_tokens


async def test_a_request_for_logprobs_starts_no_compiler(engine: VllmEngine) -> None:
    await ask(engine, "/v1/completions", {"prompt": "a", "max_tokens": 1, "logprobs": 5, "top_k": 3, "top_p": 0.9})
    assert os.environ["TORCH_COMPILE_DISABLE"] == "1"
