"""The programs that the command line starts; tests put stand-ins here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from app.settings import ROOT


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


@dataclass(frozen=True, slots=True)
class Programs:
    """Command lines, up to the arguments that are added per run, and where they start."""

    service: tuple[str, ...] = _module("deployments.local")
    weights: tuple[str, ...] = _module("deployments.weights")
    folder: Path = ROOT
