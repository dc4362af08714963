"""A living replica's slate."""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path
from typing import Final, Self

from app.domain.usage import NOTHING, Usage
from app.services.usage.folder import SpoolFolder
from deployments.slate.file import ACCOUNT, CACHED, INPUT, LINE, MAGIC, OUTPUT, REASONING, ROOM, STATE, WORD, state_of

logger = logging.getLogger("manta")

NAME: Final = "calls.slate"
MOST_LINES: Final = 16_384


class Line:
    """A call's: its marks, and at its end what it took.

    Attributes:
        account: Its ``UsageDraft``, encoded.
        usage: What it took; nothing before its end.
        ended_at_ms: In epoch milliseconds; 0 before its end.
    """

    __slots__ = ("_at", "_slate", "_words", "account", "ended_at_ms", "usage")

    def __init__(self, account: bytes, slate: Slate | None = None, at: int = 0) -> None:
        self.account = account
        self.usage = NOTHING
        self.ended_at_ms = 0
        self._slate = slate
        self._words = _NOWHERE if slate is None else slate.words
        self._at = at

    def begins(self, usage: Usage) -> None:
        """The answer begins: so much was read for it."""
        words, at = self._words, self._at
        words[at + INPUT] = usage.input_tokens
        words[at + CACHED] = usage.cached_tokens

    def gave(self, tokens: int) -> None:
        """So many tokens, counted from the answer's beginning, leave."""
        self._words[self._at + OUTPUT] = tokens

    def ends(self, usage: Usage, at_ms: int) -> None:
        """The call is over."""
        self.usage, self.ended_at_ms = usage, at_ms
        words, at = self._words, self._at
        words[at + OUTPUT] = usage.output_tokens
        words[at + INPUT] = usage.input_tokens
        words[at + CACHED] = usage.cached_tokens
        words[at + REASONING] = usage.reasoning_tokens

    def wipe(self) -> None:
        """What the call took is on record."""
        slate, self._slate = self._slate, None
        if slate is not None:
            self._words = _NOWHERE
            slate.free(self._at)
            self._at = 0


class Slate:
    """One process's. What it does not take has a line all the same, that nobody else sees.

    Args:
        folder: Where it lies; None for nowhere.
        lines: How many calls have room on it.

    Attributes:
        name: Its own.
        words: All of it.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: SpoolFolder | None = None, lines: int = 0) -> None:
        self._folder = folder
        self.name = f"{os.getpid()}-nowhere" if folder is None else folder.path.name
        self._free: list[int] = []
        self._told = False
        self.words = _NOWHERE
        if folder is not None:
            self._map = _made(folder.path / NAME, LINE * (lines + 1))
            self.words = memoryview(self._map).cast("Q")
            # The first to be used are those at the beginning, over and over: the rest is never touched.
            self._free = [LINE // WORD * line for line in range(lines, 0, -1)]
        self._lines = len(self._free)

    @classmethod
    def make(cls, root: Path, places: int) -> Self:
        """A new one in a folder of slates; where that cannot be, one that keeps nothing.

        Args:
            root: It.
            places: How many calls are under way at once; those that have ended need room too.
        """
        try:
            folder = SpoolFolder.make(root)
        except OSError as error:
            logger.error("what calls take cannot be written down for the case of this process's death: %s", error)
            return cls()
        try:
            return cls(folder, min(MOST_LINES, 2 * places + 64))
        except OSError as error:
            logger.error("what calls take cannot be written down for the case of this process's death: %s", error)
            folder.remove()
            return cls()

    def __len__(self) -> int:
        return self._lines - len(self._free)

    def line(self, account: bytes) -> Line:
        """A new call's."""
        if not account or self._folder is None:
            return Line(account)
        if not self._free or len(account) > ROOM:
            self._complain(account)
            return Line(account)
        at = self._free.pop()
        words = self.words
        words[at + OUTPUT] = words[at + INPUT] = words[at + CACHED] = words[at + REASONING] = 0
        begin = at * WORD + ACCOUNT
        self._map[begin : begin + len(account)] = account
        words[at + STATE] = state_of(account)
        return Line(account, self, at)

    def free(self, at: int) -> None:
        """Wipe the line that begins with this word."""
        self.words[at + STATE] = 0
        self._free.append(at)

    def close(self) -> None:
        """Leave it to whoever adopts it, if anything stands on it."""
        if self._folder is None:
            return
        if len(self):
            self._folder.close()
        else:
            self._folder.remove()

    def _complain(self, account: bytes) -> None:
        if not self._told:
            self._told = True
            why = "no line is free" if len(account) <= ROOM else f"an account of {len(account)} bytes has no room"
            logger.error("what some calls take is not written down for the case of this process's death: %s", why)


def _made(path: Path, size: int) -> mmap.mmap:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # All of it at once: where the disk is full when a page is first written, that is the process's end.
        os.posix_fallocate(file, 0, size)
        os.pwrite(file, MAGIC, 0)
        return mmap.mmap(file, size)
    finally:
        os.close(file)


_NOWHERE: Final = memoryview(bytearray(ACCOUNT)).cast("Q")
