"""Chunks from a template are vLLM's own chunks, byte for byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.services import asgi_call
from deployments.engines import vllm_frames, vllm_lane
from deployments.engines.vllm import VllmEngine
from deployments.engines.vllm_app import CALL, Call
from deployments.engines.vllm_frames import Feed, Template
from tests.contract.calls import call, post
from tests.support.same_bytes import shape_of

vllm = pytest.importorskip("vllm", reason="vLLM is not installed")

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

PROMPT = [1, 2, 3]
WORDS = ["The", " capital", " of", " France", " is", " Paris", "."]
ODD = ['"quoted"', "back\\slash", "tab\tline\nreturn\r", "\x00\x07\x1f\x7f", "</script>", "\u2028\u2029", "\ufeff"]
EMOJI = ["", "", "🦈", "👩‍👩‍👧", "é", "e\u0301", "汉字", "עברית", "\ufffd"]
MARKS = ['"delta":{"role":"assistant","content":""}', '"text":"', "data: [DONE]", "\n\n"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def result(text: str, tokens: int = 1, *, first: bool = False, **ends: Any) -> Any:
    output = vllm.CompletionOutput(0, text, list(range(tokens)), None, None, **ends)
    return vllm.RequestOutput(
        request_id="r1",
        prompt="prompt",
        prompt_token_ids=PROMPT if first else None,
        prompt_logprobs=None,
        outputs=[output],
        finished=bool(ends),
        num_cached_tokens=2 if first else None,
    )


def generation(texts: list[str], last: str = "", **ends: Any) -> list[Any]:
    """Results of one generation; the last one ends it."""
    ends = ends or {"finish_reason": "stop"}
    made = [result(text, first=not number) for number, text in enumerate(texts)]
    return [*made, result(last, first=not made, **ends)]


GENERATIONS: dict[str, list[Any]] = {
    "words": [WORDS],
    "odd characters": [ODD],
    "emoji over several tokens": [EMOJI],
    "what looks like a template": [MARKS],
    "text with the end": [WORDS, "!"],
    "nothing at all": [[]],
    "one token": [[], "a"],
    "cut by length": [WORDS, " and", {"finish_reason": "length"}],
    "a stop string": [WORDS, "", {"finish_reason": "stop", "stop_reason": "END"}],
    "a stop token": [WORDS, "", {"finish_reason": "stop", "stop_reason": 7}],
    "an error of the engine": [WORDS, "", {"finish_reason": "error"}],
}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "usage at the end": {"stream_options": {"include_usage": True}},
    "usage all along": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "tools offered": {"tools": [TOOL]},
    "tools forbidden": {"tools": [TOOL], "tool_choice": "none"},
    "echo": {"echo": True, "add_generation_prompt": True},
    "token ids": {"return_token_ids": True},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "usage at the end": {"stream_options": {"include_usage": True}},
    "echo": {"echo": True},
    "token ids": {"return_token_ids": True},
}


async def told(results: list[Any], *, fails: bool = False) -> AsyncIterator[Any]:
    for each in results:
        yield each
    if fails:
        raise RuntimeError("it broke")


async def joined(events: AsyncIterator[str | bytes]) -> list[bytes]:
    return [event if isinstance(event, bytes) else event.encode() async for event in events]


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)


@pytest.fixture
def handlers(engine: VllmEngine) -> Any:
    """vLLM's own, as they are in the running engine."""
    inner: Any = engine.app()
    return inner._inner.state


async def chat(
    handlers: Any, results: list[Any], body: dict[str, Any], *, own: bool, fails: bool = False
) -> list[bytes]:
    from vllm.entrypoints.generate.base.protocol import RequestResponseMetadata
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    CALL.set(Call("/v1/chat/completions", "alias", "fp"))
    handler = handlers.openai_serving_chat
    request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "x"}], stream=True, **body)
    generator = handler.chat_completion_stream_generator
    if not own:
        generator = type(handler).chat_completion_stream_generator.__get__(handler)
    tokenizer = handler.renderer.tokenizer
    metadata = RequestResponseMetadata(request_id="chatcmpl-r1")
    conversation = [{"role": "user", "content": "x"}]
    source = told(results, fails=fails)
    return await joined(generator(request, source, "chatcmpl-r1", "m", conversation, tokenizer, metadata))


