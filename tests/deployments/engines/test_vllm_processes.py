"""vLLM's engine core waits asleep for its workers, and blocks as vLLM has it once nobody asks for anything."""

from __future__ import annotations

import time
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines import vllm_processes
from deployments.engines.vllm_parent import ParentWatch
from deployments.engines.vllm_processes import NAP_S

pytest.importorskip("vllm", reason="vLLM is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What vLLM's condition does instead of asking again at once; put in place as in the engine's process."""
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    done: list[Any] = []
    monkeypatch.setattr(SpinCondition, "wait", lambda _, timeout_ms=None: done.append(("blocked", timeout_ms)))
    vllm_processes._wait_asleep()
    monkeypatch.setattr(vllm_processes.time, "sleep", lambda seconds: done.append(("slept", seconds)))
    return done


def condition(last_read: float) -> Any:
    return SimpleNamespace(last_read=last_read, busy_loop_s=1)


def test_between_two_steps_it_sleeps_for_a_moment(waits: list[Any]):
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    SpinCondition.wait(condition(time.monotonic()), 5000)
    assert waits == [("slept", NAP_S)]


def test_at_rest_it_blocks_until_it_is_told(waits: list[Any]):
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    SpinCondition.wait(condition(time.monotonic() - 2), 5000)
    assert waits == [("blocked", 5000)]


def test_an_engine_core_waits_that_way_from_its_start(monkeypatch: pytest.MonkeyPatch):
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.executor.multiproc_executor import WorkerProc

    # What the main function changes in its own process must not stay changed in this one.
    original = SpinCondition.wait
    monkeypatch.setattr(SpinCondition, "wait", original)
    monkeypatch.setattr(EngineCoreProc, "_send_engine_dead", EngineCoreProc._send_engine_dead)
    monkeypatch.setattr(WorkerProc, "worker_main", staticmethod(WorkerProc.worker_main))
    seen: list[Any] = []
    monkeypatch.setattr(EngineCoreProc, "run_engine_core", lambda: seen.append(SpinCondition.wait))
    ours, theirs = Pipe()
    with ours, theirs:
        vllm_processes._run_engine_core(ours, ParentWatch())
    assert seen != [original]
    assert len(seen) == 1


def test_elsewhere_than_on_a_cpu_vllm_waits_as_it_likes(monkeypatch: pytest.MonkeyPatch):
    from vllm import platforms
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    original = SpinCondition.wait
    monkeypatch.setattr(platforms, "_current_platform", SimpleNamespace(is_cpu=lambda: False))
    vllm_processes._wait_asleep()
    assert SpinCondition.wait is original
