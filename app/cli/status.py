"""``manta serve --status``."""

from __future__ import annotations

import time

from app.cli.run_file import RunFile
from app.cli.screen import Screen, duration
from app.cli.service import Service

NOT_RUNNING = 3


def show_status(run_file: RunFile, screen: Screen) -> int:
    """Show how the run of this state folder is doing; the exit status."""
    run = run_file.read()
    if run is None:
        screen.say("Manta is not running.")
        return NOT_RUNNING
    if run.is_starting:
        screen.say(f"Manta is being started at {run.url} (process {run.launcher.pid}).")
        return 0
    if run.service is None or not run.is_serving:
        screen.say("Manta is not running: the last run was killed. The next start clears up what it left.")
        return NOT_RUNNING
    screen.say(f"Manta runs at {run.url}")
    screen.say(f"process  {run.service.pid}")
    screen.say(f"uptime   {duration(time.time() - run.started)}")
    with Service(run.url) as service:
        if not service.answers():
            screen.say("gateway  does not answer")
            return 0 if not run.ready else 1
        for model in service.models() or ():
            screen.say(f"model    {model.id}: {model.words}")
    return 0
