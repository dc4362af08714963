"""Where the server of a node is found: a folder of this user's alone, one for each raylet and checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

BASE = "/tmp"  # noqa: S108 - a folder that is checked to be this user's; sockets' paths have to be short
NODE = "--node-id"
BACKLOG = 64

REFUSED = 3
"""Exit status of a server that cannot serve, and need not be started again."""


class Place:
    """The folder of one server.

    Args:
        key: Whatever tells its server from others.
        base: Folder under which it lies.
    """

    def __init__(self, key: str, base: str = BASE) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._home = Path(base) / f"manta-prewarm-{os.getuid()}"
        self._folder = self._home / digest

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(self._folder / "socket")

    def connect(self) -> socket.socket | None:
        """A connection to the server, or None where nobody listens."""
        if not _is_ours(self._home):
            return None
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.socket)
        except OSError:
            connection.close()
            return None
        return connection

    def claim(self) -> int | None:
        """Become the only one who may listen here, until this process ends; None where somebody is already."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(self._home):
            return None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return lock

    def listen(self) -> socket.socket:
        """Listen, once claimed. Who connects waits until somebody accepts."""
        Path(self.socket).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket)
        listener.listen(BACKLOG)
        return listener

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def place_of(worker: Sequence[str]) -> Place:
    """The place of the node that a Ray worker is started on.

    Args:
        worker: Its command line, without Python itself.
    """
    return Place(f"{_node(worker)} {sys.executable} {__file__}")


def _node(worker: Sequence[str]) -> str:
    for index, argument in enumerate(worker):
        if argument.startswith(NODE + "="):
            return argument.partition("=")[2]
        if argument == NODE:
            return worker[index + 1]
    return str(os.getppid())


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
