"""Failures on purpose happen where they were ordered, and nowhere else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.domain.model_spec import ModelSpec
from app.services.asgi_call import AsgiCall
from deployments.engines.base import EngineDead
from deployments.engines.scripted import ScriptedEngine
from deployments.engines.scripted.faults import EXIT_CODE
from tests.contract.calls import Reply, assert_error, call, post, user
from tests.deployments.engines.scripted_support import ManualClock, scripted_on, settle

CHAT = "/v1/chat/completions"


async def chat(engine: ScriptedEngine, text: str = "Hello", **fields: Any) -> Reply:
    return await post(engine.app(), CHAT, {"messages": user(text), **fields})


async def started(**args: Any) -> tuple[ScriptedEngine, list[str]]:
    """An engine and the record of its deaths."""
    deaths: list[str] = []
    spec = ModelSpec(id="scripted", engine="scripted", engine_args=args)
    engine = ScriptedEngine(spec, die=lambda: deaths.append("died"))
    await engine.start(lambda *_: None)
    return engine, deaths


def tokens(body: bytes) -> int:
    return body.count(b'"content":') - body.count(b'"content":""')


async def test_a_slow_start_tells_its_progress() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, start_s=10)
    reports: list[tuple[str, float | None]] = []
    starting = asyncio.create_task(engine.start(lambda phase, share, _: reports.append((phase, share))))
    await clock.advance(5)
    assert reports[-1] == ("loading", 0.5)
    assert not starting.done()
    with pytest.raises(EngineDead, match="not started"):
        await engine.check_health()
    await clock.advance(5)
    await starting
    shares = [share for _, share in reports]
    assert shares == sorted(shares)
    assert reports[-1] == ("warming", 1.0)
    await engine.check_health()


async def test_a_failing_start_gives_its_reason() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, fail_start="The weights are corrupt.")
    with pytest.raises(EngineDead, match="The weights are corrupt"):
        await engine.start(lambda *_: None)
    with pytest.raises(EngineDead):
        await engine.check_health()


async def test_death_before_the_first_token_leaves_no_answer() -> None:
    engine, deaths = await started(die_before_first_token=True)
    for stream in (False, True):
        with pytest.raises(EngineDead, match="died"):
            await chat(engine, stream=stream)
    assert deaths == ["died"]
    with pytest.raises(EngineDead, match="died"):
        await engine.check_health()


async def test_death_in_the_middle_breaks_the_stream_with_an_error() -> None:
    engine, deaths = await started(die_after_tokens=3)
    reply = await chat(engine, stream=True)
    assert (deaths, tokens(reply.body)) == (["died"], 3)
    assert reply.chunks[-1]["error"]["code"] == "engine_crashed"
    assert b"[DONE]" not in reply.body


async def test_death_takes_all_streams_along() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, die_after_tokens=2, die_on="[die]", default_tokens=50)
    other = asyncio.create_task(chat(engine, stream=True))
    await clock.advance(1)
    fatal = asyncio.create_task(chat(engine, "[die]", stream=True))
    await clock.advance(1)
    for task in (other, fatal):
        assert (await task).chunks[-1]["error"]["code"] == "engine_crashed"
    assert (await engine.load()).running == 0


@pytest.mark.parametrize("after", [{}, {"die_before_first_token": True}, {"die_after_tokens": 2}])
async def test_only_a_prompt_with_the_marker_kills(after: dict[str, Any]) -> None:
    engine, deaths = await started(die_on="[die]", **after)
    assert (await chat(engine)).status == 200
    assert deaths == []
    with pytest.raises(EngineDead):
        await chat(engine, "now [die]")
    assert deaths == ["died"]


async def test_a_death_can_happen_once_over_all_restarts(tmp_path: Path) -> None:
    args = {"die_before_first_token": True, "die_once_file": tmp_path / "died"}
    first, _ = await started(**args)
    with pytest.raises(EngineDead):
        await chat(first)
    restarted, deaths = await started(**args)
    assert (await chat(restarted)).status == 200
    assert (await chat(restarted, stream=True)).status == 200
    assert deaths == []


async def test_a_marker_without_the_file_kills_every_replica(tmp_path: Path) -> None:
    for _ in range(2):
        engine, _ = await started(die_on="[die]")
        with pytest.raises(EngineDead):
            await chat(engine, "[die]")


async def test_an_answer_too_short_for_a_fault_is_spared() -> None:
    engine, deaths = await started(die_after_tokens=10)
    assert (await chat(engine, max_tokens=9)).status == 200
    assert deaths == []


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/messages"])
async def test_every_route_that_works_can_die(path: str) -> None:
    engine, deaths = await started(die_on="[die]")
    body = {"input": "[die]", "prompt": "[die]", "messages": user("[die]"), "max_tokens": 5}
    with pytest.raises(EngineDead):
        await post(engine.app(), path, body)
    assert deaths == ["died"]


async def test_a_stalled_stream_stands_still_while_health_stays_good() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, stall_after_tokens=4)
    await engine.start(lambda *_: None)
    request = call(engine.app(), CHAT, {"messages": user("Hello"), "stream": True})
    reading = asyncio.create_task(_read(request))
    await clock.advance(100)
    load = await engine.load()
    assert (load.running, load.generated_tokens) == (1, 4)
    await engine.check_health()
    await request.aclose()
    assert tokens(await reading) == 4
    assert (await engine.load()).running == 0


async def test_a_stalled_whole_answer_never_comes() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, stall_after_tokens=4)
    request = call(engine.app(), CHAT, {"messages": user("Hello")})
    starting = asyncio.create_task(request.start())
    await clock.advance(100)
    load = await engine.load()
    assert (starting.done(), load.running, load.generated_tokens) == (False, 1, 4)
    starting.cancel()
    await asyncio.wait([starting])
    assert (await engine.load()).running == 0


async def test_an_error_ends_a_stream_without_done() -> None:
    engine, _ = await started(error_after_tokens=2)
    reply = await chat(engine, stream=True)
    assert (reply.status, tokens(reply.body)) == (200, 2)
    assert set(reply.chunks[-1]["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in reply.body
    assert_error(await chat(engine), 500, "server_error")
    await engine.check_health()


async def test_an_error_before_the_first_token_has_its_own_status() -> None:
    engine, _ = await started(error_on="[error]")
    assert_error(await chat(engine, "[error]", stream=True), 500, "server_error")
    assert (await chat(engine, stream=True)).status == 200


async def test_anthropics_clients_see_an_error_by_its_name() -> None:
    engine, _ = await started(error_after_tokens=2)
    body = {"messages": user("x"), "max_tokens": 5, "stream": True}
    reply = await post(engine.app(), "/v1/messages", body)
    assert b"\n\nevent: error\ndata: {" in reply.body


async def test_a_marker_works_for_each_fault_by_itself() -> None:
    engine, deaths = await started(error_on="[error]", die_on="[die]", die_after_tokens=1)
    assert_error(await chat(engine, "[error]"), 500, "server_error")
    assert deaths == []
    with pytest.raises(EngineDead):
        await chat(engine, "[die]")


async def test_stopping_ends_what_is_under_way_and_admits_no_more() -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=1, default_tokens=50)
    running = asyncio.create_task(chat(engine, stream=True))
    whole = asyncio.create_task(chat(engine))
    await clock.advance(1)
    await engine.stop()
    assert (await running).chunks[-1]["error"]["type"] == "service_unavailable_error"
    assert_error(await whole, 503, "service_unavailable_error")
    assert_error(await chat(engine), 503, "service_unavailable_error")
    with pytest.raises(EngineDead, match="stopped"):
        await engine.check_health()


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    engine, _ = await started(tokens_per_s=50, default_tokens=500)
    requests = [call(engine.app(), CHAT, {"messages": user("x"), "stream": True}) for _ in range(5)]
    await asyncio.gather(*(request.start() for request in requests))
    await asyncio.gather(*(request.aclose() for request in requests))
    await engine.stop()
    await settle()
    assert asyncio.all_tasks() == before


SERVER = """
import asyncio, sys
from app.domain.model_spec import ModelSpec
from deployments.engines.scripted import ScriptedEngine
from tests.contract.calls import post, user

async def main():
    engine = ScriptedEngine(ModelSpec(id="m", engine="scripted", engine_args={"die_before_first_token": True}))
    await engine.start(lambda *_: None)
    try:
        await post(engine.app(), "/v1/chat/completions", {"messages": user("x")})
    finally:
        print("still here")

asyncio.run(main())
"""


def test_a_real_replicas_process_dies_without_a_word() -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", SERVER]
    died = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True, timeout=60)
    assert (died.returncode, died.stdout) == (EXIT_CODE, "")


async def _read(request: AsgiCall) -> bytes:
    await request.start()
    return b"".join([chunk async for chunk in request])
