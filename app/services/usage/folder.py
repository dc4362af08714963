"""A process's folder of what the database has yet to get: usage, answers, a slate.

It is locked for as long as its process lives: whoever gets the lock finds what a dead one left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

Kind = Literal["events", "drafts", "answers", "slate"]
KINDS: Final[tuple[Kind, ...]] = ("events", "drafts", "answers", "slate")
_LOCK: Final = "lock"


class SpoolFolder:
    """One process's folder, locked for as long as this object is not closed."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def make(cls, root: Path) -> SpoolFolder:
        """A new one.

        Raises:
            OSError: It cannot be made.
        """
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        # Under a name that nobody adopts, until it is locked.
        path = root / f".{name}"
        path.mkdir(mode=0o700, parents=True)
        lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(root / name)
        except OSError:
            os.close(lock)
            raise
        return cls(root / name, lock)

    @classmethod
    def adopt(cls, root: Path) -> Iterator[SpoolFolder]:
        """Those whose processes are dead, each for the one who asks first.

        Raises:
            OSError: The folder they are in cannot be read.
        """
        for path in sorted(root.iterdir()):
            # One that is gone meanwhile was somebody else's to adopt, and one that is not ours to read still is.
            with contextlib.suppress(OSError):
                if not path.name.startswith(".") and (lock := _lock_of(path)) is not None:
                    yield cls(path, lock)

    def files(self, kind: Kind) -> list[Path]:
        """The files of a kind, the oldest first."""
        return sorted(self.path.glob(f"*.{kind}"))

    def remove(self) -> None:
        """Delete the folder and all that is left in it."""
        for path in [path for kind in KINDS for path in self.files(kind)]:
            path.unlink(missing_ok=True)
        # The lock last: without it nobody takes what is left of the folder for a spool.
        (self.path / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
        self.close()

    def close(self) -> None:
        """Leave it to whoever adopts it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock_of(path: Path) -> int | None:
    """The lock of a folder, if it is free."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have deleted the folder while we opened it.
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