async def completion(handlers: Any, results: list[Any], body: dict[str, Any], *, own: bool) -> list[bytes]:
    from vllm.entrypoints.generate.base.protocol import RequestResponseMetadata
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    CALL.set(Call("/v1/completions", "alias", "fp"))
    handler = handlers.openai_serving_completion
    request = CompletionRequest(model="m", prompt="x", stream=True, max_tokens=100, **body)
    generator = handler.completion_stream_generator
    if not own:
        generator = type(handler).completion_stream_generator.__get__(handler)
    metadata = RequestResponseMetadata(request_id="cmpl-r1")

    async def numbered() -> AsyncIterator[Any]:
        async for each in told(results):
            yield 0, each

    inputs = [{"prompt": "x", "prompt_token_ids": PROMPT}]
    return await joined(
        generator(request, inputs, numbered(), "cmpl-r1", 1_800_000_000, "m", 1, handler.renderer.tokenizer, metadata)
    )


def made(name: str) -> list[Any]:
    """Fresh results: both ways change what they are given."""
    texts, *rest = GENERATIONS[name]
    last = rest[0] if rest else ""
    return generation(texts, last, **(rest[1] if len(rest) > 1 else {}))


@pytest.mark.parametrize("body", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("name", GENERATIONS)
async def test_a_chat_is_the_same(handlers: Any, name: str, body: dict[str, Any]):
    own = await chat(handlers, made(name), body, own=True)
    assert own == await chat(handlers, made(name), body, own=False)
    assert own[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize("body", COMPLETIONS.values(), ids=COMPLETIONS)
@pytest.mark.parametrize("name", GENERATIONS)
async def test_a_completion_is_the_same(handlers: Any, name: str, body: dict[str, Any]):
    own = await completion(handlers, made(name), body, own=True)
    assert own == await completion(handlers, made(name), body, own=False)


@pytest.mark.parametrize("so_far", [[], WORDS])
async def test_a_generation_that_breaks_is_told_the_same(handlers: Any, so_far: list[str]):
    def results() -> list[Any]:
        return generation(so_far)[:-1]

    own = await chat(handlers, results(), {}, own=True, fails=True)
    assert own == await chat(handlers, results(), {}, own=False, fails=True)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were put into templates."""
    texts: list[str] = []
    event = Template.event

    def counted(template: Template, text: str) -> bytes:
        texts.append(text)
        return event(template, text)

    monkeypatch.setattr(vllm_frames.Template, "event", counted)
    return texts


async def test_most_of_a_plain_chat_comes_from_a_template(handlers: Any, written: list[str]):
    await chat(handlers, made("words"), {}, own=True)
    assert written == WORDS
    written.clear()
    await chat(handlers, made("words"), {"tools": [TOOL]}, own=True)
    assert not written


ASKED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "usage at the end": {"stream_options": {"include_usage": True}},
    "hot, so that most bytes are no characters": {"temperature": 2, "seed": 1, "max_tokens": 200},
    "a forced emoji": {"structured_outputs": {"choice": ['🦈汉字 "quoted"']}, "max_tokens": 40},
    "a stop string": {"stop": ["a", "e"], "temperature": 2, "seed": 2},
    "a biased token": {"logit_bias": {"100": 50, "200": 49}, "temperature": 1, "seed": 3},
    "one token": {"max_tokens": 1},
    "special tokens": {"skip_special_tokens": False, "ignore_eos": True},
    "stop tokens": {"stop_token_ids": list(range(0, 370, 7)), "min_tokens": 4, "temperature": 2, "seed": 4},
    "what it refuses": {"stop_token_ids": [9999]},
}
PROMPTS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say 🦈 and 汉字."}]},
    "/v1/completions": {"prompt": "Say 🦈 and 汉字."},
}


@pytest.mark.parametrize("path", PROMPTS)
@pytest.mark.parametrize("name", ASKED)
async def test_what_the_engine_says_is_written_the_same(
    engine: VllmEngine, handlers: Any, written: list[str], monkeypatch: pytest.MonkeyPatch, path: str, name: str
):
    """The same request to the running engine, with templates and without."""
    body = {"model": "tiny", "stream": True, "max_tokens": 60, "temperature": 0, **PROMPTS[path], **ASKED[name]}
    plain = await post(engine.app(), path, body)
    assert written or name in ("one token", "what it refuses")
    written.clear()
    chats, completions = handlers.openai_serving_chat, handlers.openai_serving_completion
    for handler, method in (
        (chats, "chat_completion_stream_generator"),
        (completions, "completion_stream_generator"),
    ):
        monkeypatch.setattr(handler, method, getattr(type(handler), method).__get__(handler))
    own = await post(engine.app(), path, body)
    assert not written
    assert (plain.status, plain.content_type) == (own.status, own.content_type)
    assert (plain.status == 200) == (name != "what it refuses")
    assert shape_of(plain.body) == shape_of(own.body)


@pytest.fixture
def laned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every token that a lane was offered: whether it took the short way."""
    ways: list[bool] = []
    take = vllm_lane.Lane._take

    def told(lane: Any, *args: Any, **kwargs: Any) -> Any:
        result = take(lane, *args, **kwargs)
        ways.append(result is None)
        return result

    monkeypatch.setattr(vllm_lane.Lane, "_take", told)
    return ways


@pytest.mark.parametrize("path", PROMPTS)
async def test_a_stream_that_is_read_takes_the_short_way_but_for_its_ends(
    engine: VllmEngine, laned: list[bool], path: str
):
    body = {"model": "tiny", "stream": True, "max_tokens": 60, "temperature": 0, "ignore_eos": True, **PROMPTS[path]}
    await post(engine.app(), path, body)
    assert laned.count(True) > 50
    assert not laned[-1]


@pytest.mark.parametrize("path", PROMPTS)
async def test_a_reader_that_falls_behind_gets_the_same(
    engine: VllmEngine, laned: list[bool], monkeypatch: pytest.MonkeyPatch, path: str
):
    body = {"model": "tiny", "stream": True, "max_tokens": 200, "temperature": 0, "ignore_eos": True}
    body |= {**PROMPTS[path], "stream_options": {"include_usage": True}}
    whole = await post(engine.app(), path, body)
    laned.clear()
    monkeypatch.setattr(asgi_call, "BUFFER_BYTES", 1000)
    slow = call(engine.app(), path, body)
    await slow.start()
    chunks: list[bytes] = []
    async with asyncio.timeout(60):
        async for chunk in slow:
            chunks.append(chunk)
            # Reads no more until the engine has had to go the long way, however slow it is.
            while not (True in laned and False in laned[laned.index(True) :]):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.005)
    assert True in laned
    assert False in laned[laned.index(True) : -1]
    assert shape_of(b"".join(chunks)) == shape_of(whole.body)


@pytest.mark.parametrize("path", PROMPTS)
async def test_a_reader_that_leaves_ends_the_generation(engine: VllmEngine, path: str):
    body = {"model": "tiny", "stream": True, "max_tokens": 1000, "ignore_eos": True, **PROMPTS[path]}
    request = call(engine.app(), path, body)
    await request.start()
    for _ in range(5):
        assert await request.read()
    await request.aclose()
    assert engine._llm.output_processor.request_states == {}
    before = (await engine.load()).generated_tokens
    await asyncio.sleep(0.3)
    assert (await engine.load()).generated_tokens - before <= 2


async def test_a_chunk_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        Template.of_role_chunk('data: {"choices": []}')


async def test_a_feed_gives_what_it_has_and_then_its_error():
    feed = Feed()
    feed.give(1)
    feed.fail(ZeroDivisionError())
    assert await anext(feed) == 1
    with pytest.raises(ZeroDivisionError):
        await anext(feed)
