"""Children that die when their parent does, however the parent died.

The parent holds the other end of the child's standard input and never writes to it: when the parent ends, the pipe
closes. Without this, a killed start would leave its download or conversion running, and the next start would meet it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK_S = 0.25
ENTRY = "from deployments.weights.tether import main; main()"


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
        [sys.executable, "-c", ENTRY, module, *arguments],
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


def _follow_parent() -> None:
    # below Python's own buffering, whose lock would be held when the interpreter ends
    while os.read(0, 1):
        pass
    # the main thread may be deep in native code: only this ends it at once
    os._exit(1)


def main() -> None:
    """Run the module named by the first argument as ``__main__``: what the child starts with."""
    threading.Thread(target=_follow_parent, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
