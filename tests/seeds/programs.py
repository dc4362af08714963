"""Runs samples with the programs that they were written for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
PYTHON_028 = CLIENTS / "python-0.28"
NODE_MODULES = CLIENTS / "node_modules"
LONGEST_S = 240
"""How long a sample may take."""
STORY_S = 12
"""How long a stream is listened to: a small model, asked for a story without a bound, may tell a very long one."""
CURL_TIMED_OUT = 28


@dataclass(frozen=True)
class Answer:
    """What curl got.

    Attributes:
        status: The HTTP status.
        headers: The header lines, names in lower case.
        body: The body.
        whole: False if it was still coming when curl stopped listening.
    """

    status: int
    headers: list[tuple[str, str]]
    body: str
    whole: bool

    def header(self, name: str) -> str | None:
        """The value of a header, if it is there."""
        return next((value for known, value in self.headers if known == name), None)


def bash(command: str, folder: Path, *, seconds: int = LONGEST_S) -> Answer:
    """Run a curl command line as it stands; how to report, and when to stop, comes from a ``.curlrc``."""
    head = folder / "head"
    (folder / ".curlrc").write_text(f'silent\nshow-error\ndump-header = "{head}"\nmax-time = {seconds}\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=os.environ | {"CURL_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    assert done.returncode in (0, CURL_TIMED_OUT), f"{command}\n{done.stderr}"
    # "100 Continue" has a head of its own, before the real one.
    status, *headers = head.read_text().strip().split("\n\n")[-1].splitlines()
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in headers)]
    return Answer(int(status.split()[1]), pairs, done.stdout, whole=done.returncode == 0)


def python_028(text: str) -> str:
    """Run a Python program with ``openai==0.28.1``; what it printed."""
    assert PYTHON_028.is_dir(), (
        f"openai==0.28.1 is not installed; run scripts/test, or: pip install --target {PYTHON_028} openai==0.28.1"
    )
    environment = os.environ | {"PYTHONPATH": str(PYTHON_028)}
    return _output([sys.executable, "-c", text], environment, CLIENTS)


def node(text: str) -> str:
    """Run a JavaScript module with the ``openai`` package; what it printed."""
    return _node(["--input-type=module", "--eval", text], {})


def node_file(name: str, *arguments: str, environment: dict[str, str]) -> str:
    """Run a program of ``tests/clients``; what it printed."""
    return _node([name, *arguments], environment)


def _node(arguments: list[str], environment: dict[str, str]) -> str:
    assert shutil.which("node"), "Node.js is not installed"
    assert NODE_MODULES.is_dir(), f"the openai package is not installed; run scripts/test, or: npm ci in {CLIENTS}"
    return _output(["node", *arguments], os.environ | environment, CLIENTS)


def _output(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} ended with status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
