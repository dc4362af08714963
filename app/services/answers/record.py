"""One answer on its way, and the file that has all of it that was sent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from app.services.answers.keeping import Keeping


class Ends(Protocol):
    """Who keeps records that are over."""

    async def end(self, record: Record) -> None:
        """Keep it now, or later if it must be."""
        ...

    def leave(self, record: Record) -> None:
        """Keep it when there is time."""
        ...

    def forget(self, record: Record) -> None:
        """Keep nothing of it."""
        ...


class Record:
    """Every part of an answer is written here before it is sent on.

    The file outlives the process, however that ends. Where the disk takes no more, the rest is in memory.

    Args:
        path: Of the file, which is made now.
        keeping: What is to become of the answer.
        journal: Who sees to that.
        complain: Hears what the disk says.

    Attributes:
        size: How long it is, on disk and in memory.
        over: Whether nothing more is written.
    """

    def __init__(self, path: Path, keeping: Keeping, journal: Ends, complain: Callable[[OSError], None]) -> None:
        self.keeping = keeping
        self.path = path
        self.size = 0
        self._written = 0
        self.over = False
        self._journal = journal
        self._complain = complain
        self._in_memory: list[bytes] = []
        self._file = -1
        try:
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            complain(error)
        self._append(keeping.encode())

    def write(self, part: bytes) -> None:
        """Write down what is about to be sent."""
        self._append(part)

    async def end(self) -> None:
        """The answer is over: when this returns it is kept, or will be as soon as the database is back."""
        if not self.over:
            self._close()
            await self._journal.end(self)

    def leave(self) -> None:
        """Nobody waits for it any more: what came of it is kept when there is time."""
        if not self.over:
            self._close()
            self._journal.leave(self)

    def forget(self) -> None:
        """It was no answer, and nothing is kept of it."""
        if not self.over:
            self._close()
            self._journal.forget(self)

    def read(self) -> bytes:
        """The answer, as far as it was written.

        Raises:
            OSError: The file is not there any more.
        """
        written = self.path.read_bytes() if self._written else b""
        return (written + b"".join(self._in_memory)).partition(b"\n")[2]

    def delete(self) -> None:
        """It is kept elsewhere."""
        # One that cannot be deleted is kept again by whoever adopts it, to no effect.
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Have all of it on disk after all, if that takes it by now."""
        with contextlib.suppress(OSError), self.path.open("ab") as file:
            file.write(b"".join(self._in_memory))

    def _append(self, part: bytes) -> None:
        self.size += len(part)
        if self._file >= 0 and not self._in_memory:
            try:
                written = os.write(self._file, part)
                self._written += written
                part = part[written:]
            except OSError as error:
                self._complain(error)
        if part:
            self._in_memory.append(part)

    def _close(self) -> None:
        self.over = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_back(path: Path) -> tuple[Keeping, bytes] | None:
    """What a dead process's file says; None where it did not come so far as to say what it is.

    Raises:
        OSError: It cannot be read.
        msgspec.MsgspecError: It says something that nobody understands.
    """
    line, ended, answer = path.read_bytes().partition(b"\n")
    return (Keeping.decode(line), answer) if ended else None
