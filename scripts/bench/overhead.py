"""Manta beside the bare engine: what the way to it costs.

Starts both with the same model and the same engine arguments, lets them take turns under the same load, and writes
tokens/s, time to first token, gaps, processor time per token and memory to .manta/bench/overhead.md and .json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from app.services.model_files import ModelFileError
from app.settings import ROOT
from deployments.weights import WeightsError
from scripts.bench.client import Job, Result
from scripts.bench.machine import machine, versions
from scripts.bench.memory import footprints, rows
from scripts.bench.models import MODELS
from scripts.bench.processes import cpu, spent, spent_by_process
from scripts.bench.report import Report
from scripts.bench.servers import BareServer, BenchError, MantaServer, ScriptedServer, Server
from scripts.bench.summary import Kind, Measurement, summarise
from scripts.bench.workload import Workload

WARM_UP_TOKENS = 16
SETTLE_S = 2.0
CLIENT_START_S = 30.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the benchmark; 0 if no request failed."""
    options = _options()
    for signum in INTERRUPTS:
        signal.signal(signum, _interrupted)
    try:
        report = Benchmark(options).run()
    except (BenchError, WeightsError, ModelFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    path = options.output.resolve()
    report.save(path)
    print(f"\n{report.markdown()}\nWritten to {path} and {path.with_suffix('.json').name}.")
    return 1 if report.errors else 0


class Benchmark:
    """One run.

    Args:
        options: See ``_options``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._started = time.monotonic()
        self._measurements: list[Measurement] = []

    def run(self) -> Report:
        """Start both servers, measure, stop both.

        Raises:
            BenchError: A server does not start, or answers nothing.
        """
        about = machine()
        logs: Path = self._options.output.resolve().parent
        logs.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manta-bench-")))
            stack.callback(self._say, "stopped")
            self._say(f"making the model {self._options.model}")
            model = MODELS[self._options.model](folder, self._highest(), self._options.threads)
            max_tokens = self._options.max_tokens or model.max_tokens
            work = Workload(model, max_tokens, self._options.requests or model.requests, self._options.timeout)
            bare = ScriptedServer if model.spec.engine == "scripted" else BareServer
            servers: list[Server] = [
                bare(model.spec, folder, logs / "bare.log"),
                MantaServer(model.spec, folder, logs / "manta.log"),
            ]
            for server in servers:
                stack.callback(_stop, server)
                self._say(f"starting {server.name}, log in {logs}")
                server.start(self._options.start_timeout, self._say)
                self._say(f"{server.name} is ready after {server.start_s:.1f} s, on port {server.port}")
            idle = {server.name: footprints(server.processes()) for server in servers}
            self._warm_up(servers, work)
            idle_cpu = self._idle(servers)
            self._measure(servers, work)
            loaded = {server.name: footprints(server.processes()) for server in servers}
            levels = summarise(self._measurements)
            self._say("stopping the servers")
        return Report(
            setting=self._setting(model.spec.id, max_tokens),
            machine=about,
            versions=versions(),
            commands={server.name: shlex.join(["python", *server.command[1:]]) for server in servers},
            start_s={server.name: server.start_s for server in servers},
            levels=levels,
            memory={name: rows(before, loaded[name], idle_cpu[name]) for name, before in idle.items()},
            errors=[
                f"{each.server}, {each.kind} at {each.level}, round {each.round + 1}: {error}"
                for each in self._measurements
                for error in each.result.errors
            ],
        )

    def _warm_up(self, servers: Sequence[Server], work: Workload) -> None:
        self._say("warming up")
        for server in servers:
            for level in self._options.streams:
                self._client(server, work.streams(server, level, WARM_UP_TOKENS))

    def _idle(self, servers: Sequence[Server]) -> dict[str, dict[int, float]]:
        time.sleep(SETTLE_S)
        self._say("watching them idle")
        before = {server.name: cpu(server.processes()) for server in servers}
        started = time.monotonic()
        time.sleep(self._options.idle)
        after = {server.name: cpu(server.processes()) for server in servers}
        seconds = time.monotonic() - started
        return {
            name: {pid: used / seconds for pid, used in spent_by_process(before[name], now).items()}
            for name, now in after.items()
        }

    def _measure(self, servers: Sequence[Server], work: Workload) -> None:
        for number in range(self._options.rounds):
            # First one, then the other, then the other way round: what drifts with time meets both alike.
            order = list(servers) if number % 2 == 0 else list(reversed(servers))
            for level in self._options.streams:
                for server in order:
                    self._one(server, "streams", level, number, work.streams(server, level))
            for level in self._options.callers:
                for server in order:
                    self._one(server, "unary", level, number, work.unary(server, level))

    def _one(self, server: Server, kind: Kind, level: int, number: int, job: Job) -> None:
        before = cpu(server.processes())
        result = self._client(server, job)
        found = Measurement(server.name, kind, level, number, result, spent(before, cpu(server.processes())))
        self._measurements.append(found)
        unit = "tokens/s" if kind == "streams" else "requests/s"
        failed = f", {len(result.errors)} FAILED: {result.errors[0]}" if result.errors else ""
        place = f"round {number + 1}/{self._options.rounds}  {kind:7} {level:3}  {server.name:5}"
        self._say(f"{place}  {found.rate:8.1f} {unit}{failed}")
        if not found.units:
            raise BenchError(f"{server.name} gave no good answer at all: {result.errors[0]}")

    def _client(self, server: Server, job: Job) -> Result:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "scripts.bench.client"],
                input=json.dumps(asdict(job)).encode(),
                capture_output=True,
                cwd=ROOT,
                timeout=job.timeout_s + CLIENT_START_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"the client of {server.name} hangs") from None
        if done.returncode:
            raise BenchError(f"the client of {server.name} failed: {done.stderr.decode(errors='replace').strip()}")
        return Result.from_json(done.stdout)

    def _setting(self, model: str, max_tokens: int) -> dict[str, str]:
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["scripts/bench/overhead", *sys.argv[1:]]),
            "model": model,
            "rounds": str(self._options.rounds),
            "tokens per stream": str(max_tokens),
        }

    def _highest(self) -> int:
        return max([*self._options.streams, *self._options.callers])

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.0f} s] {text}", flush=True)


def _stop(server: Server) -> None:
    # Once they are being stopped, nothing may keep them from it.
    for signum in INTERRUPTS:
        signal.signal(signum, signal.SIG_IGN)
    server.stop()


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/overhead", description=__doc__)
    parser.add_argument(
        "--model",
        choices=sorted(MODELS),
        default="tiny",
        help="tiny (default): random; paced: scripted",
    )
    parser.add_argument("--threads", type=_count, help="of each engine; default: 1, or what the model's file leads to")
    parser.add_argument("--rounds", type=_count, default=5)
    parser.add_argument("--streams", type=_counts, default=[1, 8, 32], help="at once, split by commas")
    parser.add_argument("--max-tokens", type=_count, help="length of each stream; default: by model")
    parser.add_argument("--callers", type=_counts, default=[1, 32], help="of two-token answers at once; '' for none")
    parser.add_argument("--requests", type=_count, help="two-token answers a round; default: by model")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds over which idling is measured")
    parser.add_argument("--start-timeout", type=float, default=300.0, help="seconds a server may take to start")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a round of one server may take")
    parser.add_argument("--output", type=Path, default=ROOT / ".manta" / "bench" / "overhead.md")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",") if part]


if __name__ == "__main__":
    sys.exit(main())
