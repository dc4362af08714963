"""What a request to vLLM took: as vLLM's own usage has it, and as far as it got where there is none."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.usage import NOTHING, Usage
from app.services.asgi_call import USAGE, WRITER, AsgiCall, Incoming, Message, Tally, post_scope
from deployments.engines.vllm import VllmEngine
from deployments.engines.vllm_usage import Sequences
from tests.contract.calls import Reply, call, user
from tests.deployments.engines.vllm_support import spec

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
FORCED = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
USAGE_LAST = {"stream": True, "stream_options": {"include_usage": True}}
LONG = {"max_tokens": 1500, "ignore_eos": True, "stream": True}

live = [pytest.mark.live, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


class State:
    """What is read of vLLM's ``RequestState``."""

    def __init__(self, generated: list[int], *, cached: int = 0, waits: bool = False, parent: Any = None) -> None:
        self.request_id = str(id(self))
        self.is_prefilling = waits
        self.prompt_len = 10
        self.num_cached_tokens = cached
        self.parent_req = parent
        self.detokenizer = SimpleNamespace(num_output_tokens=lambda: len(generated), output_token_ids=generated)


def sequences(*states: State, parsers: int = 0) -> Sequences:
    made = Sequences()
    for state in states:
        made.add(state)
    for number in range(parsers):
        # Each counts what only it takes for a thought.
        made.parse_with(SimpleNamespace(count_reasoning_tokens=lambda ids, number=number: ids.count(number)))
    return made


def test_without_a_sequence_nothing_was_taken():
    assert sequences().usage() == NOTHING


def test_what_has_no_token_yet_took_nothing():
    assert sequences(State([], waits=True)).usage() == NOTHING


def test_choices_read_their_prompt_once_and_prompts_are_added_up():
    parent = object()
    choices = [State([1, 2], cached=4, parent=parent), State([3], cached=9, parent=parent)]
    assert sequences(*choices, State([4], cached=1)).usage() == Usage(20, 4, 5)


def test_each_choice_has_its_thoughts_counted_by_its_own_parser():
    parent = object()
    states = [State([1, 1, 2], parent=parent), State([1, 2, 2], parent=parent)]
    assert sequences(*states, parsers=3).usage().reasoning_tokens == 2 + 2, "the first of three was nobody's"
    assert sequences(*states, parsers=2).usage().reasoning_tokens == 0 + 1
    assert sequences(State([0, 0]), State([0]), parsers=1).usage().reasoning_tokens == 3


def test_what_vllm_still_has_can_be_told():
    gone, there = State([1]), State([1])
    assert sequences(gone, there).among({there.request_id: there}) == [there.request_id]


def test_what_came_after_the_end_was_taken_too():
    begun, waits, never = State([1, 2]), State([], waits=True), State([], waits=True)
    given_up = sequences(begun, waits, never)
    given_up.overtime = {begun.request_id: 3, waits.request_id: 1, never.request_id: 0}
    assert given_up.usage() == Usage(20, 6)


async def read(request: AsgiCall) -> tuple[Reply, Usage]:
    """A whole answer, and what the engine says it took."""
    await request.start()
    body = b"".join([chunk async for chunk in request])
    return Reply(request.status, request.content_type, body), request.tally.usage


