"""Ends a run: all of it, and nothing else."""

from __future__ import annotations

import time

import psutil

from app.cli.processes import end, members
from app.cli.run_file import ProcessId, Run, RunFile
from app.cli.screen import Screen

SERVICE_S = 45.0
"""How long the service may take to close streams, database and Ray in order."""
LEFTOVERS_S = 5.0
POLL_S = 0.1


def stop_run(run_file: RunFile, screen: Screen) -> int:
    """``manta serve --stop``: end the run of this state folder, if there is one; the exit status."""
    run = run_file.read()
    if run is None:
        screen.say("Manta is not running.")
        return 0
    screen.say(f"Stopping Manta at {run.url} ...")
    if run.launcher.alive:
        # it watches over the run and ends all of it, as with Ctrl-C
        _ask(run.launcher)
        _wait_for(run.launcher, SERVICE_S + LEFTOVERS_S)
    end_service(run)
    end_leftovers(run)
    run_file.remove()
    screen.good("Stopped.")
    return 0


def end_service(run: Run) -> None:
    """Ask the service to end, and wait until it has or its time is over."""
    if run.service is not None and run.service.alive:
        _ask(run.service)
        _wait_for(run.service, SERVICE_S)


def end_leftovers(run: Run) -> int:
    """End whatever still bears the run's mark; how many processes that were."""
    left = members(run.id)
    end(left, LEFTOVERS_S)
    return len(left)


def _ask(process: ProcessId) -> None:
    try:
        psutil.Process(process.pid).terminate()
    except psutil.NoSuchProcess:
        return


def _wait_for(process: ProcessId, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.alive and time.monotonic() < deadline:
        time.sleep(POLL_S)
