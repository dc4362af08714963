"""The process that owns a Ray cluster; what it serves is looked at in ``tests.e2e``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.settings import ROOT


def local(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments.local", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "MANTA_STATE_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_ray_that_does_not_start_is_told_in_a_sentence(tmp_path: Path):
    ended = local(tmp_path, RAY_TMPDIR="/dev/null/ray")
    assert ended.returncode == 1
    assert "error: Ray could not be started" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_setting_is_told_in_a_sentence(tmp_path: Path):
    ended = local(tmp_path, MANTA_PROFILE="staging")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: Setting MANTA_PROFILE")
