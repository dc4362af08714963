"""Runs as jobs: who works at them, and who watches those that are worked at here."""

from __future__ import annotations

from typing import Protocol

from app.services.jobs import Job, Jobs
from app.services.liveness import Liveness
from app.services.stored_jobs import StoredJobs
from app.services.threads.channel import Channel
from app.storage.runs import Runs


class Worker(Protocol):
    """Does what a run is about."""

    async def run(self, job: Job, channel: Channel) -> None:
        """See ``JobKind``.

        Args:
            job: Of the run.
            channel: Where it is told what happens; whoever calls closes it.
        """
        ...


class RunJobs(StoredJobs):
    """See ``JobKind``.

    Attributes:
        worker: Is there once the gateway is put together.
    """

    def __init__(self, runs: Runs, jobs: Jobs, liveness: Liveness, *, per_owner: int) -> None:
        super().__init__(runs, jobs, per_owner=per_owner, called="runs that are worked at")
        self.worker: Worker | None = None
        self._me = liveness.id
        self._channels: dict[str, Channel] = {}

    def begin(self, id_: str, channel: Channel | None = None) -> None:
        """Work at a run that is stored as this process's."""
        if channel is not None:
            self._channels[id_] = channel
        self._jobs.begin(self, id_)

    async def resume(self, id_: str) -> None:
        """Work at a run that is this process's and that it does not work at: it could not know that it was stored.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        if self._jobs.get(id_) is None and await self.claim(id_, self._me, self._me) and self._jobs.get(id_) is None:
            self._jobs.begin(self, id_, taken_over=True)

    async def stop(self, id_: str) -> None:
        """End a run at once that was asked to be cancelled, if it is worked at here."""
        await self._jobs.cancel(id_)

    async def run(self, job: Job) -> None:
        """See ``JobKind``."""
        channel = self._channels.pop(job.id, None) or Channel(is_read=False)
        try:
            if self.worker is not None:
                await self.worker.run(job, channel)
        finally:
            channel.close()
