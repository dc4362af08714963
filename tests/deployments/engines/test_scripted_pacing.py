"""Tokens come when they are due, by a clock that the tests turn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.services.asgi_call import AsgiCall, Incoming, post_scope
from deployments.engines.scripted.clock import LoopClock
from tests.contract.calls import call, user
from tests.deployments.engines.scripted_support import ManualClock, scripted_on, settle
from tests.support.openai_schema import data_events

CHAT = "/v1/chat/completions"


class Reader:
    """Reads a stream as it comes."""

    def __init__(self, request: AsgiCall) -> None:
        self.request = request
        self.text = ""
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        await self.request.start()
        async for chunk in self.request:
            self.text += chunk.decode()

    @property
    def tokens(self) -> int:
        return self.text.count('"content":') - self.text.count('"content":""')

    @property
    def done(self) -> bool:
        return self.text.endswith("[DONE]\n\n")


def stream(engine: Any, **fields: Any) -> Reader:
    return Reader(call(engine.app(), CHAT, {"messages": user("Hello"), "stream": True, **fields}))


async def test_tokens_follow_the_schedule() -> None:
    clock = ManualClock()
    reader = stream(scripted_on(clock, ttft_s=2, tokens_per_s=10, default_tokens=5))
    await clock.advance(1.9)
    assert reader.text == ""
    seen = []
    for _ in range(6):
        await clock.advance(0.1)
        seen.append(reader.tokens)
    assert seen == [1, 2, 3, 4, 5, 5]
    assert reader.done


async def test_the_role_comes_with_the_first_token() -> None:
    clock = ManualClock()
    reader = stream(scripted_on(clock, ttft_s=1, tokens_per_s=1))
    await clock.advance(1)
    assert ('"role":"assistant"' in reader.text, reader.tokens) == (True, 1)
    await reader.request.aclose()
    await reader.task


async def test_lateness_does_not_add_up() -> None:
    clock = ManualClock()
    reader = stream(scripted_on(clock, ttft_s=0, tokens_per_s=10, default_tokens=100))
    for _ in range(7):
        await clock.jump(0.55)
    assert reader.tokens == int(7 * 0.55 * 10) + 1
    await clock.advance(10)
    assert reader.tokens == 100
    assert reader.done


async def test_a_late_stream_catches_up_in_one_write() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, default_tokens=50)
    writes: list[int] = []

    async def send(message: Any) -> None:
        if message.get("body"):
            writes.append(message["body"].count(b"data: "))

    body = json.dumps({"messages": user("Hello"), "stream": True}).encode()
    task = asyncio.create_task(engine.app()(post_scope(CHAT, []), Incoming(body), send))
    await settle()
    await clock.jump(2)
    assert writes == [2, 20]
    await clock.advance(10)
    await task


async def test_a_whole_answer_comes_when_its_last_token_is_due() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, ttft_s=1, tokens_per_s=10, default_tokens=11)
    request = call(engine.app(), CHAT, {"messages": user("Hello")})
    starting = asyncio.create_task(request.start())
    await clock.advance(1.95)
    assert not starting.done()
    assert (await engine.load()).generated_tokens == 10
    await clock.advance(0.05)
    assert starting.done()
    assert (await engine.load()).generated_tokens == 11


async def test_streams_keep_their_own_schedules() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=10)
    first = stream(engine)
    await clock.advance(2.5)
    second = stream(engine)
    await clock.advance(1)
    assert (first.tokens, second.tokens) == (4, 2)
    await clock.advance(20)
    assert first.done
    assert second.done


async def test_choices_advance_together() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=3)
    reader = stream(engine, n=2)
    await clock.advance(1)
    assert [f'"index":{index}' in reader.text for index in (0, 1)] == [True, True]
    assert reader.tokens == 4
    assert (await engine.load()).generated_tokens == 4
    await clock.advance(5)
    assert (await engine.load()).generated_tokens == 6


async def test_without_a_rate_nothing_waits() -> None:
    clock = ManualClock()
    reader = stream(scripted_on(clock, default_tokens=20))
    await reader.task
    assert (reader.tokens, clock.sleepers) == (20, [])
    assert len(data_events(reader.text)) == 23


async def test_sequences_without_room_wait_in_line() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=3, max_num_seqs=2)
    readers = [stream(engine, n=2), stream(engine), stream(engine)]
    await settle()
    load = await engine.load()
    assert (load.running, load.waiting) == (2, 2)
    await clock.advance(2)
    assert [reader.done for reader in readers] == [True, False, False]
    load = await engine.load()
    assert (load.running, load.waiting) == (2, 0)
    await clock.advance(2)
    assert [reader.tokens for reader in readers] == [6, 3, 3]
    load = await engine.load()
    assert (load.running, load.waiting, load.generated_tokens) == (0, 0, 12)


async def test_prompts_wait_until_their_first_token_is_due() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, ttft_s=1, tokens_per_s=1, default_tokens=3, max_num_seqs=4)
    before = await engine.load()
    assert (before.prompt_tokens, before.waiting_tokens, before.kv_usage) == (0, 0, 0)
    reader = stream(engine)
    await clock.advance(0.5)
    reading = await engine.load()
    assert reading.prompt_tokens == reading.waiting_tokens > 0
    assert reading.kv_usage == 0.25
    await clock.advance(1)
    writing = await engine.load()
    assert (writing.prompt_tokens, writing.waiting_tokens) == (reading.prompt_tokens, 0)
    await clock.advance(5)
    assert reader.done
    assert (await engine.load()).kv_usage == 0


async def test_the_prompts_of_those_in_line_wait_too() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=3, max_num_seqs=1)
    readers = [stream(engine) for _ in range(3)]
    await clock.advance(0.5)
    load = await engine.load()
    assert load.waiting_tokens == load.prompt_tokens * 2 / 3
    assert load.kv_usage == 1
    await clock.advance(20)
    assert all(reader.done for reader in readers)


async def test_one_who_leaves_the_line_lets_the_others_on() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=3, max_num_seqs=1)
    running, leaving, staying = (stream(engine) for _ in range(3))
    await settle()
    leaving.task.cancel()
    await asyncio.wait([leaving.task])
    assert (await engine.load()).waiting == 1
    await clock.advance(4)
    assert running.done
    await clock.advance(4)
    assert staying.done


async def test_more_choices_than_fit_run_alone() -> None:
    clock = ManualClock()
    reader = stream(scripted_on(clock, tokens_per_s=1, default_tokens=1, max_num_seqs=2), n=4)
    await clock.advance(1)
    assert reader.done


@pytest.mark.parametrize("leave_at_s", [0.5, 1.0, 3.3])
async def test_tokens_stop_with_the_caller(leave_at_s: float) -> None:
    clock = ManualClock()
    engine = scripted_on(clock, ttft_s=1, tokens_per_s=10, default_tokens=500)
    reader = stream(engine)
    await clock.advance(leave_at_s)
    due = max(0, round((leave_at_s - 1) * 10) + 1)
    assert (await engine.load()).generated_tokens == reader.tokens == due
    closing = asyncio.create_task(reader.request.aclose())
    await settle()
    load = await engine.load()
    assert (load.running, load.generated_tokens) == (0, due)
    await clock.advance(5)
    assert (await engine.load()).generated_tokens == due
    await closing
    await asyncio.wait([reader.task])


async def test_one_timer_serves_all_sleepers_in_their_order() -> None:
    clock, loop = LoopClock(), asyncio.get_running_loop()
    woken: list[int] = []
    sleepers = [loop.create_future() for _ in range(5)]
    for delay, sleeper in zip((0.04, 0.01, 0.03, 0.02, 60), sleepers, strict=True):
        sleeper.add_done_callback(lambda one: woken.append(sleepers.index(one)))
        clock.wake(clock.now() + delay, sleeper)
    await asyncio.wait(sleepers[:4], timeout=10)
    assert woken == [1, 3, 2, 0]
    clock.close()
    assert not sleepers[4].done()


async def test_the_clock_passes_over_sleepers_that_left() -> None:
    clock, loop = LoopClock(), asyncio.get_running_loop()
    gone, stays = loop.create_future(), loop.create_future()
    clock.wake(clock.now() + 0.01, gone)
    clock.wake(clock.now() + 0.02, stays)
    gone.cancel()
    await asyncio.wait_for(stays, timeout=10)
