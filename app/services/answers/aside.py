"""Answers that no database takes: they lie beside the folders of the journals until an operator looks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("manta")

UNKEPT = ".unkept"
"""What their files end with."""

MOST_FILES = 1000


class Aside:
    """Where one that cannot be kept keeps nothing back, and is there for whoever finds out why.

    Args:
        root: The folder that all processes of a node put theirs in.
        most_bytes: How much there may be; of more, or of more than ``MOST_FILES``, the oldest go.
    """

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root = root
        self._most_bytes = most_bytes

    def put(self, path: Path, owner: str) -> None:
        """Put a file aside, and say so with what is wrong with it: from where that was caught."""
        aside = self._root / f"{path.parent.name}-{path.stem}{UNKEPT}"
        try:
            path.rename(aside)
            left = self._bound()
        except OSError as error:
            logger.exception("An answer of %s cannot be kept, nor put aside: %s", owner, error)
        else:
            logger.exception("An answer of %s cannot be kept, and is put aside: %s (there are %d)", owner, aside, left)

    def _bound(self) -> int:
        """Delete the oldest that are too many; how many are left."""
        newest_first = sorted(self._files(), reverse=True)
        kept, size = 0, 0
        for _, _, length in newest_first:
            size += length
            # The newest stays, however long it is: whoever looks must find something.
            if kept and (kept >= MOST_FILES or size > self._most_bytes):
                break
            kept += 1
        for _, path, _ in newest_first[kept:]:
            path.unlink(missing_ok=True)
        if dropped := len(newest_first) - kept:
            logger.error("%d answers that were put aside are deleted, the oldest: there is no room for more", dropped)
        return kept

    def _files(self) -> Iterator[tuple[int, Path, int]]:
        for path in self._root.glob(f"*{UNKEPT}"):
            # Another process may delete them too.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime_ns, path, status.st_size
