"""``manta`` over the stand-ins beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from app.cli.main import build_cli
from app.cli.programs import Programs

HERE = Path(__file__).parent

if __name__ == "__main__":
    build_cli(
        Programs(
            service=(sys.executable, str(HERE / "fake_service.py")),
            weights=(sys.executable, str(HERE / "fake_weights.py")),
        )
    )()
