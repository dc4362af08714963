"""A running cluster, seen from inside: what its engines do, not what the gateway believes they do.

    python -m tests.support.inside <ray address>

is a driver of its own, so that the tests' process never becomes part of a cluster. It reads one line of JSON per
question and answers with another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.request import urlopen

from app.domain.model_spec import DEPLOYMENT, ModelSpec

POLL_S = 0.05
MARK = "inside: "


class Inside:
    """Asks; a context manager around the driver's process.

    Args:
        address: The cluster's.
        auth_mode: Whether it wants Ray's token.
    """

    def __init__(self, address: str, auth_mode: str = "token") -> None:
        self._address = address
        self._auth_mode = auth_mode

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._address],
            env={**os.environ, "RAY_AUTH_MODE": self._auth_mode, "PYTHONWARNINGS": "ignore"},
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
        return self._ask("load", spec)

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

    def ticket(self, spec: ModelSpec) -> dict[str, Any]:
        """``host``, ``port`` and ``token`` of a lease, as a gateway gets them."""
        return self._ask("ticket", spec)

    def misplace(self, spec: ModelSpec) -> None:
        """From now on the model's replica names an address at which it cannot be reached."""
        self._ask("misplace", spec)

    def detours(self, spec: ModelSpec) -> int:
        """What the cluster's metrics say of answers that went through Serve's handle."""
        return self._count("manta_handle_detours", model=spec.id)

    def mode_changes(self, mode: str) -> int:
        """What the cluster's metrics say of how often limits came to be counted in this way."""
        return self._count("manta_limits_mode_changes", mode=mode)

    def _count(self, metric: str, **tags: str) -> int:
        return self._put({"question": "count", "metric": metric, "tags": tags})

    def _ask(self, question: str, spec: ModelSpec) -> Any:
        return self._put({"question": question, "model": spec.id, "app": spec.app_name, "deployment": DEPLOYMENT})

    def _put(self, asked: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise AssertionError("the driver ended")


def _load(asked: dict[str, str]) -> dict[str, int]:
    load = _handle(asked).load.remote().result(timeout_s=30)
    return {"running": load.running, "waiting": load.waiting, "generated_tokens": load.generated_tokens}


def _ticket(asked: dict[str, str]) -> dict[str, Any]:
    lease = _handle(asked).options(method_name="lease", stream=True).remote()
    ticket = next(iter(lease))
    _kept.append(lease)
    return {"host": ticket.host, "port": ticket.port, "token": ticket.token}


def _misplace(asked: dict[str, str]) -> None:
    import ray
    from ray.util import list_named_actors

    def move(replica: Any) -> None:
        # Nobody listens at this port of another address.
        replica._replica_impl._user_callable_wrapper._callable._listener._host = "127.0.0.1"

    names = [actor["name"] for actor in list_named_actors(all_namespaces=True)]
    (name,) = [name for name in names if name.startswith(f"SERVE_REPLICA::{asked['app']}#")]
    ray.get(ray.get_actor(name, namespace="serve").__ray_call__.remote(move))


def _count(asked: dict[str, Any]) -> int:
    import ray

    total = 0.0
    for node in ray.nodes():
        with urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        tags = [f'{name}="{value}"' for name, value in asked["tags"].items()]
        mine = [line for line in lines if asked["metric"] in line and all(tag in line for tag in tags)]
        total += sum(float(line.rpartition(" ")[2]) for line in mine)
    return int(total)


QUESTIONS: dict[str, Callable[[dict[str, str]], Any]] = {
    "load": _load,
    "ticket": _ticket,
    "misplace": _misplace,
    "count": _count,
}

_handles: dict[str, Any] = {}
_kept: list[Any] = []
"""Leases: one that nobody holds would be given back."""


def _handle(asked: dict[str, str]) -> Any:
    from ray import serve

    app = asked["app"]
    if app not in _handles:
        _handles[app] = serve.get_deployment_handle(asked["deployment"], app)
    return _handles[app]


def _drive(address: str) -> None:
    import ray

    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    for line in sys.stdin:
        asked = json.loads(line)
        print(MARK + json.dumps(QUESTIONS[asked["question"]](asked)), flush=True)


if __name__ == "__main__":
    _drive(sys.argv[1])
