"""What the user sees: moving rows on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

PLAIN_NEWS_S = 5.0
"""Without a terminal, a row whose text or share changes gets a line at most this often."""
PLAIN_STILL_S = 30.0
"""And one that does not change this often: a sign of life."""


class Board(Protocol):
    """Rows of things that take long, each with what it is at."""

    def update(self, name: str, text: str, share: float | None = None, *, done: bool | None = None) -> None:
        """Say what ``name`` is at.

        Args:
            name: The row; made when it is new.
            text: What, in a few words.
            share: How much of it, 0 to 1, where known.
            done: True when it has ended well, False when badly, None while it goes on.
        """
        ...


class Screen:
    """Standard output for news, standard error for errors."""

    def __init__(self, console: Console | None = None, errors: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._errors = errors or Console(stderr=True, highlight=False)

    def say(self, text: str = "", style: str = "") -> None:
        """A line of news, as it is: never wrapped, so that it can be copied."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def good(self, text: str) -> None:
        """A line that one hoped for."""
        self.say(text, "bold green")

    def warn(self, text: str) -> None:
        """A line that one should read."""
        self._errors.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    def note(self, text: str) -> None:
        """A line for whoever looks on, not for a program that reads what was said."""
        self._errors.print(Text(text), soft_wrap=True)

    def fail(self, text: str) -> None:
        """The reason why it does not go on."""
        self._errors.print(Text(f"error: {text}", style="red"), soft_wrap=True)

    @contextmanager
    def board(self) -> Generator[Board]:
        """Rows, for as long as the block lasts."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield PlainBoard(self)
            return
        board = LiveBoard()
        with Live(board, console=self._console, refresh_per_second=8):
            yield board


@dataclass
class Row:
    """One thing that takes long."""

    text: str = ""
    share: float | None = None
    done: bool | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def set(self, text: str, share: float | None, done: bool | None) -> None:
        """Take the news."""
        if done is not None and self.done is None:
            self.ended = time.monotonic()
        self.text, self.share, self.done = text, share, done

    def elapsed(self) -> str:
        """``7 s``, ``2:05 min``."""
        return duration((self.ended or time.monotonic()) - self.started)


@dataclass
class Told:
    """The last line about a row, and when it was written."""

    line: str
    at: float
    done: bool | None


class PlainBoard:
    """Rows as lines: beginning, end, and now and then one in between."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._rows: dict[str, Row] = {}
        self._told: dict[str, Told] = {}

    def update(self, name: str, text: str, share: float | None = None, *, done: bool | None = None) -> None:
        """See ``Board``."""
        row = self._rows.setdefault(name, Row())
        row.set(text, share, done)
        percent = f" {share:.0%}" if share is not None and done is None else ""
        line = f"{name}:{percent} {text}"
        if self._is_due(name, line, done):
            self._told[name] = Told(line, time.monotonic(), done)
            self._screen.say(f"{line} ({row.elapsed()})")

    def _is_due(self, name: str, line: str, done: bool | None) -> bool:
        told = self._told.get(name)
        if told is None or done != told.done:
            return True
        if done is not None:
            return False
        wait = PLAIN_STILL_S if line == told.line else PLAIN_NEWS_S
        return time.monotonic() - told.at >= wait


class LiveBoard:
    """Rows that move in place; drawn by rich, several times a second."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._spinner = Spinner("dots")

    def update(self, name: str, text: str, share: float | None = None, *, done: bool | None = None) -> None:
        """See ``Board``."""
        # replaced whole, because rich draws in a thread of its own
        rows = dict(self._rows)
        rows.setdefault(name, Row()).set(text, share, done)
        self._rows = rows

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(width=20)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(overflow="ellipsis", no_wrap=True)
        for name, row in self._rows.items():
            table.add_row(self._mark(row), name, self._bar(row), row.elapsed(), row.text)
        return table

    def _mark(self, row: Row) -> RenderableType:
        if row.done is None:
            return self._spinner
        return Text("✓", "green") if row.done else Text("✗", "red")

    def _bar(self, row: Row) -> RenderableType:
        if row.done is not None or row.share is None:
            return ""
        return ProgressBar(total=1.0, completed=row.share, width=20)


def table(rows: Sequence[Sequence[str]], words: int | None = None) -> Iterator[str]:
    """Rows as lines, their columns below each other.

    Args:
        words: So many columns, from the left, are words; those behind them are numbers. None: all are words.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if words is None or index < words else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def when(at: int | None) -> str:
    """Unix seconds as a day and a time here, or ``never``."""
    return "never" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """A span of time in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
