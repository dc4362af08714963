"""Gateways in processes of their own: replicas, as far as the database and the secret make them.

    python -m tests.support.gateway_process <state folder> <MongoDB URI> <database> <how many there are> <limits>

runs one of them over a scripted engine until its standard input ends, which it does with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.domain.limit_table import LimitTable
from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from app.settings import ROOT
from tests.support.gateway import running_gateway, scripted

SLOW, FAST = "slow", "fast"
TOKENS_PER_S = 10.0
START_TIMEOUT_S = 120.0
ENTRIES = (
    CatalogEntry(
        scripted(SLOW, engine_args={"tokens_per_s": TOKENS_PER_S, "max_model_len": 4096}), ModelState("ready", 1)
    ),
    CatalogEntry(scripted(FAST), ModelState("ready", 1)),
)

NO_LONGER_SLOW = (CatalogEntry(scripted(SLOW), ModelState("ready", 1)),)
"""The slow model, for a gateway that goes on with what one of these was at."""


class GatewayProcesses:
    """Several gateways over one database; a context manager, which ends them.

    Args:
        limits: The policy table that they hold to, as plain values.
        first: Code that each of them runs before all else.

    Attributes:
        urls: Where each of them answers.
        key: An admin's.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        mongodb_uri: str,
        database: str,
        limits: Mapping[str, Any] | None = None,
        *,
        first: str = "",
    ) -> None:
        shared = (mongodb_uri, database, str(number), json.dumps(limits or {}))
        code = f"{first}\nfrom {__name__} import run\nrun()"
        self._commands: Sequence[Sequence[str]] = [
            (sys.executable, "-c", code, str(folder / str(each)), *shared) for each in range(number)
        ]
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self.urls: list[str] = []
        self.key = ""

    def __enter__(self) -> Self:
        try:
            for number, command in enumerate(self._commands):
                with (self._folder / f"{number}.log").open("w") as log:
                    self._processes.append(
                        subprocess.Popen(
                            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                        )
                    )
            for number in range(len(self._processes)):
                told = self._first_line(number)
                self.urls.append(told["url"])
                self.key = told["key"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def kill(self, number: int) -> None:
        """End one of them without a word."""
        self._processes[number].kill()
        self._processes[number].wait()

    def _first_line(self, number: int) -> dict[str, str]:
        process = self._processes[number]
        assert process.stdout is not None
        # Whoever says nothing in time is ended, which ends the reading too.
        watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, (self._folder / f"{number}.log").read_text()[-3000:]
        return json.loads(line)

    def _end(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


async def main(state_dir: Path, mongodb_uri: str, database: str, number: int, limits: LimitTable) -> None:
    """Be a gateway until there is nothing more to read."""
    settings = {"gateway_replicas": number, "limits_timeout_s": 5, "process_dead_s": 2}
    async with running_gateway(state_dir, mongodb_uri, database, ENTRIES, limits=limits, **settings) as gateway:
        print(json.dumps({"url": gateway.url, "key": gateway.key}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def run() -> None:
    """Be the gateway that the command line describes."""
    table = LimitTable.model_validate_json(sys.argv[5])
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), table))


if __name__ == "__main__":
    run()
