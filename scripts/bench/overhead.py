"""Manta, by its own link and by Serve's handle, beside the bare engine: what the way to an engine costs.

Starts all with the same model and the same engine arguments, lets them take turns under the same load, and writes
tokens/s, time to first token, gaps, processor time and memory to .manta/bench/overhead.md and .json.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from scripts.bench.machine import machine, versions
from scripts.bench.memory import Row, footprints, rows
from scripts.bench.models import MODELS, BenchModel
from scripts.bench.options import options
from scripts.bench.report import Report
from scripts.bench.servers import BareServer, HandleServer, MantaServer, ScriptedServer, Server
from scripts.bench.session import Session, interruptible
from scripts.bench.soak import Look, soak
from scripts.bench.summary import Measurement, summarise
from scripts.bench.workload import Load, Workload

WARM_UP_TOKENS = 16


def main() -> int:
    """Run the benchmark; 0 if no request failed."""
    chosen = options(__doc__)
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    report = Benchmark(chosen).run()
    path: Path = chosen.output.resolve()
    report.save(path)
    print(f"\n{report.markdown()}\nWritten to {path} and {path.with_suffix('.json').name}.")
    return 1 if report.errors else 0


class Benchmark:
    """One run.

    Args:
        chosen: See ``scripts.bench.options``.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._measurements: list[Measurement] = []
        self._errors: list[str] = []

    def run(self) -> Report:
        """Start the servers, measure, stop them.

        Raises:
            BenchError: A server does not start, or answers nothing.
        """
        about = machine()
        with Session(self._chosen.start_timeout) as session:
            session.say(f"making the model {self._chosen.model}")
            model = MODELS[self._chosen.model](session.folder, self._highest(), self._chosen.threads)
            max_tokens = self._chosen.max_tokens or model.max_tokens
            work = Workload(model, max_tokens, self._chosen.requests or model.requests, self._chosen.timeout)
            servers = self._servers(session, model)
            for server in servers:
                session.start(server)
            memory = self._measure(session, servers, work)
            soaked = self._soak(session, servers, work)
        return Report(
            setting=self._setting(model.spec.id, max_tokens),
            machine=about,
            versions=versions(),
            commands={server.name: shlex.join(["python", *server.command[1:]]) for server in servers},
            start_s={server.name: server.start_s for server in servers},
            levels=summarise(self._measurements),
            memory=memory,
            errors=self._errors,
            soak=soaked,
        )

    def _servers(self, session: Session, model: BenchModel) -> list[Server]:
        bare = ScriptedServer if model.spec.engine == "scripted" else BareServer
        kinds: dict[str, type[Server]] = {"bare": bare, "manta": MantaServer, "handle": HandleServer}
        logs = self._chosen.output.resolve().parent
        logs.mkdir(parents=True, exist_ok=True)
        return [kinds[arm](model.spec, session.folder / arm, logs / f"{arm}.log") for arm in self._chosen.arms]

    def _measure(self, session: Session, servers: Sequence[Server], work: Workload) -> dict[str, list[Row]]:
        """All rounds; what the processes held before, in and after them."""
        fresh = {server.name: footprints(server.processes()) for server in servers}
        session.say("warming up")
        for server in servers:
            for level in self._chosen.streams:
                session.drive(server, work.streams(server, level, WARM_UP_TOKENS))
        idle = session.idle(servers, self._chosen.idle)
        for number in range(self._chosen.rounds):
            # In turn, then the other way round: what drifts with time meets all alike.
            self._round(session, servers if number % 2 == 0 else servers[::-1], work, number)
        for server in servers:
            server.resume()
        session.settle()
        session.say("looking at their memory under load")
        loaded = {
            server.name: session.under_load(server, work.streams(server, max(self._chosen.streams)))
            for server in servers
            if self._chosen.streams
        }
        session.settle()
        return {
            server.name: rows(
                fresh[server.name], loaded.get(server.name, []), footprints(server.processes()), idle[server.name]
            )
            for server in servers
        }

    def _round(self, session: Session, order: Sequence[Server], work: Workload, number: int) -> None:
        kinds: list[tuple[Callable[[Server, int], Load], list[int]]] = [
            (work.streams, self._chosen.streams),
            (work.unary, self._chosen.callers),
            (work.rated, self._chosen.rates),
        ]
        for load, levels in kinds:
            for level, server in product(levels, order):
                session.turn(server, order)
                found = session.measure(server, load(server, level), number)
                self._measurements.append(found)
                place = f"{server.name}, {found.kind} at {level}, round {number + 1}"
                self._errors += [f"{place}: {error}" for error in found.result.errors]

    def _soak(self, session: Session, servers: Sequence[Server], work: Workload) -> dict[str, list[Look]]:
        found: dict[str, list[Look]] = {}
        for server in servers if self._chosen.soak else ():
            if isinstance(server, MantaServer):
                found[server.name], errors = soak(session, server, work, self._chosen.soak)
                self._errors += [f"{server.name}, soaking: {error}" for error in errors]
        return found

    def _setting(self, model: str, max_tokens: int) -> dict[str, str]:
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["scripts/bench/overhead", *sys.argv[1:]]),
            "model": model,
            "rounds": str(self._chosen.rounds),
            "tokens per stream": str(max_tokens),
        }

    def _highest(self) -> int:
        return max([1, *self._chosen.streams, *self._chosen.callers])


if __name__ == "__main__":
    sys.exit(main())
