"""Fetches all models' weights, in a child process, and shows how far it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from app.cli.child import last_words
from app.cli.errors import CliError
from app.cli.processes import marked
from app.cli.programs import Programs
from app.cli.screen import Board, Screen
from app.settings import Settings

STOP_S = 10.0


def fetch_weights(settings: Settings, models: str, programs: Programs, run_id: str, screen: Screen) -> None:
    """Bring every model's weights to this machine; takes no time when they are here.

    Raises:
        CliError: Some cannot be had; says which and why.
    """
    command = [*programs.weights, "fetch", "--model", models, "--cache", str(settings.weights), "--json"]
    log = settings.state_dir / "logs" / "weights.log"
    problems: list[str] = []
    with _child(command, programs.folder, run_id, log) as process, screen.board() as board:
        for state in _states(process.stdout):
            _show(board, state)
            if "error" in state:
                problems.append(f"{state['model']}: {state['error']}")
        code = process.wait()
    if problems:
        raise CliError("\n".join(problems))
    if code != 0:
        raise CliError(f"Fetching weights failed (status {code}): {last_words(log)}")


def _show(board: Board, state: dict[str, Any]) -> None:
    name = f"{state['model']} weights"
    if "path" in state:
        board.update(name, "in place", done=True)
    elif "error" in state:
        board.update(name, "failed", done=False)
    else:
        board.update(name, state.get("detail") or state.get("phase") or "", state.get("progress"))


def _states(lines: IO[str] | None) -> Iterator[dict[str, Any]]:
    for line in lines or ():
        if line.startswith("{"):
            yield json.loads(line)


@contextmanager
def _child(command: list[str], folder: Path, run_id: str, log: Path) -> Generator[subprocess.Popen[str]]:
    """The fetching process; whatever ends the block ends it too."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=marked(dict(os.environ), run_id),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C reaches us, and we pass it on
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
