"""Work in a child process: its output line by line, and no child that outlives its parent.

Without the tether, a killed start would leave its download or conversion running, and the next start would meet it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from app.settings import ROOT

TICK_S = 0.25


def run_tethered(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    lock: int,
    tick: Callable[[Sequence[str]], None],
) -> int:
    """Run a Python module in a child until it ends, and return its exit code.

    Args:
        env: Variables on top of our own.
        lock: Descriptor of a held lock: the child holds it too, so that it stays held until both are gone.
        tick: Called four times a second, and once at the end, with every line of output so far; what it raises ends
            the child.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.tether", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        pass_fds=(lock,),
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
    reader.start()
    try:
        while _runs(process):
            tick(lines)
        reader.join()
        tick(lines)
        return process.returncode
    finally:
        process.kill()
        process.wait()
        reader.join()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _runs(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(TICK_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    for line in process.stdout or ():
        lines.append(line.strip())
