"""How the real vLLM ends: killed, stopped, given up, refused.

The name of this file puts it last of those that share an engine: here it dies.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments.engines.base import EngineDead
from deployments.engines.vllm import VllmEngine
from tests.deployments.engines.vllm_support import DEADLINE_S, call, running, spec
from tests.support.openai_schema import data_events
from tests.support.tiny_model import make_tiny_model

pytest.importorskip("vllm", reason="vLLM is not installed")

# What vLLM, torch and their like warn of is theirs to mend, and must not become an exception in the middle of them.
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

START_S = 300


async def test_a_killed_engine_is_told_to_streams_and_raised_to_the_others(engine: VllmEngine) -> None:
    body = {"prompt": "The", "max_tokens": 1800, "ignore_eos": True}
    stream = call(engine, "/v1/completions", body | {"stream": True})
    await stream.start()
    whole = asyncio.create_task(call(engine, "/v1/completions", body).start())
    await running(engine, 2)
    processes = engine_processes(psutil.Process())
    processes[0].kill()
    async with asyncio.timeout(DEADLINE_S):
        *_, last = data_events(b"".join([chunk async for chunk in stream]))
        with pytest.raises(EngineDead):
            await whole
    assert json.loads(last)["error"]["code"] == "engine_crashed"
    with pytest.raises(EngineDead, match="engine of tiny died"):
        await engine.check_health()
    with pytest.raises(EngineDead):
        await call(engine, "/v1/completions", body).start()
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive


async def test_stopping_leaves_no_process_and_no_task(engine: VllmEngine) -> None:
    await engine.stop()
    assert not engine_processes(psutil.Process())
    assert not [task for task in asyncio.all_tasks() if "EngineCore" in task.get_name()]
    with pytest.raises(EngineDead, match="not running"):
        await engine.check_health()


async def test_a_head_size_that_attention_refuses_is_told(tmp_path: Path) -> None:
    weights = make_tiny_model(tmp_path, head_dim=16)
    engine = VllmEngine(spec(weights), str(weights))
    with pytest.raises(EngineDead, match=r"attention heads have a size .*head_dim=16"):
        await engine.start(lambda *_: None)
    assert not engine_processes(psutil.Process())


async def test_a_start_that_is_given_up_leaves_nothing(weights: Path) -> None:
    engine = VllmEngine(spec(weights), str(weights))
    starting = asyncio.create_task(engine.start(lambda *_: None))
    async with asyncio.timeout(START_S):
        await asyncio.to_thread(wait_for_process)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not engine_processes(psutil.Process())


REPLICA = """
import asyncio, sys
from app.domain.model_spec import ModelSpec
from deployments.engines.vllm import VllmEngine

async def main():
    spec = ModelSpec.model_validate_json(sys.argv[1])
    await VllmEngine(spec, spec.source).start(lambda phase, *_: print(phase, flush=True))

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_killed_replica_takes_its_engine_along(weights: Path, tmp_path: Path) -> None:
    script = tmp_path / "replica.py"
    script.write_text(REPLICA)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    command = [sys.executable, str(script), spec(weights).model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as replica:
        assert replica.stdout is not None
        assert any("warming" in line for line in replica.stdout)
        processes = engine_processes(psutil.Process(replica.pid))
        replica.send_signal(signal.SIGKILL)
    assert len(processes) >= 2
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive


def wait_for_process() -> None:
    while not engine_processes(psutil.Process()):
        time.sleep(0.1)


def engine_processes(process: psutil.Process) -> list[psutil.Process]:
    """What vLLM started below ``process``; Python's own resource tracker is not vLLM's."""
    if process.pid == os.getpid():
        # The tests' own process has other children too: databases, browsers, whole services.
        roots = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
    else:
        roots = process.children()
    found = [member for root in roots for member in (root, *_below(root))]
    return [member for member in found if _is_at_work(member)]


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_at_work(child: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(child.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return False
