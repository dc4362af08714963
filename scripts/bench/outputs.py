"""Where a benchmark's findings go: a file, one for programs beside it, and the screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def place(path: Path) -> Path:
    """The file to write, whose folder is there by now."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def publish(path: Path, text: str, record: Mapping[str, Any] | None = None) -> None:
    """Write and show what was found.

    Args:
        text: For people.
        record: The same for programs, if they are to have it: as JSON, in a file of the same name.
    """
    path.write_text(text + "\n", encoding="utf-8")
    if record is not None:
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\n{text}\n\nWritten to {path}.")


def verdict(missed: Sequence[str]) -> int:
    """The exit status, where a benchmark has targets: each that was missed is said."""
    for line in missed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if missed else 0
