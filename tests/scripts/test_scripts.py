"""The shell scripts, from wherever they are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from app.settings import ROOT

SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*") if path.is_file() and not path.suffix)


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} >= {"serve", "test", "lint", "overhead"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_finds_the_project_from_anywhere(script: Path, tmp_path: Path):
    finds = f'set -- ; . "{ROOT}/scripts/lib.sh"; printf %s "$root"'
    found = subprocess.run(["sh", "-c", finds, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == str(ROOT)


@pytest.mark.parametrize(
    "script",
    [
        "serve",
        "bench/overhead",
        "bench/soak",
        "bench/guard",
        "bench/autoscaling",
        "bench/affinity",
        "bench/auth",
        "bench/fairness",
        "bench/overload",
        "bench/ledger",
        "bench/limits",
    ],
)
def test_a_script_explains_itself(script: str, tmp_path: Path):
    helped = subprocess.run(
        [ROOT / "scripts" / script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    assert "usage" in helped.stdout.lower()
