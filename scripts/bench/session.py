"""What every benchmark does: start servers, let a client load them, look at their processes, leave nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from app.services.model_files import ModelFileError
from app.settings import ROOT
from deployments.weights import WeightsError
from scripts.bench.client import Result
from scripts.bench.memory import Footprint, footprints, largest
from scripts.bench.processes import cpu, spent, spent_by_process
from scripts.bench.servers import BenchError, Server
from scripts.bench.summary import Measurement
from scripts.bench.workload import Load

CLIENT_START_S = 30.0
SAMPLE_S = 0.5
SETTLE_S = 2.0
WAKE_S = 0.5
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruptible(run: Callable[[], int]) -> int:
    """Run a benchmark; its status, or that of what kept it from its end."""
    for signum in INTERRUPTS:
        signal.signal(signum, _interrupted)
    try:
        return run()
    except (BenchError, WeightsError, ModelFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130


class Session:
    """Servers under measurement; a context manager, which stops them.

    Args:
        start_timeout_s: How long a server may take to start.

    Attributes:
        folder: For what is needed while it lasts.
    """

    def __init__(self, start_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._began = time.monotonic()
        self._stack = ExitStack()
        self._idling: dict[str, dict[str, float]] = {}
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="manta-bench-")))
        self._stack.callback(self.say, "stopped")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.say("stopping the servers")
        self._stack.close()

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)

    def start(self, server: Server) -> None:
        """Start a server and return when it answers.

        Raises:
            BenchError: It does not.
        """
        self._stack.callback(_stop, server)
        self.say(f"starting {server.name}, log in {server.log.parent}")
        server.start(self._start_timeout_s, self.say)
        self.say(f"{server.name} is ready after {server.start_s:.1f} s, on port {server.port}")

    def turn(self, server: Server, servers: Sequence[Server]) -> None:
        """Let one run and the others not: three clusters at rest use half a core."""
        for other in servers:
            if other is not server:
                other.pause()
        server.resume()
        time.sleep(WAKE_S)

    def measure(self, server: Server, load: Load, number: int) -> Measurement:
        """Let a client bring a load, and see what it costs beyond what ``idle`` saw.

        Args:
            number: The round, from 0.

        Raises:
            BenchError: Not one request was answered well.
        """
        before, began = cpu(server.processes()), time.monotonic()
        result = self.drive(server, load)
        used, passed = spent(before, cpu(server.processes())), time.monotonic() - began
        idling = self._idling.get(server.name, {})
        used = {name: max(0.0, seconds - idling.get(name, 0.0) * passed) for name, seconds in used.items()}
        found = Measurement(server.name, load.kind, load.level, number, result, used, load.pace)
        unit = "tokens/s" if load.kind == "streams" else "requests/s"
        failed = f", {len(result.errors)} FAILED: {result.errors[0]}" if result.errors else ""
        if not found.units:
            raise BenchError(f"{server.name} gave no good answer at all: {result.errors[0]}")
        rate = found.units / result.seconds
        self.say(f"round {number + 1}  {load.kind:7} {load.level:4}  {server.name:9}  {rate:8.1f} {unit}{failed}")
        return found

    def drive(self, server: Server, load: Load, watch: Callable[[], None] | None = None) -> Result:
        """Let a client, a process of its own, bring a load.

        Args:
            watch: Called again and again meanwhile.

        Raises:
            BenchError: The client failed; that requests did is in its result.
        """
        with ExitStack() as stack:
            asked, answered, said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            asked.write(json.dumps(asdict(load.job)).encode())
            asked.seek(0)
            client = subprocess.Popen(
                [sys.executable, "-m", "scripts.bench.client"],
                stdin=asked,
                stdout=answered,
                stderr=said,
                cwd=ROOT,
                start_new_session=True,
            )
            stack.callback(client.wait)
            stack.callback(client.kill)
            _await(client, load.job.timeout_s + CLIENT_START_S, server.name, watch)
            for output in (answered, said):
                output.seek(0)
            if client.returncode:
                raise BenchError(f"the client of {server.name} failed: {said.read().decode(errors='replace').strip()}")
            return Result.from_json(answered.read())

    def under_load(self, server: Server, load: Load) -> list[Footprint]:
        """The most that each process holds meanwhile. Looking costs processor time: such a load is not measured."""
        looks: list[list[Footprint]] = []
        self.drive(server, load, lambda: looks.append(footprints(server.processes())))
        return largest(looks)

    def settle(self) -> None:
        """Let what a load has left under way come to its end."""
        time.sleep(SETTLE_S)

    def idle(self, servers: Sequence[Server], seconds: float) -> dict[str, dict[int, float]]:
        """The share of a core that every process uses while nobody asks, by server and process id."""
        self.settle()
        self.say("watching them idle")
        before = {server.name: cpu(server.processes()) for server in servers}
        began = time.monotonic()
        time.sleep(seconds)
        after = {server.name: cpu(server.processes()) for server in servers}
        passed = time.monotonic() - began
        for name, now in after.items():
            self._idling[name] = {each: used / passed for each, used in spent(before[name], now).items()}
        return {
            name: {pid: used / passed for pid, used in spent_by_process(before[name], now).items()}
            for name, now in after.items()
        }


def _await(client: subprocess.Popen[bytes], seconds: float, name: str, watch: Callable[[], None] | None) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.wait(seconds if watch is None else SAMPLE_S)
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise BenchError(f"the client of {name} hangs") from None
        if watch is not None:
            watch()


def _stop(server: Server) -> None:
    # Once they are being stopped, nothing may keep them from it.
    for signum in INTERRUPTS:
        signal.signal(signum, signal.SIG_IGN)
    server.stop()


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
