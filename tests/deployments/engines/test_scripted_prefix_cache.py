"""A scripted engine that takes time to read prompts, and keeps what it has read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.calls import call, post, user
from tests.deployments.engines.scripted_support import ManualClock, scripted, scripted_on
from tests.support.openai_schema import data_events

CHAT = "/v1/chat/completions"


def words(seed: str, count: int) -> str:
    """So many tokens, and one for the space between two of them and the next."""
    return " ".join(f"{seed}{number:03}" for number in range(count))


async def usage(engine: Any, *contents: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content} for content in contents]
    reply = await post(engine.app(), CHAT, {"messages": messages, "max_tokens": 1, **fields})
    return reply.json["usage"]


def cached(found: dict[str, Any]) -> int:
    return found["prompt_tokens_details"]["cached_tokens"]


async def test_what_begins_like_one_before_is_there_up_to_the_last_whole_block() -> None:
    engine = scripted(kv_blocks=100, block_tokens=10)
    first = await usage(engine, words("a", 40))
    assert cached(first) == 0
    again = await usage(engine, words("a", 40))
    assert first["prompt_tokens"] - 10 <= cached(again) < first["prompt_tokens"]
    longer = await usage(engine, words("a", 40), words("b", 40))
    assert cached(longer) == cached(again) // 10 * 10
    assert cached(await usage(engine, words("c", 40))) == 0


async def test_the_last_token_is_always_read() -> None:
    engine = scripted(kv_blocks=100, block_tokens=1)
    first = await usage(engine, words("a", 40))
    assert cached(await usage(engine, words("a", 40))) == first["prompt_tokens"] - 1


async def test_what_was_not_used_for_longest_is_forgotten_ends_first() -> None:
    engine = scripted(kv_blocks=10, block_tokens=10)
    whole = words("a", 80)
    await usage(engine, whole)
    await usage(engine, words("b", 38))
    left = cached(await usage(engine, whole))
    assert 0 < left < 80


async def test_the_first_token_waits_for_what_has_to_be_read() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, prefill_tokens_per_s=100, kv_blocks=100, block_tokens=10, ttft_s=1)
    request = call(engine.app(), CHAT, {"messages": user(words("a", 98)), "max_tokens": 1})
    starting = asyncio.create_task(request.start())
    await clock.advance(1.9)
    assert not starting.done()
    await clock.advance(0.3)
    assert starting.done()
    again = call(engine.app(), CHAT, {"messages": user(words("a", 98)), "max_tokens": 1})
    starting = asyncio.create_task(again.start())
    await clock.advance(1.2)
    assert starting.done()


async def test_prompts_are_read_one_after_the_other() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, prefill_tokens_per_s=100)
    requests = [call(engine.app(), CHAT, {"messages": user(words(name, 98)), "max_tokens": 1}) for name in "ab"]
    starting = [asyncio.create_task(request.start()) for request in requests]
    await clock.advance(1.5)
    assert [task.done() for task in starting] == [True, False]
    await clock.advance(1)
    assert all(task.done() for task in starting)


async def test_streams_and_other_routes_tell_it_too() -> None:
    engine = scripted(kv_blocks=100, block_tokens=10)
    text = words("a", 40)
    for _ in range(2):
        completion = await post(engine.app(), "/v1/completions", {"prompt": text, "max_tokens": 1})
    assert cached(completion.json["usage"]) == 30
    stream = await post(
        engine.app(),
        "/v1/completions",
        {"prompt": text, "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}},
    )
    assert cached(stream.chunks[-1]["usage"]) == 30
    assert len(data_events(stream.body)) > 2


async def test_anthropics_usage_counts_it_apart() -> None:
    engine = scripted(kv_blocks=100, block_tokens=10)
    body = {"messages": user(words("a", 40)), "max_tokens": 1}
    first, second = [(await post(engine.app(), "/v1/messages", body)).json["usage"] for _ in range(2)]
    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] > 30
    assert second["input_tokens"] + second["cache_read_input_tokens"] == first["input_tokens"]


@pytest.mark.parametrize("args", [{}, {"prefill_tokens_per_s": 1e6}])
async def test_an_engine_that_keeps_nothing_says_nothing_of_it(args: dict[str, Any]) -> None:
    assert "prompt_tokens_details" not in await usage(scripted(**args), words("a", 40))
