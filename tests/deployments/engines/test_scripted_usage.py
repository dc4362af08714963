"""The scripted engine says what each request took, to the token, however it ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.domain.usage import NOTHING, Usage
from app.services.asgi_call import AsgiCall
from deployments.engines.base import EngineDead
from deployments.engines.scripted import ScriptedEngine
from tests.contract.calls import call, user
from tests.deployments.engines.scripted_support import ManualClock, scripted, scripted_on, settle

CHAT = "/v1/chat/completions"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


async def started(**args: Any) -> ScriptedEngine:
    engine = scripted(**args)
    await engine.start(lambda *_: None)
    return engine


async def whole(engine: ScriptedEngine, path: str, body: dict[str, Any]) -> tuple[Any, Usage]:
    """An answer's JSON, and what the engine says it took."""
    request = call(engine.app(), path, body)
    await request.start()
    answer = b"".join([chunk async for chunk in request])
    return json.loads(answer), request.tally.usage


async def read(request: AsgiCall) -> Usage:
    """What a stream took that is read to its end."""
    await request.start()
    async for _ in request:
        pass
    return request.tally.usage


@pytest.mark.parametrize(
    "extra",
    [{}, {"n": 3}, {"tools": [WEATHER], "tool_choice": "required"}, {"logprobs": True}, {"stop": "manta"}],
    ids=str,
)
async def test_a_chat_whole_or_streamed_took_what_its_usage_says(extra: dict[str, Any]) -> None:
    engine = await started()
    body = {"messages": user("Hello there"), **extra}
    answer, took = await whole(engine, CHAT, body)
    said = answer["usage"]
    assert took == Usage(said["prompt_tokens"], said["completion_tokens"])
    assert await read(call(engine.app(), CHAT, body | {"stream": True})) == took
    assert (await engine.load()).generated_tokens == 2 * took.output_tokens > 0


async def test_several_prompts_are_counted_together() -> None:
    engine = await started()
    answer, took = await whole(engine, "/v1/completions", {"prompt": ["a b c", "d"], "n": 2, "max_tokens": 3})
    said = answer["usage"]
    assert took == Usage(said["prompt_tokens"], said["completion_tokens"])
    assert took.output_tokens == 12


async def test_what_was_read_before_is_told_apart() -> None:
    engine = await started(kv_blocks=64, block_tokens=4)
    body = {"messages": user("one two three four five six seven eight nine ten"), "max_tokens": 2}
    _, first = await whole(engine, CHAT, body)
    answer, second = await whole(engine, CHAT, body)
    assert first.cached_tokens == 0
    assert second.cached_tokens == answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    message, third = await whole(engine, "/v1/messages", body)
    said = message["usage"]
    assert third == Usage(said["input_tokens"] + said["cache_read_input_tokens"], 2, said["cache_read_input_tokens"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["a b c", "d e"]}),
        ("/rerank", {"query": "a", "documents": ["b c", "d"]}),
        ("/score", {"text_1": "a b", "text_2": ["c", "d e"]}),
    ],
)
async def test_texts_that_are_embedded_are_input(path: str, body: dict[str, Any]) -> None:
    answer, took = await whole(await started(), path, body)
    assert took == Usage(answer["usage"]["prompt_tokens"])
    assert took.input_tokens > 0


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens"])
async def test_counting_tokens_takes_none(path: str) -> None:
    _, took = await whole(await started(), path, {"messages": user("Hello")})
    assert took == NOTHING


async def test_a_request_that_is_refused_took_nothing() -> None:
    answer, took = await whole(await started(max_model_len=16), CHAT, {"messages": user("word " * 50)})
    assert answer["error"]["code"] == "context_length_exceeded"
    assert took == NOTHING


@pytest.mark.parametrize("stream", [True, False])
async def test_who_leaves_has_taken_what_was_generated_by_then(stream: bool) -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, ttft_s=1)
    await engine.start(lambda *_: None)
    body = {"messages": user("Hello"), "max_tokens": 100, "ignore_eos": True, "n": 2, "stream": stream}
    request = call(engine.app(), CHAT, body)
    starting = asyncio.create_task(request.start())
    await clock.advance(2.05)
    leaving = asyncio.create_task(request.aclose())
    await settle()
    await leaving
    starting.cancel()
    took = request.tally.usage
    assert took.output_tokens == 2 * 11 == (await engine.load()).generated_tokens
    assert took.input_tokens == (await engine.load()).prompt_tokens
    await clock.advance(5)
    assert (await engine.load()).generated_tokens == took.output_tokens


async def test_who_leaves_while_waiting_took_nothing() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, max_num_seqs=1)
    await engine.start(lambda *_: None)
    body = {"messages": user("Hello"), "max_tokens": 10, "stream": True}
    first, second = call(engine.app(), CHAT, body), call(engine.app(), CHAT, body)
    starts = [asyncio.create_task(each.start()) for each in (first, second)]
    await clock.advance(1)
    await second.aclose()
    assert second.tally.usage == NOTHING
    await first.aclose()
    assert first.tally.usage.input_tokens > 0
    await asyncio.gather(*starts, return_exceptions=True)


async def test_what_failed_on_purpose_took_what_came_before() -> None:
    engine = await started(error_after_tokens=3)
    took = await read(call(engine.app(), CHAT, {"messages": user("Hello"), "stream": True}))
    assert took.output_tokens == 3 == (await engine.load()).generated_tokens


async def test_a_dead_engine_knows_what_it_did() -> None:
    engine = scripted_on(ManualClock(), die_before_first_token=True)
    await engine.start(lambda *_: None)
    request = call(engine.app(), CHAT, {"messages": user("Hello")})
    with pytest.raises(EngineDead):
        await request.start()
    assert request.tally.usage.input_tokens > 0
    assert request.tally.usage.output_tokens == 0
