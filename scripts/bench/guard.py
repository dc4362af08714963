"""A guard against slipping back: what Manta's own processes cost per token and per request, beside earlier commits.

Loads the scripted engine alone and the same engine behind Manta: streams at a pace, then whole answers at a rate, both
the same on a fast and on a slow machine. Only processor time is looked at, less what each process uses while idle;
where the engine alone has become more expensive, the machine is slower today, and that much is allowed for.
Ends with 1 if a figure is worse than the last one recorded on a machine like this, with 2 if there is none.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from app.settings import ROOT
from scripts.bench import tables
from scripts.bench.history import YARDSTICK, Change, Costs, Entry, append, compare, last_like, read, worse
from scripts.bench.machine import commit, machine, versions
from scripts.bench.models import paced
from scripts.bench.options import count
from scripts.bench.processes import by_part
from scripts.bench.servers import BenchError, MantaServer, ScriptedServer
from scripts.bench.session import Session, interruptible
from scripts.bench.summary import US, Measurement
from scripts.bench.workload import RATED_S, Workload

STREAMS = 128
TOKENS = 300
RATE = 200
LOAD = f"{STREAMS} streams of {TOKENS} tokens; {RATE} two-token answers/s for {RATED_S:g} s"
WARM_UP_TOKENS = 50
IDLE_S = 5.0
BUSY = 1.5
"""Load of the last minute from which on others are at work too."""

TIMEOUT_S = 120.0
OUTSIDE = "outside the engine"
MEASURED = ("gateway", "replica", "proxy", "control")


def main() -> int:
    """Measure, compare, record; see the module."""
    chosen = options()
    if chosen.list:
        print(listed(_entries(chosen.history)))
        return 0
    return interruptible(lambda: judge(measured(chosen.rounds, chosen.logs), chosen))


def judge(now: Entry, chosen: argparse.Namespace) -> int:
    """Compare these figures with the history, tell, and record them if that is wanted; the command's status."""
    before = last_like(_entries(chosen.history), now)
    changes = compare(before, now, chosen.tolerance) if before is not None else []
    print(f"\n{_table(now, changes)}\n")
    slipped = worse(changes)
    if before is not None:
        found = f"{len(slipped)} figures are more than {chosen.tolerance:.0%} worse" if slipped else "nothing is worse"
        print(f"Beside {before.commit} of {before.date}, the last recorded on a machine like this, {found}.")
    if chosen.record:
        append(chosen.history, now)
        print(f"Recorded {now.commit} in {chosen.history}.")
        return 0
    if before is None:
        print("Nothing was recorded on a machine like this: --record does it.", file=sys.stderr)
        return 2
    return 1 if slipped else 0


def measured(rounds: int, logs: Path) -> Entry:
    """Today's figures.

    Raises:
        BenchError: A server does not start, or does not answer well.
    """
    about = machine()
    if os.getloadavg()[0] > BUSY:
        print("warning: this machine is busy; figures are too high, do not record them", file=sys.stderr)
    logs.mkdir(parents=True, exist_ok=True)
    with Session(start_timeout_s=300) as session:
        model = paced(session.folder, STREAMS, None)
        work = Workload(model, TOKENS, model.requests, TIMEOUT_S)
        alone = ScriptedServer(model.spec, session.folder / "alone", logs / "guard-alone.log")
        manta = MantaServer(model.spec, session.folder / "manta", logs / "guard-manta.log")
        for server in (alone, manta):
            session.start(server)
        for server in (alone, manta):
            session.drive(server, work.streams(server, STREAMS, WARM_UP_TOKENS))
            session.drive(server, work.rated(server, RATE))
        session.idle((alone, manta), IDLE_S)
        token: list[Costs] = []
        request: list[Costs] = []
        for number in range(rounds):
            bare, ours = [_good(session.measure(each, work.streams(each, STREAMS), number)) for each in (alone, manta)]
            token.append(costs(bare, ours))
            bare, ours = [_good(session.measure(each, work.rated(each, RATE), number)) for each in (alone, manta)]
            request.append(costs(bare, ours))
    return Entry(
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=about["processor"],
        cores=about["cores"],
        versions=versions(),
        load=LOAD,
        rounds=rounds,
        token=medians(token),
        request=medians(request),
    )


def costs(alone: Measurement, manta: Measurement) -> Costs:
    """Microseconds per unit of each part of Manta in one round, of all of it less the engine, and of the engine."""
    parts = by_part(manta.cpu)
    engine = sum(alone.cpu.values()) / alone.units * US
    found = {part: parts.get(part, 0.0) / manta.units * US for part in MEASURED}
    return {OUTSIDE: sum(found.values()) - engine, **found, YARDSTICK: engine}


def medians(rounds: Sequence[Costs]) -> Costs:
    """The median of each part, to a tenth of a microsecond."""
    return {part: round(median(each[part] for each in rounds), 1) for part in rounds[0]}


def _good(found: Measurement) -> Measurement:
    if errors := found.result.errors:
        raise BenchError(f"{found.server} failed {len(errors)} requests, so that its costs say nothing: {errors[0]}")
    return found


def _table(now: Entry, changes: Sequence[Change]) -> str:
    head = ("processor time, us", "part", "before", "now", "ratio", "")
    lines: list[tuple[str, ...]] = []
    for unit, figures in (("token", now.token), ("request", now.request)):
        known = {change.part: change for change in changes if change.unit == unit}
        for part, value in figures.items():
            change = known.get(part)
            lines.append((f"per {unit}", part, *_cells(change), f"{value:.1f}", *_judged(change)))
    about = {"commit": now.commit, "processor": f"{now.processor}, {now.cores} cores", "load": now.load}
    return f"{tables.pairs({**about, 'medians of rounds': str(now.rounds)})}\n\n{tables.table(head, lines)}"


def _cells(change: Change | None) -> tuple[str]:
    return ("-",) if change is None else (f"{change.before:.1f}",)


def _judged(change: Change | None) -> tuple[str, str]:
    if change is None:
        return "", ""
    return "-" if change.ratio is None else f"{change.ratio:.2f}", "WORSE" if change.worse else ""


def listed(entries: Sequence[Entry]) -> str:
    """The history as a table."""
    shown = (OUTSIDE, *MEASURED)
    head = (
        "date",
        "commit",
        "processor",
        *[f"{part}, us per {unit}" for unit in ("token", "request") for part in shown],
    )
    lines = [
        (
            entry.date,
            entry.commit,
            f"{entry.processor}, {entry.cores} cores",
            *[
                f"{figures[part]:.1f}" if part in figures else "-"
                for figures in (entry.token, entry.request)
                for part in shown
            ],
        )
        for entry in entries
    ]
    return tables.table(head, lines)


def _entries(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    entries, problems = read(path.read_text(encoding="utf-8"))
    for problem in problems:
        print(f"warning: {path}, {problem}; left out", file=sys.stderr)
    return entries


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/guard", description=__doc__)
    add = parser.add_argument
    add("--record", action="store_true", help="add today's figures to the history")
    add("--list", action="store_true", help="show the history and end")
    add("--rounds", type=count, default=3)
    add("--tolerance", type=float, default=0.2, help="share by which a figure may grow; default: 0.2")
    add("--history", type=Path, default=ROOT / "benchmarks" / "history.jsonl")
    add("--logs", type=Path, default=ROOT / ".manta" / "bench")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
