"""A tenant beside another one's flood, and beside it where all are one tenant: first come, first served.

One Manta serves a scripted model of one replica. Tenant B asks now and then, as many times a second as is far below its
half: alone; while tenant A has several times more requests under way than the replica has places for; and while A has
them under B's own name, so that nothing tells the two apart and whoever came first is served first. Writes B's time to
the first token and what was served in all to .manta/bench/fairness.md; ends with 1 if a request failed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.domain.model_spec import ModelSpec
from app.settings import ROOT
from scripts.bench import tables
from scripts.bench.client import Job, Result
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish
from scripts.bench.session import Session, interruptible
from scripts.bench.stats import Spread, percentile, ratio
from scripts.bench.tenants import SharedServer, at_once, chat, job

PLACES = 96
ENGINE: dict[str, Any] = {"ttft_s": 0.3, "tokens_per_s": 20, "max_num_seqs": PLACES}
LENGTHS = tuple(range(16, 49))
"""Tokens of answers: not all alike, so that they do not end together."""

FLOOD = 4 * PLACES
FLOOD_REQUESTS = 5
"""By each of the flood's callers."""

RATE = 8
CALLERS = 64
REQUESTS = 192
"""Of B, so many a second, over so many callers."""

WARM_S = 6.0
"""When a flood begins, nothing ends for as long as answers take: only what B asks afterwards is looked at."""

MS = 1e3
MODEL = "shared"
ARMS = ("alone", "beside a flood", "first come, first served")


@dataclass(frozen=True, slots=True)
class Found:
    """What one arm came to in one round. Times of B's first tokens in milliseconds; the rate of all tenants."""

    arm: str
    p50: float
    p99: float
    tokens_per_s: float
    errors: list[str]

    @classmethod
    def of(cls, arm: str, results: dict[str, Result]) -> Found:
        """Of what the clients saw."""
        asked = sorted(results["b"].requests, key=lambda each: each.sent)
        waits = [each.first - each.sent for each in asked if each.error is None and each.sent - asked[0].sent > WARM_S]
        everybody = [each for result in results.values() for each in result.requests]
        seconds = max(each.last for each in everybody) - min(each.sent for each in everybody)
        errors = [error for result in results.values() for error in result.errors]
        tokens = sum(each.tokens for each in everybody)
        return cls(arm, percentile(waits, 0.5) * MS, percentile(waits, 0.99) * MS, tokens / seconds, errors)


def main() -> int:
    """Run the benchmark; 0 if no request failed."""
    chosen = _options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    path = place(chosen.output)
    with Session(chosen.start_timeout) as session:
        server = SharedServer([_spec()], session.folder / "manta", path.with_suffix(".log"))
        session.start(server)
        keys = {name: server.key_for(name) for name in ("a", "b")}
        found: list[Found] = []
        for number in range(chosen.rounds):
            for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
                found.append(Found.of(arm, at_once(session, server, _jobs(arm, server.port, keys))))
                last = found[-1]
                session.say(f"{arm}: B's TTFT p99 {last.p99:.0f} ms, {last.tokens_per_s:.0f} tokens/s in all")
                session.settle()
    publish(path, _markdown(chosen, about, found))
    return 1 if any(each.errors for each in found) else 0


def _jobs(arm: str, port: int, keys: dict[str, dict[str, str]]) -> dict[str, Job]:
    lengths = itertools.cycle(LENGTHS)
    turns = [
        [chat(MODEL, f"B {caller}", next(lengths)) for _ in range(REQUESTS // CALLERS)] for caller in range(CALLERS)
    ]
    jobs = {"b": job(port, keys["b"], turns, 1 / RATE)}
    if arm != "alone":
        flood = [[chat(MODEL, f"A {caller}", next(lengths)) for _ in range(FLOOD_REQUESTS)] for caller in range(FLOOD)]
        jobs["a"] = job(port, keys["a" if arm == "beside a flood" else "b"], flood)
    return jobs


def _spec() -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": MODEL,
            "engine": "scripted",
            "engine_args": ENGINE,
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
            "resources": {"num_cpus": 0.1},
            "limits": {"max_queued_requests": 2 * FLOOD, "max_queue_wait_s": 600},
        }
    )


def _markdown(chosen: argparse.Namespace, about: dict[str, str], found: Sequence[Found]) -> str:
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/fairness", *sys.argv[1:]]),
        "engine": json.dumps(ENGINE),
        "A": f"{FLOOD} callers, each asks again as soon as it is answered",
        "B": f"{RATE} requests a second",
        "rounds": str(chosen.rounds),
    }
    by = {arm: [each for each in found if each.arm == arm] for arm in ARMS}
    lines = [
        [
            arm,
            _cell([each.p50 for each in here]),
            _cell([each.p99 for each in here]),
            _cell([each.p99 for each in here], [each.p99 for each in by["alone"]]),
            _cell([each.tokens_per_s for each in here]),
        ]
        for arm, here in by.items()
    ]
    flood, together = by["beside a flood"], by["first come, first served"]
    rates = ratio([each.tokens_per_s for each in flood], [each.tokens_per_s for each in together])
    errors = [error for each in found for error in each.errors]
    parts = [
        "# A tenant beside a flood",
        tables.pairs({**setting, **about, **versions()}),
        tables.table(["B", "TTFT p50, ms", "TTFT p99, ms", "p99 to alone", "tokens/s of all"], lines),
        f"Tokens/s of all to first come, first served: {rates.median:.3f} ({rates.low:.3f}..{rates.high:.3f}).",
    ]
    return "\n\n".join([*parts, *([f"{len(errors)} requests failed: {errors[0]}"] if errors else [])])


def _cell(values: Sequence[float], to: Sequence[float] | None = None) -> str:
    spread, digits = (Spread.of(values), 0) if to is None else (ratio(values, to), 2)
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/fairness", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=count, default=3)
    add("--start-timeout", type=float, default=300.0, help="seconds it may take to start")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "fairness.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
