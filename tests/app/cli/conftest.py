"""A command line of its own for every test: state folder, port, and nothing left over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from app.cli.processes import end, members
from tests.support.ports import free_port

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
DRIVER = Path(__file__).with_name("driver.py")
PATIENCE_S = 60.0


@dataclass
class Manta:
    """``manta`` in a state folder of its own."""

    state: Path
    models: Path
    port: int
    fake: str = ""
    fake_weights: str = ""
    runs: set[str] = field(default_factory=set)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """``manta serve`` with these arguments, as a process; on a terminal, if one is given."""
        known = ("PATH", "HOME", "LANG", "LC_ALL")
        env = {name: os.environ[name] for name in known if name in os.environ}
        env |= {"MANTA_STATE_DIR": str(self.state), "FAKE": self.fake, "FAKE_WEIGHTS": self.fake_weights}
        env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
        output = subprocess.PIPE if terminal is None else terminal
        command = [sys.executable, str(DRIVER), "serve", *arguments]
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, text=True)
        self.started.append(process)
        return process

    def up(self, *arguments: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """``start`` with this test's port and models."""
        return self.start("--port", str(self.port), "--models", str(self.models), *arguments, terminal=terminal)

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Its exit status and all that it wrote."""
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out + err

    def ready(self) -> dict[str, Any]:
        """The run file, once it says that the service is ready."""
        return self.wait_for(lambda: run if (run := self.run()) and run["ready"] else None)

    def run(self) -> dict[str, Any] | None:
        """The run file, if there is one."""
        try:
            run = json.loads((self.state / "run.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        self.runs.add(run["id"])
        return run

    def wait_for(self, look: Callable[[], T | None]) -> T:
        """What ``look`` finds, once it finds something."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if (found := look()) is not None:
                return found
            time.sleep(0.05)
        raise AssertionError("waited in vain")

    def left(self) -> int:
        """How many processes of the runs seen are alive."""
        return sum(len(members(run)) for run in self.runs)


@pytest.fixture
def manta(tmp_path: Path) -> Iterator[Manta]:
    models = tmp_path / "models"
    models.mkdir()
    (models / "tiny.yaml").write_text("id: tiny\nengine: scripted\n")
    manta = Manta(tmp_path / "state", models, free_port())
    yield manta
    manta.run()
    for process in manta.started:
        process.kill()
    for run in manta.runs:
        end(members(run), 5)
    for process in manta.started:
        process.communicate()
