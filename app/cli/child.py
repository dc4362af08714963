"""The service's own process, as a child that outlives no order to stop."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from app.cli.errors import CliError
from app.cli.programs import Programs

LOG_LINES = 15


class Child:
    """A started service process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ended_in_order(self) -> bool:
        """Whether it ended because it was told to."""
        return self._process.poll() == 0

    def check(self) -> None:
        """Return while it runs.

        Raises:
            CliError: It ended; with the last lines of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise CliError(f"The service ended by itself (status {code}).\n{last_words(self.log)}")

    def terminate(self, seconds: float) -> None:
        """Ask it to end and wait; returns when it has, or after so many seconds."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def reap(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait()


def start_child(programs: Programs, options: Sequence[str], env: dict[str, str], state_dir: Path) -> Child:
    """Start the service; the log of the start before is kept beside the new one."""
    log = state_dir / "logs" / "serve.log"
    if log.exists():
        log.replace(log.with_name("serve.previous.log"))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*programs.service, *options],
            cwd=programs.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches the launcher alone, which stops the service in order
            start_new_session=True,
        )
    return Child(process, log)


def last_words(log: Path) -> str:
    """The error it gave up with, or else the end of its log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return f"Its log, {log}, cannot be read."
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return f"{errors[-1].removeprefix('error: ')}\nMore in {log}"
    return "\n".join(["Its last words:", *lines[-LOG_LINES:], f"More in {log}"])
