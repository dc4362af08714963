"""With ``CI=true`` a skip is a failure, and is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

def test_runs():
    pass

@pytest.mark.skipif(True, reason="no such machine")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False
"""


def outcome(folder: Path, text: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.no_skips", "-p", "no:cacheprovider", "."]
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_skip_fails_where_ci_is_true(tmp_path: Path):
    result = outcome(tmp_path, TESTS, "true")

    assert result.returncode == 1
    assert "skipped, which CI=true forbids" in result.stdout
    assert "test_it.py::test_skipped: Skipped: no such machine" in result.stdout
    assert "test_fails_as_expected" not in result.stdout


def test_a_file_skipped_as_a_whole_fails_too(tmp_path: Path):
    result = outcome(tmp_path, 'import pytest\npytest.importorskip("no_such_module")\n', "true")

    assert result.returncode == 1
    assert "test_it.py" in result.stdout


@pytest.mark.parametrize("ci", ["", "false"])
def test_a_skip_is_only_a_skip_elsewhere(tmp_path: Path, ci: str):
    assert outcome(tmp_path, TESTS, ci).returncode == 0
