"""Work that outlives its request: begun here, ended from anywhere, taken over when its process dies.

What the work is, and where it is stored, is the business of a ``JobKind``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from enum import Enum
from typing import Protocol, TypeVar

from app.errors import ServiceUnavailable
from app.services.liveness import DeadProcess, Liveness
from app.services.periodic import Periodic
from app.services.persist import persist

logger = logging.getLogger("manta")

T = TypeVar("T")

RETRY_AFTER_S = 5.0
CANCEL_TIMEOUT_S = 10.0
TAKE_AT_ONCE = 20
"""Jobs at the most that a process takes over in one round, so that others get their share."""


class Why(Enum):
    """Why a job is ended before its time.

    Attributes:
        CANCELLED: Somebody asked for it: what was made so far is kept, and the job is over.
        LOST: It is no longer this process's: another has it, or it was deleted. Nothing more may be stored.
        CLOSING: The process ends, and another will take the job over. Nothing more is to be stored.
    """

    CANCELLED = "cancelled"
    LOST = "lost"
    CLOSING = "closing"


class Job:
    """One job under way in this process.

    Attributes:
        id: What it is about: a response's id, a run's.
        taken_over: Whether a process that is dead had begun it.
        why: Why it is being ended; None for as long as it is not.
    """

    def __init__(self, kind: JobKind, id_: str, *, taken_over: bool) -> None:
        self.id = id_
        self.taken_over = taken_over
        self.why: Why | None = None
        self.kind = kind
        self._began = False
        self.task = asyncio.create_task(self._run(), name=f"job {id_}")

    def end(self, why: Why) -> None:
        """Have it ended: ``CancelledError`` is raised where it is.

        The first reason stays, but that what was cancelled may be lost, or have to be left, before that is stored.
        """
        if self.why is None or (self.why is Why.CANCELLED and why is not Why.CANCELLED):
            self.why = why
            # A task that is cancelled before its first step never makes it, and would store nothing.
            if self._began:
                self.task.cancel()

    def go_on(self) -> None:
        """Do what is left to do in spite of having been cancelled."""
        self.task.uncancel()

    async def to_its_end(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do what has to be done though a caller wants the job to end: others wait for it, or it is the end.

        Args:
            act: May be begun more than once.
        """
        while True:
            try:
                return await act()
            except asyncio.CancelledError:
                if self.why is not Why.CANCELLED:
                    raise
                self.go_on()

    async def persist(self, act: Callable[[], Awaitable[T]]) -> T:
        """The same for something in the database, however long that is away."""
        return await self.to_its_end(lambda: persist(act))

    async def _run(self) -> None:
        self._began = True
        if self.why is not None:
            self.task.cancel()
        try:
            await self.kind.run(self)
        except Exception:
            logger.exception("The job %s failed", self.id)


class JobKind(Protocol):
    """What jobs of a kind are, and where they are stored. Every change is made only to one's own, by ``runner``."""

    async def of(self, runner: str, limit: int) -> Sequence[str]:
        """The ids of some jobs of a process that are not over."""
        ...

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """Make somebody's job somebody else's; False if it is not theirs any more, or over."""
        ...

    async def lost(self, runner: str, ids: Collection[str]) -> Collection[str]:
        """Those of these jobs that are no longer the process's: others took them over, or they are deleted."""
        ...

    async def cancelled(self, runner: str) -> Collection[str]:
        """The ids of those of a process's jobs that somebody asked to be cancelled."""
        ...

    async def run(self, job: Job) -> None:
        """Do the work and store how it ended.

        When it is cancelled, maybe at its first ``await``, ``job.why`` says what to do; it has to end soon then. What
        it raises is logged.
        """
        ...


class Jobs:
    """The jobs of this process.

    Args:
        limit: How many there may be at once, those that were taken over included.
    """

    def __init__(self, liveness: Liveness, *, limit: int = 256) -> None:
        self._liveness = liveness
        self._limit = limit
        self._kinds: list[JobKind] = []
        self._jobs: dict[str, Job] = {}
        self._closing = False
        self._looks = Periodic(self.look, name="looking for jobs that are to be ended", every_s=liveness.beat_s)
        liveness.add_heir(self._take_over)

    def add_kind(self, kind: JobKind) -> None:
        """Have jobs of this kind taken over and cancelled; before ``start``."""
        self._kinds.append(kind)

    def start(self) -> None:
        """Look for jobs that are to be ended from now on."""
        self._looks.start()

    async def close(self) -> None:
        """Begin no more, and leave those under way to others; before the liveness ends."""
        self._closing = True
        for job in list(self._jobs.values()):
            job.end(Why.CLOSING)
        tasks = [job.task for job in self._jobs.values()]
        await asyncio.gather(self._looks.close(), *tasks, return_exceptions=True)

    def check_room(self) -> None:
        """Refuse a job more than there is room for, before anything of it is stored.

        Raises:
            ServiceUnavailable: There is none.
        """
        if self._closing or len(self._jobs) >= self._limit:
            raise ServiceUnavailable(
                "There is too much work in the background at the moment. Try again shortly.",
                retry_after_s=RETRY_AFTER_S,
            )

    def begin(self, kind: JobKind, id_: str, *, taken_over: bool = False) -> Job:
        """Begin a job that is stored as this process's (``Liveness.me``)."""
        job = self._jobs[id_] = Job(kind, id_, taken_over=taken_over)
        job.task.add_done_callback(lambda _: self._forget(job))
        if self._closing:
            job.end(Why.CLOSING)
        return job

    def get(self, id_: str) -> Job | None:
        """A job that is under way in this process."""
        return self._jobs.get(id_)

    async def cancel(self, id_: str) -> bool:
        """End a job at once if it is under way here, and wait until that is stored, or for a while; False if it is not.

        It has to be marked beforehand: one that is not here sees the mark within a heartbeat.
        """
        job = self._jobs.get(id_)
        if job is None:
            return False
        job.end(Why.CANCELLED)
        await asyncio.wait((job.task,), timeout=CANCEL_TIMEOUT_S)
        return True

    def _forget(self, job: Job) -> None:
        if self._jobs.get(job.id) is job:
            del self._jobs[job.id]

    async def _take_over(self, dead: DeadProcess) -> bool:
        """The heir of what dead processes were at; True when nothing is left."""
        if self._closing:
            return False
        settled = True
        for kind in self._kinds:
            room = min(TAKE_AT_ONCE, self._limit - len(self._jobs))
            # One more than there is room for, to know whether that is all.
            ids = await kind.of(dead.id, max(room, 0) + 1)
            settled = settled and len(ids) <= room
            for id_ in ids[: max(room, 0)]:
                if await kind.claim(id_, self._liveness.id, dead.id):
                    logger.info("The job %s of a dead process is taken over", id_)
                    self.begin(kind, id_, taken_over=True)
        return settled

    async def look(self) -> None:
        """End those of this process's jobs that somebody asked to be cancelled, or that are no longer its own.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        for kind in self._kinds:
            jobs = {job.id: job for job in self._jobs.values() if job.kind is kind}
            if not jobs:
                continue
            for id_ in await kind.cancelled(self._liveness.id):
                if id_ in jobs:
                    jobs[id_].end(Why.CANCELLED)
            for id_ in await kind.lost(self._liveness.id, list(jobs)):
                jobs[id_].end(Why.LOST)
