"""vLLM's own processes: what they do from their first moment, before any code of vLLM's runs in them.

They die with the replica that started them, tell it why they failed, and on a CPU wait for each other asleep.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from deployments.engines.vllm_parent import ParentWatch
from deployments.prewarm.process import context, is_prewarmed

NAP_S = 100e-6
"""How long an engine core sleeps before it looks again whether its workers are through a step. A step takes a
millisecond at the least."""


@contextmanager
def watched_children(words: Connection) -> Generator[None]:
    """While this lasts, engine processes start through ``_run_engine_core``."""
    from vllm.v1.engine.core import EngineCoreProc

    _start_prewarmed()
    original = EngineCoreProc.__dict__["run_engine_core"]
    EngineCoreProc.run_engine_core = staticmethod(partial(_run_engine_core, words, ParentWatch()))
    try:
        yield
    finally:
        EngineCoreProc.run_engine_core = original


def _run_engine_core(words: Connection, watch: ParentWatch, /, *args: Any, **kwargs: Any) -> None:
    """The main function of the engine's process."""
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.executor.multiproc_executor import WorkerProc

    WorkerProc.worker_main = staticmethod(partial(_run_worker, words, watch))
    name = "_send_engine_dead"
    original = getattr(EngineCoreProc, name)

    def send_engine_dead(self: Any) -> None:
        # Called where the fatal error is handled: the cause has to be there before the news.
        if (error := sys.exception()) is not None:
            _tell(words, error)
        original(self)

    setattr(EngineCoreProc, name, send_engine_dead)
    _start_prewarmed()
    _wait_asleep()
    try:
        EngineCoreProc.run_engine_core(*args, **kwargs)
    except Exception as error:
        _tell(words, error)
        raise


def _run_worker(words: Connection, _: ParentWatch, /, *args: Any, **kwargs: Any) -> None:
    """The main function of a worker's process."""
    from vllm.v1.executor.multiproc_executor import WorkerProc

    original = WorkerProc.__init__

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            original(self, *args, **kwargs)
        except Exception as error:
            _tell(words, error)
            raise

    WorkerProc.__init__ = initialise
    _avoid_amx_attention()
    WorkerProc.worker_main(*args, **kwargs)


def _start_prewarmed() -> None:
    """Have vLLM start what this process starts from the node's pre-warmed server, if that has made this process too."""
    if not is_prewarmed():
        return
    from vllm.v1.engine import coordinator, utils
    from vllm.v1.executor import multiproc_executor

    for module in (coordinator, utils, multiproc_executor):
        setattr(module, "get_mp_context", context)  # noqa: B010 - their names are not theirs to give


def _tell(words: Connection, error: BaseException) -> None:
    with suppress(OSError):
        words.send(f"{type(error).__name__}: {error}")


def _wait_asleep() -> None:
    """Have this process sleep while its workers do a step on a CPU.

    vLLM asks for the result without a pause: a whole core, which on a CPU is one that could do the work. Worse, it
    calls ``sched_yield`` meanwhile, which leaves alone whoever waits for another core, such as the very worker.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    original = SpinCondition.wait

    def wait(self: SpinCondition, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(NAP_S)
        else:
            original(self, timeout_ms)

    SpinCondition.wait = wait


def _avoid_amx_attention() -> None:
    """Keep bfloat16 attention off vLLM's AMX kernel, whose answers are wrong (seen with 0.32 and head sizes of 64)."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.attention.backends import cpu_attn

    name = "_get_attn_isa"
    original = getattr(cpu_attn, name)

    def get_attn_isa(*args: Any, **kwargs: Any) -> str:
        isa = original(*args, **kwargs)
        return "vec" if isa == "amx" else isa

    setattr(cpu_attn, name, get_attn_isa)
