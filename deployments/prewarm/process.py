"""Engine processes for multiprocessing that the replica's keeper forks, with everything imported.

They are started, waited for and killed as those of ``spawn`` are, and get their arguments as these do. Where the keeper
cannot give one, they are those of ``spawn``.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Sequence
from multiprocessing import popen_fork, popen_spawn_posix, process, reduction, resource_tracker, spawn, util
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess, set_spawning_popen
from typing import Any, cast

from deployments.prewarm.birth import children, live_in
from deployments.prewarm.environment import Baseline, apply_late
from deployments.prewarm.wire import close

logger = logging.getLogger("manta")

REQUEST = b"bear"
NUMBER = "!q"
REFUSED = 0
"""In place of the process's id: the next thing to be read is the reason."""


class _Here:
    """What this process has from its birth, if it was born of a keeper.

    Attributes:
        channel: To the keeper.
        imports_s: How long it would have had to import, in seconds.
        given: Descriptors that came with it, in the order in which its arguments name them.
    """

    channel: socket.socket | None = None
    imports_s: float = 0.0
    given: Sequence[int] = ()


here = _Here()


class Refused(Exception):
    """The keeper gives no process; the message says why."""


def is_prewarmed() -> bool:
    """Whether this process was born of a keeper, and can have more from it."""
    return here.channel is not None


def context() -> SpawnContext:
    """What to start an engine's processes with, in a process that is pre-warmed itself."""
    return _BornContext()


def engine_processes() -> list[int]:
    """The processes that were born of this one's keeper beside it, however far down they were asked for."""
    return [pid for pid in children(os.getppid()) if pid != os.getpid()] if is_prewarmed() else []


def saved_s() -> float:
    """Seconds of imports that this process did without; 0 where it was started plainly."""
    return here.imports_s


class _Given:
    """A descriptor on its way to a process that is born; pickled in its place."""

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        """The descriptor there."""
        return here.given[self._index]


class _Popen(popen_fork.Popen):
    """A process that the keeper forks."""

    DupFd = _Given

    def __init__(self, process_obj: process.BaseProcess) -> None:
        self._given: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Send a descriptor along; its index there."""
        self._given.append(fd)
        return len(self._given) - 1

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Its exit status, once it has ended; waits for that with 0."""
        if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            told = os.read(self.sentinel, struct.calcsize(NUMBER))
            # Nothing, if the keeper itself was killed, and with it all that it kept.
            self.returncode = struct.unpack(NUMBER, told)[0] if told else 255
        return self.returncode

    def _launch(self, process_obj: process.BaseProcess) -> None:
        tracker = resource_tracker.getfd()
        assert tracker is not None
        payload = self._pickled(process_obj)
        told, tells = os.pipe()
        reads, writes = os.pipe()
        self.sentinel = told
        # The writing end stays open as long as this process lives: by that the other one knows.
        self.finalizer = util.Finalize(self, close, ((told, writes),))
        try:
            self._request([reads, tells, tracker, 0, 1, 2, *self._given])
        finally:
            close((reads, tells))
        self._send(writes, json.dumps(dict(os.environ)).encode())
        self.pid = _number(told)
        if self.pid == REFUSED:
            raise Refused(os.read(told, _number(told)).decode())
        with open(writes, "wb", closefd=False) as file:
            file.write(payload)

    def _pickled(self, process_obj: process.BaseProcess) -> bytes:
        preparation = spawn.get_preparation_data(process_obj.name)
        for name in ("init_main_from_name", "init_main_from_path"):
            # Ray's worker, of which an engine needs nothing.
            preparation.pop(name, None)
        buffer = io.BytesIO()
        set_spawning_popen(cast(Any, self))
        try:
            reduction.dump(preparation, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            set_spawning_popen(None)
        return buffer.getvalue()

    def _request(self, fds: Sequence[int]) -> None:
        assert here.channel is not None
        try:
            socket.send_fds(here.channel, [REQUEST], fds)
        except OSError as error:
            raise Refused(f"the keeper cannot be asked ({error})") from None

    def _send(self, fd: int, content: bytes) -> None:
        with open(fd, "wb", closefd=False) as file:
            file.write(struct.pack(NUMBER, len(content)) + content)


class _BornProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        try:
            return _Popen(process_obj)
        except Refused as error:
            logger.warning("%s starts plainly: %s", process_obj.name, error)
            return popen_spawn_posix.Popen(process_obj)


class _BornContext(SpawnContext):
    Process = _BornProcess


def become_process(fds: Sequence[int], baseline: Baseline) -> int:
    """In a process that was just forked: read what it is to be, and be that. Its exit status.

    Args:
        fds: What came with the request.
        baseline: The environment that its imports were made in.
    """
    payload, tells, tracker, *rest = fds
    for stream in (0, 1, 2):
        os.dup2(rest[stream], stream)
    environment = json.loads(_read(payload, _number(payload)))
    if (name := baseline.misfit(environment)) is not None:
        reason = f"{name} is not what the server imported with".encode()
        os.write(tells, struct.pack(NUMBER, REFUSED) + struct.pack(NUMBER, len(reason)) + reason)
        os._exit(0)
    os.write(tells, struct.pack(NUMBER, os.getpid()))
    close((tells, *rest[:3]))
    become(baseline.imported(environment))
    here.given = rest[3:]
    vars(resource_tracker)["_resource_tracker"]._fd = tracker
    return spawn._main(payload, os.dup(payload))  # pyright: ignore[reportAttributeAccessIssue] - what spawn itself runs


def become(environment: dict[str, str]) -> None:
    """Live in this environment, and share no secret and no random numbers with others born of the same server."""
    live_in(environment)
    apply_late(environment)
    process.current_process().authkey = os.urandom(32)
    # Others see to it themselves.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _number(fd: int) -> int:
    content = _read(fd, struct.calcsize(NUMBER))
    if not content:
        raise Refused("the process ended before it began")
    return struct.unpack(NUMBER, content)[0]


def _read(fd: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length and (part := os.read(fd, length - len(found))):
        found += part
    return bytes(found)
