"""``manta serve``: from checks to a running service, and to its end.

claim the state folder -> clear up after a killed run -> check port and disk -> fetch weights
-> start the service -> wait for gateway and models -> say where it is -> watch over it -> stop all of it
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from app.cli.announce import announce, chat_model
from app.cli.checks import check_port, prepare_state_dir
from app.cli.child import Child, start_child
from app.cli.errors import CliError
from app.cli.processes import marked
from app.cli.programs import Programs
from app.cli.run_file import ProcessId, Run, RunFile, already
from app.cli.screen import Screen, duration
from app.cli.stop import SERVICE_S, end_leftovers, end_service
from app.cli.wait import wait_until_ready
from app.cli.weights import fetch_weights
from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models, model_paths
from app.settings import Settings

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and how.

    Attributes:
        timeout_s: Seconds from start to ready after which it is given up.
    """

    settings: Settings
    host: str
    port: int
    detach: bool
    dashboard: bool
    timeout_s: float


def serve(plan: Plan, programs: Programs, screen: Screen) -> int:
    """Run the service, until it is stopped or (detached) until it is ready; the exit status.

    Raises:
        CliError: It cannot be started; nothing is left running then.
    """
    specs = load_models(plan.settings.models)
    prepare_state_dir(plan.settings.state_dir)
    run_file = RunFile.below(plan.settings.state_dir)
    with run_file.claimed(), _signals_interrupt():
        _clear_up(run_file, screen)
        check_port(plan.host, plan.port)
        run = run_file.write(Run.begin(plan.host, plan.port, detached=plan.detach))
        return _Launch(plan, programs, screen, run_file, run, specs).go()


def _clear_up(run_file: RunFile, screen: Screen) -> None:
    """End what a killed run of this state folder left; refuse when one is alive."""
    run = run_file.read()
    if run is None:
        return
    if run.is_serving or run.is_starting:
        raise CliError(already(run))
    screen.say("The last run was killed; clearing up what it left ...")
    end_service(run)
    ended = end_leftovers(run)
    run_file.remove()
    screen.say(f"Cleared up: {ended} processes ended." if ended else "Cleared up: nothing was left.")


@contextmanager
def _signals_interrupt() -> Generator[None]:
    """Let SIGTERM and a closed terminal do what Ctrl-C does (also where a shell made us deaf to it)."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@dataclass
class _Launch:
    """One run, as its launcher sees it."""

    plan: Plan
    programs: Programs
    screen: Screen
    run_file: RunFile
    run: Run
    specs: Sequence[ModelSpec]
    child: Child | None = None

    def go(self) -> int:
        """All of it; the exit status."""
        keep = False
        try:
            status = self._start()
            keep = self.plan.detach
            return status if keep else self._watch()
        except KeyboardInterrupt:
            # Others can read that it is ready a moment before this process knows.
            ready = (self.run_file.read() or self.run).ready
            self.screen.say("" if ready else "Interrupted.")
            return 0 if ready else 130
        finally:
            if not keep:
                self._stop()

    def _start(self) -> int:
        began = time.monotonic()
        settings = self.plan.settings
        models = ",".join(str(path.resolve()) for path in model_paths(settings.models))
        fetch_weights(settings, models, self.programs, self.run.id, self.screen)
        self.child = start_child(self.programs, self._options(), self._environment(models), settings.state_dir)
        self.run = self.run_file.update(self.run, service=ProcessId.of(self.child.pid))
        deadline = began + self.plan.timeout_s
        failed = wait_until_ready(self.run.url, deadline, self.screen, self.child.check)
        self.run = self.run_file.update(self.run, ready=True)
        for model in failed:
            self.screen.warn(f"{model.id} {model.words}")
        show = chat_model(self.specs, {model.id for model in failed})
        announce(self.run.url, settings.state_dir, show, duration(time.monotonic() - began), self.screen)
        if self.plan.detach:
            self.screen.say(f"It runs on as process {self.child.pid}; log: {self.child.log}. Stop it with --stop.")
        return 1 if failed else 0

    def _options(self) -> list[str]:
        dashboard = ["--dashboard"] if self.plan.dashboard else []
        return ["--host", self.plan.host, "--port", str(self.plan.port), *dashboard]

    def _environment(self, models: str) -> dict[str, str]:
        state_dir = str(self.plan.settings.state_dir.resolve())
        return marked({**os.environ, "MANTA_MODELS": models, "MANTA_STATE_DIR": state_dir}, self.run.id)

    def _watch(self) -> int:
        """Stay until the service ends: by itself, which is an error, or because ``--stop`` asked it to."""
        self.screen.say("Ctrl-C stops it.")
        while self.child is not None and self.child.runs:
            time.sleep(POLL_S)
        if self.child is not None and not self.child.ended_in_order():
            self.child.check()
        return 0

    def _stop(self) -> None:
        """Stop all of the run; a second Ctrl-C makes it quick."""
        try:
            if self.child is not None and self.child.runs:
                self.screen.say("Stopping gateway, models, Ray and database (Ctrl-C again: at once) ...")
                self.child.terminate(SERVICE_S)
        except KeyboardInterrupt:
            self.screen.say("At once, then.")
        with _deaf():
            end_leftovers(self.run)
            self.run_file.remove()
            if self.child is not None:
                self.child.reap()
                self.screen.say("Stopped: nothing of this run is left.")


@contextmanager
def _deaf() -> Generator[None]:
    """Finish the block, whatever the user presses."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