def said(reply: Reply) -> Usage:
    """What vLLM's own usage says, in an answer or at the end of a stream."""
    usage = (reply.chunks[-1] if reply.content_type.startswith("text/event-stream") else reply.json)["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(usage["prompt_tokens"], usage.get("completion_tokens", 0), cached)


@pytest.fixture(scope="module")
async def detailed(weights: Path) -> Any:
    """An engine that tells what it had read before."""
    engine = VllmEngine(spec(weights, enable_prompt_tokens_details=True), str(weights))
    try:
        await engine.start(lambda *_: None)
        yield engine
    finally:
        await engine.stop()


@pytest.fixture(scope="module")
async def pooling(weights: Path) -> Any:
    """An engine that embeds."""
    engine = VllmEngine(spec(weights, runner="pooling", convert="embed"), str(weights))
    try:
        await engine.start(lambda *_: None)
        yield engine
    finally:
        await engine.stop()


class TestRunning:
    """With the real vLLM and a tiny model."""

    pytestmark = live

    @pytest.mark.parametrize("form", [{}, USAGE_LAST], ids=["whole", "stream"])
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (CHAT, {"messages": user("Hello"), "max_tokens": 9}),
            (CHAT, {"messages": user("Hello"), "max_tokens": 9, "n": 3}),
            (CHAT, {"messages": user("Hello"), "max_tokens": 9, "logprobs": True}),
            (CHAT, {"messages": user("Hello"), "max_tokens": 40, **FORCED}),
            (CHAT, {"messages": user("Hello"), "max_tokens": 40, "tools": [WEATHER]}),
            (CHAT, {"messages": user("Hello"), "max_tokens": 40, "ignore_eos": True, "stop": ["a", "e", "t"]}),
            (COMPLETIONS, {"prompt": "a", "max_tokens": 9}),
            (COMPLETIONS, {"prompt": ["a b", "c"], "max_tokens": 5, "n": 2}),
            (COMPLETIONS, {"prompt": "a b c", "max_tokens": 3, "echo": True, "logprobs": 1}),
        ],
        ids=str,
    )
    async def test_a_request_took_what_vllms_usage_says(
        self, engine: VllmEngine, path: str, body: dict[str, Any], form: dict[str, Any]
    ) -> None:
        before = await engine.load()
        reply, took = await read(call(engine.app(), path, {"model": "tiny", **body, **form}))
        assert reply.status == 200, reply.body
        assert Usage(took.input_tokens, took.output_tokens) == said(reply)
        assert took.output_tokens > 0
        generated = (await engine.load()).generated_tokens - before.generated_tokens
        assert took.output_tokens <= generated <= took.output_tokens + 1, "one that a stop text has overtaken"

    async def test_by_the_short_way_too(self, engine: VllmEngine) -> None:
        written: list[bytes] = []
        tally = Tally()

        async def send(message: Message) -> None:
            pass

        body = b'{"model": "tiny", "prompt": "a", "max_tokens": 50, "ignore_eos": true, "stream": true}'
        lane = SimpleNamespace(ready=lambda: True, write=written.append)
        scope = {**post_scope(COMPLETIONS, []), "extensions": {WRITER: lane, USAGE: tally}}
        await engine.app()(scope, Incoming(body), send)
        assert len(written) > 10
        assert (tally.usage.input_tokens, tally.usage.output_tokens) == (1, 50)

    async def test_messages_took_what_anthropics_usage_says(self, engine: VllmEngine) -> None:
        body = {"model": "tiny", "messages": user("Hello"), "max_tokens": 9}
        reply, took = await read(call(engine.app(), "/v1/messages", body))
        usage = reply.json["usage"]
        assert (took.input_tokens, took.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
        _, streamed = await read(call(engine.app(), "/v1/messages", body | {"stream": True}))
        assert (streamed.input_tokens, streamed.output_tokens) == (took.input_tokens, 9)

    @pytest.mark.parametrize("body", [{}, {"n": 2}, {"logprobs": 1}], ids=["plain", "n", "logprobs"])
    async def test_who_leaves_a_stream_has_taken_what_was_generated_by_then(
        self, engine: VllmEngine, body: dict[str, Any]
    ) -> None:
        before = await engine.load()
        request = call(engine.app(), COMPLETIONS, {"model": "tiny", "prompt": "a", **LONG, **body})
        await request.start()
        for _ in range(5):
            await request.read()
        await request.aclose()
        took = request.tally.usage
        await asyncio.sleep(0.5)
        after = await engine.load()
        generated = after.generated_tokens - before.generated_tokens
        assert took.input_tokens == 1
        assert took.output_tokens == generated >= 5
        assert after.running == 0
        assert engine._counters.overtime == {}

    async def test_who_leaves_without_reading_is_noticed_in_the_middle_of_sending(self, engine: VllmEngine) -> None:
        before = await engine.load()
        request = call(engine.app(), COMPLETIONS, {"model": "tiny", "prompt": "a", **LONG, "n": 4, "logprobs": 5})
        await request.start()
        await asyncio.sleep(1.5)  # it writes until its reader is too far behind, and waits there
        await request.aclose()
        took = request.tally.usage
        await asyncio.sleep(0.5)
        after = await engine.load()
        assert after.running == 0
        assert took.output_tokens == after.generated_tokens - before.generated_tokens > 0
        assert engine._counters.overtime == {}

    async def test_who_leaves_before_a_whole_answer_has_taken_what_was_generated(self, engine: VllmEngine) -> None:
        before = await engine.load()
        body = {"model": "tiny", "prompt": "a", **LONG, "stream": False}
        request = call(engine.app(), COMPLETIONS, body)
        starting = asyncio.create_task(request.start())
        async with asyncio.timeout(20):
            while (await engine.load()).generated_tokens < before.generated_tokens + 20:
                await asyncio.sleep(0.005)
        starting.cancel()
        await asyncio.wait([starting])
        took = request.tally.usage
        await asyncio.sleep(0.5)
        generated = (await engine.load()).generated_tokens - before.generated_tokens
        assert took.input_tokens == 1
        assert took.output_tokens == generated >= 20

    async def test_whoever_leaves_whenever_what_all_took_is_what_was_generated(self, engine: VllmEngine) -> None:
        before, chance = await engine.load(), random.Random(1)

        async def leave_some_time() -> Usage:
            body = {"model": "tiny", "prompt": "a b c", **LONG, "max_tokens": chance.randint(1, 100)}
            body |= {"n": chance.choice([1, 1, 2]), "stream": chance.random() < 0.7}
            request = call(engine.app(), COMPLETIONS, body)
            reading = asyncio.create_task(read(request))
            await asyncio.wait([reading], timeout=chance.random() * 2)
            reading.cancel()
            await asyncio.wait([reading])
            await request.aclose()
            return request.tally.usage

        took = await asyncio.gather(*(leave_some_time() for _ in range(60)))
        await asyncio.sleep(0.5)
        after = await engine.load()
        assert after.running == 0
        assert sum(took, NOTHING).output_tokens == after.generated_tokens - before.generated_tokens > 0
        assert engine._counters.overtime == {}

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (CHAT, {"messages": user("Hello"), "max_tokens": -1}),
            (COMPLETIONS, {"prompt": "a " * 5000, "max_tokens": 5}),
            ("/tokenize", {"prompt": "a b c"}),
        ],
        ids=str,
    )
    async def test_what_generates_nothing_took_nothing(
        self, engine: VllmEngine, path: str, body: dict[str, Any]
    ) -> None:
        _, took = await read(call(engine.app(), path, {"model": "tiny", **body}))
        assert took == NOTHING

    async def test_what_was_read_before_is_told_apart(self, detailed: VllmEngine) -> None:
        body = {"model": "tiny", "messages": user("Paris " * 400), "max_tokens": 3}
        first, took = await read(call(detailed.app(), CHAT, body))
        assert took == said(first)
        again, took = await read(call(detailed.app(), CHAT, body | USAGE_LAST))
        assert took == said(again)
        assert took.cached_tokens > 0
        message, took = await read(call(detailed.app(), "/v1/messages", body))
        usage = message.json["usage"]
        assert took.cached_tokens == usage["cache_read_input_tokens"] > 0
        assert took.input_tokens == usage["input_tokens"] + usage["cache_read_input_tokens"]

    # From here on that engine is dead.

    async def test_what_was_generated_before_the_engine_died_is_known(self, detailed: VllmEngine) -> None:
        request = call(detailed.app(), COMPLETIONS, {"model": "tiny", "prompt": "a", **LONG})
        await request.start()
        for _ in range(5):
            await request.read()
        for process in detailed._workers:
            process.kill()
        async for _ in request:
            pass
        assert request.tally.usage.input_tokens == 1
        assert 5 <= request.tally.usage.output_tokens < 1500

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/embeddings", {"input": ["a b c", "d e"]}),
            ("/score", {"text_1": "a b", "text_2": ["c", "d e"]}),
            ("/rerank", {"query": "a b", "documents": ["c", "d e"]}),
        ],
        ids=str,
    )
    async def test_texts_that_are_embedded_are_input(
        self, pooling: VllmEngine, path: str, body: dict[str, Any]
    ) -> None:
        reply, took = await read(call(pooling.app(), path, {"model": "tiny", **body}))
        assert reply.status == 200, reply.body
        assert took == said(reply)
        assert took.input_tokens > 0
