"""What is counted of a vLLM engine's work, and what is left out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.base import EngineLoad
from deployments.engines.vllm import VllmEngine
from deployments.engines.vllm_counters import Counters
from tests.contract.calls import call, post


def stats(running: int, waiting: int, skipped: int = 0, kv: float = 0.0) -> Any:
    return SimpleNamespace(
        num_running_reqs=running, num_waiting_reqs=waiting, num_skipped_waiting_reqs=skipped, kv_cache_usage=kv
    )


def test_the_load_is_the_sum_over_engine_cores():
    counters = Counters()
    make = counters.stat_logger()
    for index in (0, 1):
        logger = make(None, index)
        logger.log_engine_initialized()
        logger.record(stats(2, 1, 1), None)
    assert counters.load() == EngineLoad(4, 4, 0)


def test_a_step_without_numbers_changes_nothing():
    counters = Counters()
    logger = counters.stat_logger()(None, 0)
    logger.record(stats(1, 0), None)
    logger.record(None, None)
    assert counters.load() == EngineLoad(1, 0, 0)


def test_the_cache_is_as_full_as_that_of_the_fullest_core():
    counters = Counters()
    make = counters.stat_logger()
    for index, kv in enumerate((0.25, 0.75)):
        make(None, index).record(stats(1, 0, kv=kv), None)
    assert counters.load().kv_usage == 0.75


def test_alone_it_is_the_only_one_that_counts():
    counters = Counters()
    ours = SimpleNamespace(per_engine_stat_loggers={0: counters.stat_logger()(None, 0)})
    theirs = SimpleNamespace(per_engine_stat_loggers={0: object()})
    manager = SimpleNamespace(stat_loggers=[theirs, ours, SimpleNamespace()])
    llm = SimpleNamespace(log_stats=True, logger_manager=manager, output_processor=SimpleNamespace(log_stats=True))
    counters.alone(llm)
    assert manager.stat_loggers == [ours]
    assert not llm.log_stats
    assert not llm.output_processor.log_stats


@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
async def test_a_running_engine_counts_its_work_alone(engine: VllmEngine):
    assert len(engine._llm.logger_manager.stat_loggers) == 1
    before = await engine.load()
    body = {"model": "tiny", "prompt": "a", "max_tokens": 7, "ignore_eos": True, "stream": True}
    assert (await post(engine.app(), "/v1/completions", body)).status == 200
    prompted = before.prompt_tokens + 1
    assert await engine.load() == EngineLoad(0, 0, before.generated_tokens + 7, prompt_tokens=prompted)


@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("asked", [{}, {"n": 3}, {"logprobs": 1}], ids=["plain", "choices", "logprobs"])
async def test_a_call_is_told_of_its_tokens_as_they_come_and_of_its_prompt_before(
    engine: VllmEngine, asked: dict[str, Any]
):
    body = {"model": "tiny", "prompt": "a b c", "max_tokens": 40, "ignore_eos": True, "stream": True, **asked}
    answer = call(engine.app(), "/v1/completions", body)
    await answer.start()
    read = answer.tally.usage.input_tokens
    counts = [answer.tally.so_far]
    async for _ in answer:
        counts.append(answer.tally.so_far)
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1] == answer.tally.usage.output_tokens == 40 * asked.get("n", 1)
    assert read == answer.tally.usage.input_tokens > 0


@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
async def test_a_running_engine_tells_what_waits_and_how_full_its_cache_is(engine: VllmEngine):
    before = await engine.load()
    prompt = "a b c d e f g h i j k l m n o p q r s t"
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 150, "ignore_eos": True, "stream": True}
    asked = call(engine.app(), "/v1/completions", body)
    starting = asyncio.create_task(asked.start())
    loads: list[EngineLoad] = []
    async with asyncio.timeout(30):
        while not any(load.kv_usage and load.running for load in loads):
            loads.append(await engine.load())
            await asyncio.sleep(0)
    taken = loads[-1].prompt_tokens - before.prompt_tokens
    assert taken >= 20
    assert {load.waiting_tokens for load in loads} <= {0, taken}
    assert taken in {load.waiting_tokens for load in loads}
    assert 0 < loads[-1].kv_usage < 1
    await starting
    async for _ in asked:
        pass
    async with asyncio.timeout(10):
        while (after := await engine.load()).kv_usage:
            await asyncio.sleep(0.01)
    assert (after.running, after.waiting, after.waiting_tokens) == (0, 0, 0)
