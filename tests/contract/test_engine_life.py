"""What an engine promises about itself: progress, health, counters, and that work stops when nobody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import pytest

from app.domain.model_state import StartPhase
from app.services.asgi_call import ASGIApp
from deployments.engines.base import Engine, EngineLoad
from tests.contract.calls import call, post, user
from tests.contract.conftest import CONTEXT, Started

LONG_ANSWER = {"messages": user("Hello"), "max_tokens": 900, "ignore_eos": True}
DEADLINE_S = 10


async def load_when(engine: Engine, wanted: Callable[[EngineLoad], bool]) -> EngineLoad:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            load = await engine.load()
            if wanted(load):
                return load
            await asyncio.sleep(0.01)


async def idle(engine: Engine) -> EngineLoad:
    return await load_when(engine, lambda load: load.running == load.waiting == 0)


def test_a_start_tells_its_phases(started: Started) -> None:
    phases = [phase for phase, _, _ in started.reports]
    assert phases
    assert set(phases) <= set(get_args(StartPhase))
    assert all(share is None or 0 <= share <= 1 for _, share, _ in started.reports)


def test_the_context_is_known(engine: Engine) -> None:
    assert engine.max_model_len == CONTEXT


async def test_a_started_engine_is_healthy(engine: Engine) -> None:
    await engine.check_health()


async def test_counters_count_every_token(engine: Engine, engine_app: ASGIApp) -> None:
    before = await idle(engine)
    body = {"messages": user("Hello"), "max_tokens": 7, "ignore_eos": True, "n": 2}
    await post(engine_app, "/v1/chat/completions", body)
    await post(engine_app, "/v1/chat/completions", body | {"stream": True})
    after = await load_when(engine, lambda load: load.generated_tokens - before.generated_tokens >= 28)
    assert after.generated_tokens - before.generated_tokens == 28


async def _leave_stream(app: ASGIApp, engine: Engine) -> None:
    request = call(app, "/v1/chat/completions", LONG_ANSWER | {"stream": True})
    await request.start()
    await request.read()
    await load_when(engine, lambda load: load.running == 1)
    await request.aclose()


async def _leave_whole(app: ASGIApp, engine: Engine) -> None:
    request = call(app, "/v1/chat/completions", LONG_ANSWER)
    starting = asyncio.create_task(request.start())
    await load_when(engine, lambda load: load.running == 1)
    starting.cancel()
    await asyncio.wait([starting])


@pytest.mark.parametrize("leave", [_leave_stream, _leave_whole])
async def test_work_stops_when_the_caller_leaves(
    engine: Engine, engine_app: ASGIApp, leave: Callable[[ASGIApp, Engine], Awaitable[Any]]
) -> None:
    before = await idle(engine)
    await leave(engine_app, engine)
    stopped = await idle(engine)
    await asyncio.sleep(0.3)
    later = await engine.load()
    assert later.generated_tokens == stopped.generated_tokens
    assert later.generated_tokens - before.generated_tokens < LONG_ANSWER["max_tokens"]


async def test_the_others_go_on_when_one_caller_leaves(engine: Engine, engine_app: ASGIApp) -> None:
    body = {"messages": user("Hello"), "max_tokens": 100, "ignore_eos": True, "stream": True}
    staying = asyncio.create_task(post(engine_app, "/v1/chat/completions", body, request_id="stays"))
    await _leave_stream_among_others(engine_app)
    chunks = (await staying).chunks
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    await idle(engine)


async def _leave_stream_among_others(app: ASGIApp) -> None:
    request = call(app, "/v1/chat/completions", LONG_ANSWER | {"stream": True}, request_id="leaves")
    await request.start()
    await request.read()
    await request.aclose()


async def test_concurrent_answers_do_not_mix(engine: Engine, engine_app: ASGIApp) -> None:
    async def ask(number: int) -> None:
        body = {"messages": user(f"Number {number}"), "temperature": 0, "max_tokens": 12, "ignore_eos": True}
        path, id_ = "/v1/chat/completions", f"id-{number}"
        stream = await post(engine_app, path, body | {"stream": True}, request_id=id_, model=f"model-{number}")
        names = {(chunk["id"], chunk["model"]) for chunk in stream.chunks}
        assert names == {(f"chatcmpl-{id_}", f"model-{number}")}

    await asyncio.gather(*(ask(number) for number in range(8)))
    await idle(engine)


async def test_no_task_is_left_behind(engine: Engine, engine_app: ASGIApp) -> None:
    await post(engine_app, "/v1/chat/completions", {"messages": user("Hello"), "max_tokens": 2})
    await idle(engine)
    before = asyncio.all_tasks()
    await post(engine_app, "/v1/chat/completions", {"messages": user("Hello"), "max_tokens": 2})
    await _leave_stream(engine_app, engine)
    await idle(engine)
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(asyncio.all_tasks() - before))
