"""What is shown where there is no terminal, and how time is written."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.cli.screen import Screen, duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (125, "2:05 min"), (3600, "1:00:00 h"), (3725, "1:02:05 h")]
)
def test_durations_in_words(seconds: float, words: str):
    assert duration(seconds) == words


def test_without_a_terminal_a_row_shows_its_beginning_and_its_end():
    output = io.StringIO()
    with Screen(Console(file=output)).board() as board:
        for share in (0.1, 0.2, 0.3):
            board.update("tiny", "loading", share)
        board.update("tiny", "ready", done=True)
        board.update("tiny", "ready", done=True)

    assert output.getvalue() == "tiny: 10% loading (0 s)\ntiny: ready (0 s)\n"


def test_long_lines_are_not_wrapped_so_that_they_can_be_pasted():
    output = io.StringIO()
    line = "curl " + "x" * 300 + " [not a style]"

    Screen(Console(file=output, width=40)).say(line)

    assert output.getvalue() == line + "\n"
