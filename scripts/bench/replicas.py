"""What each replica of a model has done, asked inside the cluster by a process of its own.

    python -m scripts.bench.replicas <ray address> <app> <deployment>

writes one line for each line it reads: the tokens that every replica has generated so far, as a JSON list.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any, Self

import ray
from ray.serve.handle import DeploymentHandle

from app.domain.model_spec import DEPLOYMENT, ModelSpec
from app.settings import ROOT

MARK = "replicas: "
STOP_S = 30.0


class Replicas:
    """Asks; a context manager around that process."""

    def __init__(self, ray_address: str, spec: ModelSpec) -> None:
        self._command = [sys.executable, "-m", __name__, ray_address, spec.app_name, DEPLOYMENT]

    def __enter__(self) -> Self:
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(STOP_S)
        self._process.stdout.close()

    def generated(self) -> list[int]:
        """Tokens that each replica has generated, always in the same order.

        Raises:
            RuntimeError: The process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise RuntimeError("the process that asks replicas ended")


def main() -> int:
    """Answer until nobody asks any more."""
    address, app, deployment = sys.argv[1:]
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    handle: Any = DeploymentHandle(deployment, app)
    for _ in sys.stdin:
        loads = handle.broadcast("load").results()
        print(MARK + json.dumps([load.generated_tokens for load in loads]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
