"""What a server imports, and what must hold when it has."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

VLLM = (
    "vllm.engine.arg_utils",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.tool_parsers",
    "vllm.v1.engine.async_llm",
    "vllm.entrypoints.launchers.api_server.app_state",
    "vllm.entrypoints.launchers.app",
    "vllm.parser.abstract_parser",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
)
"""What the three processes of an engine import."""

WORKERS = {
    True: ("vllm.v1.worker.cpu_worker", "vllm.v1.attention.backends.cpu_attn"),
    False: ("vllm.v1.worker.gpu_worker",),
}
"""And what its workers do besides, on a CPU and elsewhere."""

MODELS = ("vllm.model_executor.models.llama", "vllm.model_executor.models.bert")


class NotForkable(Exception):
    """After the imports this process cannot be forked safely; the message says why."""


def import_all(modules: Sequence[str]) -> None:
    """Import ``modules``, but never Ray; ``vllm`` stands for all that an engine needs.

    Raises:
        Exception: One of them cannot be imported.
    """
    # Faster without, and what is imported stays anyway.
    gc.disable()
    with _without_ray():
        for module in modules:
            for each in VLLM if module == "vllm" else (module,):
                import_module(each)
        if "vllm" in modules:
            for each in (*WORKERS[_is_cpu()], *MODELS):
                import_module(each)
    gc.collect()
    gc.freeze()
    gc.enable()


def check_forkable() -> None:
    """Return if this process has one thread, and nothing that a fork would break.

    Raises:
        NotForkable: It has not.
    """
    if (count := threading.active_count()) > 1:
        raise NotForkable(f"{count} threads of Python are running")
    # Libraries of linear algebra end their threads at a fork, and start them again when they need them.
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
    if (count := len(list(Path("/proc/self/task").iterdir()))) > 1:
        raise NotForkable(f"{count} threads outlive a fork")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise NotForkable("CUDA is initialised")
    if "ray" in sys.modules:
        raise NotForkable("Ray is imported")


@contextmanager
def _without_ray() -> Generator[None]:
    # vLLM imports it where it finds it.
    sys.modules["ray"] = None  # pyright: ignore[reportArgumentType] - how a module is said not to be there
    try:
        yield
    finally:
        del sys.modules["ray"]


def _is_cpu() -> bool:
    return bool(import_module("vllm.platforms").current_platform.is_cpu())
