"""What is counted of a vLLM engine's work, and what is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.base import EngineLoad
from deployments.engines.vllm import VllmEngine
from deployments.engines.vllm_counters import Counters
from tests.contract.calls import post


def stats(running: int, waiting: int, skipped: int = 0) -> Any:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, num_skipped_waiting_reqs=skipped)


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
    before = (await engine.load()).generated_tokens
    body = {"model": "tiny", "prompt": "a", "max_tokens": 7, "ignore_eos": True, "stream": True}
    assert (await post(engine.app(), "/v1/completions", body)).status == 200
    assert await engine.load() == EngineLoad(0, 0, before + 7)
