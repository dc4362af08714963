"""Fetches models' weights from the command line.

    python -m deployments.weights fetch --model configs/models/x.yaml [--json]

With ``--json`` every line is an object: ``{"model", "phase", "progress", "detail"}`` on the way, ``{"model", "path"}``
when a model is there, ``{"model", "error"}`` when it cannot be had.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from app.domain.model_spec import ModelSpec
from app.services.model_files import ModelFileError, load_models
from app.settings import Settings, SettingsError
from deployments.weights.resolve import fetch
from deployments.weights.source import WeightsError


def main() -> int:
    """Fetch what was asked for; 0 when all of it is there."""
    signal.signal(signal.SIGTERM, _leave)
    options = _arguments()
    try:
        cache = options.cache or Settings.load().weights
        specs = load_models(options.model)
    except (SettingsError, ModelFileError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    done = [_fetch_one(spec, cache, as_json=options.json) for spec in specs if spec.source]
    return 0 if all(done) else 1


def _leave(number: int, frame: FrameType | None) -> None:
    """End as after an exception, so that half-done work is cleared away."""
    sys.exit(128 + number)


def _fetch_one(spec: ModelSpec, cache: Path, *, as_json: bool) -> bool:
    last: dict[str, Any] = {}

    def say(**state: Any) -> None:
        # the same news four times a second is no news, but a line a second tells a reader that we live
        if state != last or as_json:
            last.clear()
            last.update(state)
            _write({"model": spec.id, **state}, as_json=as_json)

    try:
        path = fetch(spec.source or "", cache, lambda phase, share, text: say(phase=phase, progress=share, detail=text))
    except WeightsError as error:
        say(error=str(error))
        return False
    say(path=path)
    return True


def _write(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(state) + "\n")
    else:
        share = f" {state['progress']:.0%}" if state.get("progress") is not None else ""
        words = state.get("error") or state.get("path") or state.get("detail")
        sys.stdout.write(f"{state['model']}:{share} {words}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.weights", description="Fetch models' weights.")
    fetching = parser.add_subparsers(required=True).add_parser("fetch", help="bring weights to this machine")
    fetching.add_argument("--model", required=True, help="a model's YAML file, files split by commas, or a folder")
    fetching.add_argument("--cache", type=Path, help="folder of weights (default: weights in the state folder)")
    fetching.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(141)  # whoever listened is gone
    except KeyboardInterrupt:
        sys.exit(130)
