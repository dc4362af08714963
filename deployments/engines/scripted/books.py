"""A load test's own books: what an engine gave out, written down where the death of its process does not reach.

One file a process, added to with one ``write`` a line, in the order in which things happened:

    <call> begins <request id>
    <call> gives <tokens>        so many of its answer are about to leave, counted from its beginning
    <call> gave <tokens>         they have left the process

Calls are numbered by each process. Where one is killed between the last two, nobody can say which of both is true.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

SUFFIX = ".books"


class Page(Protocol):
    """One call's part of the books."""

    def gives(self, tokens: int) -> None:
        """So many tokens, counted from the answer's beginning, are handed over in this turn of the event loop."""
        ...

    def ends(self, tokens: int) -> None:
        """It is over, with so many."""
        ...


class Blank:
    """A page that nothing is written on."""

    def gives(self, tokens: int) -> None:
        """Nothing to do."""

    def ends(self, tokens: int) -> None:
        """Nothing to do."""


class Books:
    """One process's.

    Args:
        folder: Where they are kept; None for nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: int | None = None
        self._calls = count(1)

    def page(self, request_id: str) -> Page:
        """A new call's.

        Raises:
            OSError: Nothing can be written there.
        """
        if self._folder is None:
            return _BLANK
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
            # The last call may end later than the engine.
            weakref.finalize(self, os.close, self._file)
        return _Page(self, next(self._calls), request_id)

    def write(self, line: str) -> None:
        """Add a line; there has to be a page."""
        assert self._file is not None
        os.write(self._file, f"{line}\n".encode())


class _Page:
    __slots__ = ("_books", "_call", "_tokens")

    def __init__(self, books: Books, call: int, request_id: str) -> None:
        self._books = books
        self._call = call
        self._tokens = 0
        books.write(f"{call} begins {request_id}")

    def gives(self, tokens: int) -> None:
        self._tokens = tokens
        self._books.write(f"{self._call} gives {tokens}")
        # What is handed over to a connection leaves at the end of the loop's turn, which is asked for by the first to
        # do so: after that, in two turns for certain.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._books.write, f"{self._call} gave {tokens}")

    def ends(self, tokens: int) -> None:
        if tokens != self._tokens:
            self.gives(tokens)


_BLANK = Blank()


@dataclass(slots=True)
class Call:
    """What the books say of a call.

    Attributes:
        left: Tokens that left the process for certain.
        leaving: Tokens that may have left; more than ``left`` only if it was killed in that moment.
    """

    request_id: str
    left: int = 0
    leaving: int = 0


def read(folder: Path) -> Iterator[Call]:
    """All calls in the books of a folder."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        calls: dict[str, Call] = {}
        for line in path.read_text().splitlines():
            number, what, value = line.split(" ", 2)
            match what:
                case "begins":
                    calls[number] = Call(value)
                case "gives":
                    calls[number].leaving = int(value)
                case _:
                    calls[number].left = int(value)
        yield from calls.values()
