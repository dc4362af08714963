from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.settings import ROOT

PATIENCE_S = 60.0

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "deployments.tether", *sys.argv[1:]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""
QUIET = "import time, pathlib, sys; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + QUIET
ORDERLY = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys.argv[1] + ".ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


class Family:
    """A parent, and its tethered child that runs ``code``."""

    def __init__(self, folder: Path, code: str) -> None:
        (folder / "tethered_child.py").write_text(code)
        self.mark = folder / "started"
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, "tethered_child", str(self.mark)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
        )
        assert self.parent.stdout is not None
        self.child = psutil.Process(int(self.parent.stdout.readline()))
        wait_for(self.mark.exists)

    def end(self) -> None:
        assert self.parent.stdout is not None
        self.parent.kill()
        self.parent.wait()
        self.parent.stdout.close()
        if self.child.is_running():
            self.child.kill()


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def families() -> Iterator[list[Family]]:
    made: list[Family] = []
    yield made
    for family in made:
        family.end()


@pytest.mark.parametrize("code", [QUIET, STUBBORN], ids=["quiet", "stubborn"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_child_ends_when_its_parent_does(families: list[Family], tmp_path: Path, code: str, signum: signal.Signals):
    families.append(family := Family(tmp_path, code))
    assert family.child.is_running()
    family.parent.send_signal(signum)
    family.parent.wait()
    wait_for(lambda: gone(family.child))


def test_a_child_may_end_in_order(families: list[Family], tmp_path: Path):
    families.append(family := Family(tmp_path, ORDERLY))
    family.parent.kill()
    family.parent.wait()
    wait_for(Path(f"{family.mark}.ended").exists)
    wait_for(lambda: gone(family.child))


@pytest.mark.parametrize(("code", "status"), [("", 0), ("import sys; sys.exit(3)", 3), ("1 / 0", 1)])
def test_a_child_that_ends_by_itself_ends_as_it_would_untethered(tmp_path: Path, code: str, status: int):
    (tmp_path / "short_child.py").write_text(code)
    child = subprocess.Popen(
        [sys.executable, "-m", "deployments.tether", "short_child"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        assert child.wait(PATIENCE_S) == status


def test_a_child_gets_its_arguments(tmp_path: Path):
    (tmp_path / "arguments_child.py").write_text("import sys; print(sys.argv[1:], __name__)")
    child = subprocess.Popen(
        [sys.executable, "-m", "deployments.tether", "arguments_child", "--port", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.read().strip() == "['--port', '1'] __main__"
