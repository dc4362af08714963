"""The shell scripts, from wherever they are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT

SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*") if path.is_file() and not path.suffix)
OTHERS = ("soak",)
"""What runs another module than the one beside it."""

BENCHMARKS = sorted(path.name for path in SCRIPTS if path.with_suffix(".py").exists() and path.name not in OTHERS)

BENCHMARK = """\
set -eu
. "$(dirname -- "$0")/../lib.sh"
bootstrap cpu
cd "$root"
exec "$venv/bin/python" -m scripts.bench.{name} "$@"
"""
EXPLAIN = """
import runpy, sys

for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    print(f"--- {name}", flush=True)
    try:
        runpy.run_module(f"scripts.bench.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        print(f"--- {end.code}", flush=True)
"""


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} >= {"serve", "test", "lint", "overhead", "soak"}
    assert len(BENCHMARKS) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_finds_the_project_from_anywhere(script: Path, tmp_path: Path):
    finds = f'set -- ; . "{ROOT}/scripts/lib.sh"; printf %s "$root"'
    found = subprocess.run(["sh", "-c", finds, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == str(ROOT)


@pytest.mark.parametrize("script", ["serve", "bench/limits", "bench/soak"])
def test_a_script_explains_itself(script: str, tmp_path: Path):
    helped = subprocess.run(
        [ROOT / "scripts" / script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    assert "usage" in helped.stdout.lower()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmarks_script_runs_its_module_and_no_more(name: str):
    script = ROOT / "scripts" / "bench" / name
    lines = script.read_text().splitlines(keepends=True)
    assert lines[0] == "#!/bin/sh\n"
    assert "".join(line for line in lines if not line.startswith("#")) == BENCHMARK.format(name=name)
    assert script.stat().st_mode & 0o111


def test_benchmarks_explain_themselves():
    """All in one process: what they import takes long."""
    command = [sys.executable, "-c", EXPLAIN, *BENCHMARKS]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    parts = said.stdout.split("--- ")[1:]
    for name, explained, status in zip(BENCHMARKS, parts[::2], parts[1::2], strict=True):
        assert explained.startswith(f"{name}\n")
        assert "usage" in explained.lower()
        assert status.strip() == "0"
