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
"""How long a sample may take: a small model, asked for a story without a bound, may tell a long one."""
CURL_TIMED_OUT = 28


@dataclass(frozen=True)
class Answer:
    """What curl got.

    Attributes:
        status: The HTTP status.
        headers: The header lines, names in lower case.
        body: The body.
        whole: False if it was still coming after ``LONGEST_S``.
    """

    status: int
    headers: list[tuple[str, str]]
    body: str
    whole: bool

    def header(self, name: str) -> str | None:
        """The value of a header, if it is there."""
        return next((value for known, value in self.headers if known == name), None)


def bash(command: str, folder: Path) -> Answer:
    """Run a curl command line as it stands; how to report comes from a ``.curlrc``, not from its arguments."""
    head = folder / "head"
    (folder / ".curlrc").write_text(f'silent\nshow-error\ndump-header = "{head}"\nmax-time = {LONGEST_S}\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=os.environ | {"CURL_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S + 30,
        check=False,
    )
    assert done.returncode in (0, CURL_TIMED_OUT), f"{command}\n{done.stderr}"
    status, *headers = [line for line in head.read_text().splitlines() if line]
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in headers)]
    return Answer(int(status.split()[1]), pairs, done.stdout, whole=done.returncode == 0)


def python_028(text: str) -> str:
    """Run a Python program with ``openai==0.28.1``; what it printed."""
    assert PYTHON_028.is_dir(), (
        f"openai==0.28.1 is not installed; run scripts/test, or: pip install --target {PYTHON_028} openai==0.28.1"
    )
    environment = os.environ | {"PYTHONPATH": str(PYTHON_028)}
    return _output([sys.executable, "-c", text], environment, PYTHON_028)


def node(text: str, *, arguments: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> str:
    """Run a JavaScript module with the ``openai`` package; what it printed."""
    assert shutil.which("node"), "Node.js is not installed"
    assert NODE_MODULES.is_dir(), f"the openai package is not installed; run scripts/test, or: npm ci in {CLIENTS}"
    command = ["node", "--input-type=module", "--eval", text, "--", *arguments]
    return _output(command, os.environ | (environment or {}), CLIENTS)


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
