"""What it costs to keep callers within a limit: database operations and processor time a decision, and overshoot.

Several processes, as so many gateways, share one limit that all their requests count in. Three ways take turns: ours;
one operation for each request (our own update, without leases and without remembering denials); and the package
`limits` on MongoDB, with its sliding and its moving window, if it is installed and they run on the database at hand.
Each is measured under a limit that is far above what is asked for (all are let in) and under one that is far below
(most are refused). Requests come at a steady rate, ten at a time; the database is a process of its own, whose time is
not counted; the driver's is, and that of pacing is measured without a limiter, before and after, and taken off. Writes
the table to .manta/bench/limits.md; ends with 1 if ours misses a target.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from app.settings import ROOT
from scripts.bench import tables
from scripts.bench.database import database_or
from scripts.bench.limits_caller import ONE_EACH, OURS, PACKAGE, Call, Calls, run
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish, verdict
from scripts.bench.servers import BenchError
from scripts.bench.session import interruptible
from scripts.bench.stats import Spread
from scripts.bench.summary import US

OPERATIONS = 0.1
TARGET_US = 30.0
MISSING = (
    "The package `limits` is not installed, so its rows are left out. To have them: "
    "`.venv/bin/python -m pip install limits==5.8.0`."
)


@dataclass(frozen=True, slots=True)
class Found:
    """What one way came to in one round.

    Attributes:
        operations: Commands to the database, a request.
        us: Processor microseconds a request, pacing taken off.
        over: How many were let in beyond the limit.
        wait_ms: How long a decision took, 99th percentile.
    """

    arm: str
    load: str
    requests: int
    admitted: int
    operations: float
    us: float
    over: int
    wait_ms: float


def main() -> int:
    """Run the benchmark; 0 if ours was within the targets."""
    chosen = options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    with database_or(chosen.mongodb) as (uri, _):
        able, notes = arms(uri)
        found = measure(uri, chosen, able)
    record = {"machine": about, "versions": versions(), "rounds": [asdict(each) for each in found]}
    publish(place(chosen.output), markdown(found, chosen, about, notes), record)
    return verdict(misses(found))


def arms(uri: str) -> tuple[list[str], list[str]]:
    """The ways that can be measured here, and why others cannot."""
    if find_spec("limits") is None:
        return [OURS, ONE_EACH], [MISSING]
    able, notes = [OURS, ONE_EACH], []
    for arm in PACKAGE:
        try:
            run(Call(arm, uri, f"{arm}/trial", 10, 1, 5, 1), 1)
        except BenchError as error:
            notes.append(f"Left out, as it does not run on this database: {error}.")
        else:
            able.append(arm)
    return able, notes


def measure(uri: str, chosen: argparse.Namespace, able: Sequence[str]) -> list[Found]:
    """All rounds."""
    found: list[Found] = []
    asked = chosen.rate * chosen.seconds * chosen.processes
    loads = {"all are let in": asked * 10, "most are refused": max(1, asked // 10)}
    for number in range(chosen.rounds):
        for load, limit in loads.items():
            # In turn, then the other way round: what drifts with time meets all alike.
            for arm in able if number % 2 == 0 else able[::-1]:
                subject = f"{arm}/{load}/{number}"
                call = Call(arm, uri, subject, limit, chosen.processes, chosen.rate, chosen.seconds)
                said = run(call, chosen.processes)
                found.append(_found(arm, load, limit, said))
                told = f"{found[-1].operations:.3f} operations, {found[-1].us:.1f} us, {found[-1].over} over"
                print(f"round {number + 1}  {load:17} {arm:24} {told}", flush=True)
    return found


def _found(arm: str, load: str, limit: int, said: Sequence[Calls]) -> Found:
    requests = sum(each.requests for each in said)
    admitted = sum(each.admitted for each in said)
    return Found(
        arm=arm,
        load=load,
        requests=requests,
        admitted=admitted,
        operations=sum(each.operations for each in said) / requests,
        us=sum(each.cpu_s - each.pacing_s for each in said) / requests * US,
        over=max(0, admitted - limit),
        wait_ms=max(each.wait_ms for each in said),
    )


def misses(found: Sequence[Found]) -> list[str]:
    """Where ours is not what it should be, in words."""
    missed: list[str] = []
    for load in dict.fromkeys(each.load for each in found):
        rounds = [each for each in found if each.arm == OURS and each.load == load]
        operations = Spread.of([each.operations for each in rounds]).median
        us = Spread.of([each.us for each in rounds]).median
        if operations > OPERATIONS:
            missed.append(f"{load}: {operations:.3f} operations a request, over the target of {OPERATIONS:g}")
        if us > TARGET_US:
            missed.append(f"{load}: {us:.1f} us a decision, over the target of {TARGET_US:g}")
        if any(each.over for each in rounds):
            missed.append(f"{load}: more were let in than the limit says")
    return missed


def markdown(found: Sequence[Found], chosen: argparse.Namespace, about: Mapping[str, str], notes: Sequence[str]) -> str:
    """For people."""
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/limits", *sys.argv[1:]]),
        "rounds": str(chosen.rounds),
        "load": f"{chosen.processes} processes, {chosen.rate} requests/s each for {chosen.seconds} s, one limit",
        "targets": f"{OPERATIONS:g} operations a request, {TARGET_US:g} us a decision, nothing over the limit",
    }
    head = ["load", "", "requests", "let in", "over", "operations a request", "us a decision", "p99 ms"]
    lines: list[list[str]] = []
    for load, arm in dict.fromkeys((each.load, each.arm) for each in found):
        rounds = [each for each in found if each.load == load and each.arm == arm]
        told = [
            _told([each.requests for each in rounds], 0),
            _told([each.admitted for each in rounds], 0),
            _told([each.over for each in rounds], 0),
            _told([each.operations for each in rounds], 3),
            _told([each.us for each in rounds], 1),
            _told([each.wait_ms for each in rounds], 1),
        ]
        lines.append([load, arm, *told])
    parts = [
        "# Limits",
        tables.pairs({**setting, **about, **versions()}),
        "Medians of rounds (in brackets, the lowest and the highest). Processor time is that of the processes that "
        "decide, the driver's threads included, less that of pacing alone; p99 is of the slowest process.",
        *notes,
        tables.table(head, lines),
    ]
    return "\n\n".join(parts)


def _told(values: Sequence[float], digits: int) -> str:
    return tables.spread_cell(Spread.of(values), digits)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/limits", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=count, default=3)
    add("--processes", type=count, default=4, help="that share the limit; default: 4")
    add("--rate", type=count, default=400, help="requests a second that each of them asks for; default: 400")
    add("--seconds", type=count, default=10, help="of each measurement; default: 10")
    add("--mongodb", help="connection string of a database to use; default: the embedded one, in a folder of its own")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "limits.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
