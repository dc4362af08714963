"""A child ends with its parent, even when that one gets no chance to say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

PARENT = """
import functools, multiprocessing, time
from deployments.engines.vllm_parent import ParentWatch

def child(watch, queue):
    queue.put(True)
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=functools.partial(child, ParentWatch(), queue))
    process.start()
    queue.get()
    print(process.pid, flush=True)
    time.sleep(60)
"""
DEADLINE_S = 10


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path) + os.pathsep + "."}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([child], timeout=DEADLINE_S)
    assert not alive
