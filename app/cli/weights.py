"""Fetches all models' weights, in a child process, and shows how far it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any

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
    problems: list[str] = []
    with _child(command, programs, run_id) as process, screen.board() as board:
        for state in _states(process.stdout):
            _show(board, state)
            if "error" in state:
                problems.append(f"{state['model']}: {state['error']}")
        code = process.wait()
    if problems:
        raise CliError("\n".join(problems))
    if code != 0:
        raise CliError(f"Fetching weights failed (status {code}).")


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
def _child(command: list[str], programs: Programs, run_id: str) -> Generator[subprocess.Popen[str]]:
    """The fetching process; whatever ends the block ends it too."""
    process = subprocess.Popen(
        command,
        cwd=programs.folder,
        env=marked(dict(os.environ), run_id),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
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
