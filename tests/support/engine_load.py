"""The engines' own counters, asked over Ray: what an engine does, not what the gateway believes it does.

    python -m tests.support.engine_load <ray address>

is a driver of its own, so that the tests' process never becomes part of a cluster. It reads one line of JSON per
question (``["<app>", "<deployment>"]``) and answers with the engine's load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from app.domain.model_spec import ModelSpec

POLL_S = 0.05


class EngineLoads:
    """Asks; a context manager around the driver's process.

    Args:
        state_dir: The running service's state folder: it names the cluster.
    """

    def __init__(self, state_dir: Path) -> None:
        self._address = (state_dir / "ray-address").read_text()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._address],
            env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def of(self, spec: ModelSpec) -> dict[str, int]:
        """``running``, ``waiting`` and ``generated_tokens`` of a model with one replica."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([spec.app_name, spec.deployment_name]) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith('{"running"'):
                return json.loads(line)
        raise AssertionError("the driver ended")

    def wait_until_running(self, spec: ModelSpec, count: int, within_s: float) -> dict[str, int]:
        """The load once exactly ``count`` sequences run and none waits.

        Raises:
            AssertionError: It did not come to that in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            load = self.of(spec)
            if load["running"] == count and not load["waiting"]:
                return load
            assert time.monotonic() < deadline, f"after {within_s} s the engine does {load}, not {count} sequences"
            time.sleep(POLL_S)


def _drive(address: str) -> None:
    import ray
    from ray import serve

    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    handles: dict[str, Any] = {}
    for line in sys.stdin:
        app, deployment = json.loads(line)
        if deployment not in handles:
            handles[deployment] = serve.get_deployment_handle(deployment, app)
        load = handles[deployment].load.remote().result(timeout_s=30)
        answer = {"running": load.running, "waiting": load.waiting, "generated_tokens": load.generated_tokens}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _drive(sys.argv[1])
