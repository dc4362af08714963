"""A stand-in for ``deployments.weights``; ``FAKE_WEIGHTS`` says how it behaves: ``fails``, ``hangs``."""

from __future__ import annotations

import json
import os
import time


def say(**state: object) -> None:
    print(json.dumps({"model": "tiny", **state}), flush=True)


say(phase="fetching", progress=0.5, detail="downloading tiny: 1 MB of 2 MB")
match os.environ.get("FAKE_WEIGHTS"):
    case "fails":
        say(error="Cannot reach the package index.")
        raise SystemExit(1)
    case "hangs":
        time.sleep(600)
    case _:
        say(path="/nowhere")
