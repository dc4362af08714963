"""The processes of a run, found by the mark that they all inherit. Nothing else is ever touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import psutil

MARK = "MANTA_RUN"


def marked(env: dict[str, str], run_id: str) -> dict[str, str]:
    """An environment whose processes, and theirs, can be found again."""
    # process titles (Ray and vLLM set them) are written over the environment that others can see, unless told not to
    return {**env, MARK: run_id, "SPT_NOENV": "1"}


def members(run_id: str) -> list[psutil.Process]:
    """Every process of this run that is alive, but not ourselves."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_marked(process, run_id)]


def end(processes: Sequence[psutil.Process], grace_s: float) -> None:
    """Ask them to end, wait so many seconds, then make them."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        _each(processes, ask)
        _, processes = psutil.wait_procs(processes, timeout=grace_s)
        if not processes:
            return


def _each(processes: Sequence[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            action(process)
        except psutil.NoSuchProcess:
            continue


def _is_marked(process: psutil.Process, run_id: str) -> bool:
    try:
        return process.environ().get(MARK) == run_id
    except (psutil.Error, OSError):
        # gone, a zombie, or another user's
        return False
