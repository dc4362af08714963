"""What comes of a model when more ask than it can answer, and how soon the others are told.

One Manta serves a scripted model of one replica, whose most requests a second are known from its places and its pace.
Requests come at parts and at twice of that, whether they are answered or not; nobody comes back. Goodput: the answers a
second whose first token came in time. Beside it the same model that lets everybody wait. Writes goodput, the time until
a refusal and the gateway's memory to .manta/bench/overload.md; ends with 1 if a request failed in another way.
"""

from __future__ import annotations

import argparse
import json
import math
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
from scripts.bench.client import Request, Result
from scripts.bench.machine import machine, versions
from scripts.bench.memory import footprints
from scripts.bench.options import count
from scripts.bench.outputs import place, publish
from scripts.bench.session import Session, interruptible
from scripts.bench.soak import largest_gateway
from scripts.bench.stats import Spread, percentile
from scripts.bench.tenants import SharedServer, chat, job
from scripts.bench.workload import Load

PLACES = 16
TOKENS = 48
ENGINE: dict[str, Any] = {"ttft_s": 0.05, "tokens_per_s": 100, "max_num_seqs": PLACES}
SATURATION = PLACES / (ENGINE["ttft_s"] + (TOKENS - 1) / ENGINE["tokens_per_s"])
"""Requests a second that the engine can answer."""

QUEUE_WAIT_S = 1.0
BOUND_S = 2.0
"""The first token of a good answer is there by then."""

REFUSED = "status 503"
LEVELS = (0.5, 1.0, 1.5, 2.0)
MS = 1e3
MIB = 1024**2
MODELS = {
    "refuses": {"max_queued_requests": 256, "max_queue_wait_s": QUEUE_WAIT_S},
    "lets wait": {"max_queued_requests": 100_000, "max_queue_wait_s": 1e6},
}


@dataclass(frozen=True, slots=True)
class Found:
    """What one level came to in one round. Seconds, requests a second, bytes."""

    model: str
    level: float
    goodput: float
    refused: int
    refusals: tuple[float, ...]
    rss: int
    errors: list[str]


COLUMNS = ("model", "saturation", "goodput/s", "to its peak", "refused, %", "refusal p50, ms", "p99, ms")


def main() -> int:
    """Run the benchmark; 0 if no request failed but by a refusal."""
    chosen = _options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    path = place(chosen.output)
    specs = [_spec(model, limits) for model, limits in MODELS.items()]
    found: list[Found] = []
    with Session(chosen.start_timeout) as session:
        server = SharedServer(specs, session.folder / "manta", path.with_suffix(".log"))
        session.start(server)
        for _ in range(chosen.rounds):
            for model in MODELS:
                for level in LEVELS:
                    found.append(_measure(session, server, model, level, chosen.seconds))
                    last = found[-1]
                    session.say(f"{model} at {level:g}x: {last.goodput:.1f} in time/s, {last.refused} refused")
                    session.settle()
    publish(path, _markdown(chosen, about, found))
    return 1 if any(each.errors for each in found) else 0


def _measure(session: Session, server: SharedServer, model: str, level: float, seconds: float) -> Found:
    rate = level * SATURATION
    asked = math.ceil(rate * seconds)
    # Nobody asks twice: a caller who is busy would ask late.
    turns = [[chat(_id(model), f"Caller {number}", TOKENS)] for number in range(asked)]
    result = session.drive(server, Load("rated", round(rate), job(server.port, server.headers, turns, 1 / rate)))
    gateway = largest_gateway(footprints(server.processes()))
    refused = [each for each in result.requests if _is_refused(each)]
    return Found(
        model,
        level,
        # Until the last answer's end: what a queue holds when the load ends is no gain.
        _in_time(result) / result.seconds,
        len(refused),
        tuple(each.last - each.sent for each in refused),
        gateway.rss if gateway is not None else 0,
        [each.error for each in result.requests if each.error is not None and not _is_refused(each)],
    )


def _in_time(result: Result) -> int:
    return sum(each.error is None and each.first - each.sent <= BOUND_S for each in result.requests)


def _is_refused(request: Request) -> bool:
    return request.error is not None and request.error.startswith(REFUSED)


def _id(model: str) -> str:
    return model.replace(" ", "-")


def _spec(model: str, limits: dict[str, float]) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": _id(model),
            "engine": "scripted",
            "engine_args": ENGINE,
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
            "resources": {"num_cpus": 0.1},
            "limits": limits,
        }
    )


def _markdown(chosen: argparse.Namespace, about: dict[str, str], found: Sequence[Found]) -> str:
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/overload", *sys.argv[1:]]),
        "engine": json.dumps(ENGINE),
        "saturation": f"{SATURATION:.1f} requests/s of {TOKENS} tokens",
        "in time": f"first token within {BOUND_S:g} s; refused above an expected wait of {QUEUE_WAIT_S:g} s",
        "seconds of each load": f"{chosen.seconds:g}",
        "rounds": str(chosen.rounds),
    }
    lines: list[list[str]] = []
    for model in MODELS:
        peak = max(Spread.of([each.goodput for each in _of(found, model, level)]).median for level in LEVELS)
        for level in LEVELS:
            lines.append([model, f"{level:g}x", *_cells(_of(found, model, level), peak, level, chosen.seconds)])
    errors = [error for each in found for error in each.errors]
    memory = [f"{each.rss / MIB:.0f}" for each in found]
    parts = [
        "# Overload",
        tables.pairs({**setting, **about, **versions()}),
        tables.table(list(COLUMNS), lines),
        f"The gateway's resident memory after each load, MiB: {', '.join(memory)}.",
    ]
    return "\n\n".join([*parts, *([f"{len(errors)} requests failed: {errors[0]}"] if errors else [])])


def _of(found: Sequence[Found], model: str, level: float) -> list[Found]:
    return [each for each in found if (each.model, each.level) == (model, level)]


def _cells(here: Sequence[Found], peak: float, level: float, seconds: float) -> list[str]:
    goodput = Spread.of([each.goodput for each in here])
    refusals = [each for one in here for each in one.refusals]
    asked = math.ceil(level * SATURATION * seconds) * len(here)
    times = [f"{percentile(refusals, share) * MS:.1f}" if refusals else "-" for share in (0.5, 0.99)]
    return [
        f"{goodput.median:.1f} ({goodput.low:.1f}..{goodput.high:.1f})",
        f"{goodput.median / peak:.2f}",
        f"{100 * sum(each.refused for each in here) / asked:.1f}",
        *times,
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/overload", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=count, default=3)
    add("--seconds", type=float, default=15.0, help="how long each load lasts")
    add("--start-timeout", type=float, default=300.0, help="seconds it may take to start")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "overload.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
