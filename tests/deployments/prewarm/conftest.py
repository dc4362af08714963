"""A server that imports nothing heavy, and what is asked of it by the launcher, as Ray would start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployments.prewarm.place import Place, place_of

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = ROOT / "deployments" / "prewarm" / "launcher.py"
SERVE = f"import sys; sys.path[0] = {str(ROOT)!r}; from deployments.prewarm.server import main; main()"
END_S = 20

ENVIRONMENT = {"PATH": os.environ["PATH"], "READ_AT_IMPORT": "same"}
READER = "import os\nos.environ.get('READ_AT_IMPORT')\n"
TELL = """
import json, os, sys
told = {"pid": os.getpid(), "parent": os.getppid(), "environment": dict(os.environ), "argv": sys.argv,
        "born": "a_module_that_reads" in sys.modules, "cwd": os.getcwd(), "fds": sorted(os.listdir("/proc/self/fd"))}
print(json.dumps(told), flush=True)
"""


class Node:
    """A node with a server.

    Attributes:
        name: What workers on it are told that it is called.
        place: Where its server is.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self.folder = folder
        self.place = place_of([f"--node-id={self.name}"])
        self.server: subprocess.Popen[bytes] | None = None
        self.lock: int | None = None

    def serve(self, modules: str = "a_module_that_reads") -> None:
        """Start the server."""
        self.lock = self.place.claim()
        assert self.lock is not None
        (self.folder / "a_module_that_reads.py").write_text(READER)
        with self.place.listen() as listener, (self.folder / "log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(listener.fileno()), modules],
                env=ENVIRONMENT | {"PYTHONPATH": f"{self.folder}:{ROOT}"},
                pass_fds=[listener.fileno()],
                stderr=log,
            )

    def start(self, script: str, environment: Mapping[str, str] = {}) -> subprocess.Popen[str]:
        """Start a worker by the launcher."""
        path = self.folder / f"{uuid.uuid4().hex}.py"
        path.write_text(script)
        return subprocess.Popen(
            [sys.executable, "-SE", str(LAUNCHER), str(path), f"--node-id={self.name}"],
            env=ENVIRONMENT | {"PYTHONPATH": f"{self.folder}:{ROOT}"} | environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, environment: Mapping[str, str] = {}) -> tuple[int, str, str]:
        """Its exit status, and what it said."""
        with self.start(script, environment) as worker:
            out, err = worker.communicate(timeout=END_S)
            return worker.returncode, out, err

    def told(self, environment: Mapping[str, str] = {}) -> dict[str, Any]:
        """What a worker says of itself."""
        status, out, err = self.run(TELL, environment)
        assert status == 0, err
        return {**json.loads(out), "said": err}

    def stop(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        if self.lock is not None:
            os.close(self.lock)
        self.place.clear()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node, whose server is not started yet."""
    node = Node(tmp_path)
    yield node
    node.stop()


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Place]:
    """Places of the test's own."""
    return lambda key: Place(key, str(tmp_path))
