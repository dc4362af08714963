"""Has every node of a cluster that may run vLLM models keep a pre-warmed server, and replicas ask for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray

from app.domain.model_spec import ModelSpec
from deployments.nodes import on_node
from deployments.placement import fits, needs

logger = logging.getLogger("manta")

FOREIGN = ("pip", "uv", "conda", "container", "image_uri", "py_executable")
"""Parts of a runtime environment that bring a Python of their own."""

HERE = Path(__file__).parent


def is_prewarmed(spec: ModelSpec) -> bool:
    """Whether a model's replicas start from a pre-warmed process where they can."""
    # Engines whose processes Ray starts need it where vLLM was imported, and that must not be a forked process.
    return spec.engine == "vllm" and "ray" not in map(str, spec.engine_args.values())


def launcher() -> str | None:
    """What Ray shall start a replica's worker with, in place of Python; None where that cannot be."""
    return _python_with("launcher.py")


class PrewarmedNodes:
    """Starts servers, as nodes and models come."""

    def __init__(self) -> None:
        self._asked: dict[str, Any] = {}

    def keep(self, specs: Iterable[ModelSpec]) -> None:
        """Ask every node that has none for a server, and forget those that are gone. Waits for nothing but Ray's list.

        Args:
            specs: The models. Without one that is pre-warmed, nothing is started.

        Raises:
            ray.exceptions.RayError: Ray does not say which nodes there are.
        """
        first_needs = [needs(spec)[:1] for spec in specs if is_prewarmed(spec)]
        if not first_needs or (host := _python_with("host.py")) is None:
            return
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        self._asked = {id_: asked for id_, asked in self._asked.items() if id_ in alive}
        for id_ in alive.keys() - self._asked.keys():
            if any(fits(need, [alive[id_]]) for need in first_needs):
                # A worker of its own is all that is wanted of it.
                self._asked[id_] = on_node(_nothing, id_, runtime_env={"py_executable": host})


@ray.remote(num_cpus=0, max_retries=0)
def _nothing() -> None:
    return


def _python_with(script: str) -> str | None:
    """Shell words that start a script of this package, or plain Python on a node where that is not installed."""
    python, path = sys.executable, str(HERE / script)
    if any(part in ray.get_runtime_context().runtime_env for part in FOREIGN):
        return None
    if len(f"{python} {path}".split()) > 2 or "'" in python + path:
        return None  # Ray hands it to a shell without quotes
    return f"$([ -x '{python}' ] && [ -f '{path}' ] && echo '{python} -SE {path}' || command -v python3)"
