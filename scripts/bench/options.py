"""What ``scripts/bench/overhead`` can be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.settings import ROOT
from scripts.bench.models import MODELS

ARMS = ("bare", "manta", "handle")


def options(description: str | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/overhead", description=description)
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), default="tiny", help="tiny (default): random; paced: scripted")
    add("--threads", type=count, help="of each engine; default: 1, or what the model's file leads to")
    add("--arms", type=_arms, default=list(ARMS), help="of bare, manta, handle, split by commas; default: all")
    add("--rounds", type=count, default=5, help="5 for figures to publish, 2 for a quick look")
    add("--streams", type=_counts, default=[1, 8, 32, 64], help="at once, split by commas; '' for none")
    add("--max-tokens", type=count, help="length of each stream; default: by model")
    add("--callers", type=_counts, default=[1, 32], help="of two-token answers at once; '' for none")
    add("--requests", type=count, help="two-token answers a round; default: by model")
    add("--rates", type=_counts, default=[], help="two-token answers asked for a second; default: none")
    add("--soak", type=count, default=0, help="watch the gateway's memory over so many requests; default: not")
    add("--idle", type=float, default=5.0, help="seconds over which idling is measured")
    add("--start-timeout", type=float, default=300.0, help="seconds a server may take to start")
    add("--timeout", type=float, default=600.0, help="seconds a round of one server may take")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "overhead.md")
    return parser.parse_args()


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",") if part]


def _arms(text: str) -> list[str]:
    chosen = text.split(",")
    if wrong := [arm for arm in chosen if arm not in ARMS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(ARMS)}")
    return [arm for arm in ARMS if arm in chosen]
