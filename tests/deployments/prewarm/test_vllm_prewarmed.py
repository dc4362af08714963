"""vLLM's own processes, born of a keeper: they answer, they are warm, and they end with the replica."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.deployments.prewarm import conftest
from tests.deployments.prewarm.conftest import Node
from tests.support.tiny_model import make_tiny_model

pytest.importorskip("vllm", reason="vLLM is not installed")

GONE_S = 10
ENGINE = """
import asyncio, json, os, sys, time
from app.domain.model_spec import ModelSpec
from deployments.engines.vllm import VllmEngine
from deployments.prewarm.process import engine_processes

async def main(weights):
    arguments = {"max_model_len": 512, "dtype": "float32", "kv_cache_memory_bytes": 64 << 20}
    engine = VllmEngine(ModelSpec(id="tiny", source=weights, engine_args=arguments), weights)
    await engine.start(lambda *_: None)
    print("told " + json.dumps({"pid": os.getpid(), "engine": engine_processes()}), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    asyncio.run(main(WEIGHTS))
"""


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")
def test_an_engine_of_warm_processes_answers_and_ends_with_its_replica(node: Node, tmp_path: Path) -> None:
    weights = make_tiny_model(tmp_path / "tiny")
    node.serve("vllm")
    with node.start(ENGINE.replace("WEIGHTS", repr(str(weights))), {"OMP_NUM_THREADS": "2"}) as worker:
        assert worker.stdout is not None
        line = next(line for line in worker.stdout if line.startswith("told "))
        told = json.loads(line.removeprefix("told "))
        replica = psutil.Process(told["pid"])
        engine = [psutil.Process(pid) for pid in told["engine"]]
        titles = sorted(" ".join(process.cmdline()).strip() for process in engine)
        assert [title.partition("::")[2] for title in titles] == ["EngineCore", "Worker"]
        assert {process.ppid() for process in engine} == {replica.ppid()}
        replica.send_signal(signal.SIGKILL)
        _, err = worker.communicate(timeout=conftest.END_S)
        assert worker.returncode == -signal.SIGKILL
        assert "starts plainly" not in err
    assert not psutil.wait_procs(engine, timeout=GONE_S)[1]
