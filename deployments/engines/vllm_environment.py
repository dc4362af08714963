"""The environment that vLLM reads. vLLM itself is not imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deployments.prewarm.environment import apply_late

FORCED = {
    # Routes that run code or change weights must not even exist.
    "VLLM_SERVER_DEV_MODE": "0",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    # A replica has threads: forking it would copy held locks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""What safety needs, whatever the spec's ``resources.env`` says."""

DEFAULTS = {
    # By default vLLM tells its makers about every start, and ties each replica of a node to the same cores.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def prepared(environment: Mapping[str, str], *, offline: bool) -> dict[str, str]:
    """An engine's whole environment, made of what its process was started with.

    Args:
        environment: That.
        offline: Whether the hub's client is to stay off the network.
    """
    hub = {"HF_HUB_OFFLINE": "1"} if offline else {}
    return {**DEFAULTS, **hub, **environment, **FORCED}


def prepare_environment(weights: str) -> None:
    """Set what vLLM and the hub's client read while they are imported: call it before.

    In a pre-warmed process they are imported already, with all of this set but what has its say now.
    """
    os.environ.update(prepared(os.environ, offline=Path(weights).exists()))
    apply_late(os.environ)


def forbid_compilation() -> None:
    """Keep an eager engine on a CPU from compiling after all, in the processes that it starts.

    Even then vLLM compiles its sampling, when the first request asks for logprobs: all requests stand still for
    seconds, and without a C++ compiler the engine dies.
    """
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
