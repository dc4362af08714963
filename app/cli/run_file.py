"""The run that belongs to a state folder, as its ``run.json`` tells it to whoever comes next."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil

from app.cli.errors import CliError


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process beyond doubt: ids are used again, a birth does not happen twice.

    Attributes:
        create_time: Unix seconds of its start.
    """

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this id now."""
        return cls(pid, psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the service.

    Attributes:
        id: In the environment of every process of the run, as ``MANTA_RUN``.
        launcher: The command that started it.
        service: The long-running process, once there is one.
        detached: It outlives its launcher.
        ready: It was seen ready.
        started: Unix seconds.
    """

    id: str
    host: str
    port: int
    launcher: ProcessId
    service: ProcessId | None = None
    detached: bool = False
    ready: bool = False
    started: float = 0.0

    @classmethod
    def begin(cls, host: str, port: int, *, detached: bool) -> Self:
        """A new run, launched by this process."""
        launcher = ProcessId.of(os.getpid())
        return cls(secrets.token_hex(8), host, port, launcher, detached=detached, started=time.time())

    @property
    def url(self) -> str:
        """Where it answers, as a caller on this machine writes it."""
        return service_url(self.host, self.port)

    @property
    def is_serving(self) -> bool:
        """It runs as it should: its process is there, and somebody watches over it or nobody has to."""
        if self.service is None or not self.service.alive:
            return False
        return self.launcher.alive or (self.detached and self.ready)

    @property
    def is_starting(self) -> bool:
        """Its launcher is at work and has not come to the service yet."""
        return self.service is None and self.launcher.alive


@dataclass(frozen=True, slots=True)
class RunFile:
    """Where the run is written down."""

    path: Path

    @classmethod
    def below(cls, state_dir: Path) -> Self:
        """The file of this state folder."""
        return cls(state_dir / "run.json")

    def read(self) -> Run | None:
        """The last run, unless it ended in order."""
        try:
            values: dict[str, Any] = json.loads(self.path.read_text())
            service = values.pop("service")
            launcher = ProcessId(**values.pop("launcher"))
            return Run(launcher=launcher, service=ProcessId(**service) if service else None, **values)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CliError(f"{self.path} cannot be read ({error}). If nothing of Manta runs, delete it.") from None

    def write(self, run: Run) -> Run:
        """Write it down, whole or not at all."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(run), indent=1) + "\n")
        partial.replace(self.path)
        return run

    def update(self, run: Run, **changes: Any) -> Run:
        """Write it down with changes."""
        return self.write(replace(run, **changes))

    def remove(self) -> None:
        """The run has ended in order."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def claimed(self) -> Generator[None]:
        """Be the only launcher of this state folder.

        Raises:
            CliError: Another one is.
        """
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            run = self.read()
            raise CliError(already(run) if run else "Another start is under way from this state folder.") from None
        try:
            yield
        finally:
            os.close(descriptor)


def already(run: Run) -> str:
    """Says that a run is there, and what to do."""
    pid = (run.service or run.launcher).pid
    doing = "runs already at" if run.ready else "is just being started at"
    return f"Manta {doing} {run.url} (process {pid}). Stop it with --stop, or use another MANTA_STATE_DIR."


def service_url(host: str, port: int) -> str:
    """The address that a caller on this machine uses for a listening address."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
