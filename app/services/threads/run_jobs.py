"""Runs as jobs: where they are stored, who works at them, and who watches those that are worked at here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from app.errors import RateLimited
from app.services.jobs import Job, Jobs
from app.services.liveness import Liveness
from app.services.threads.channel import Channel
from app.storage.runs import Runs

RETRY_AFTER_S = 10.0


class Worker(Protocol):
    """Does what a run is about."""

    async def run(self, job: Job, channel: Channel) -> None:
        """See ``JobKind``.

        Args:
            job: Of the run.
            channel: Where it is told what happens; whoever calls closes it.
        """
        ...


class RunJobs:
    """See ``JobKind``.

    Args:
        per_owner: How many of somebody's may be worked at at once.

    Attributes:
        worker: Is there once the gateway is put together.
    """

    def __init__(self, runs: Runs, jobs: Jobs, liveness: Liveness, *, per_owner: int) -> None:
        self.worker: Worker | None = None
        self._runs = runs
        self._jobs = jobs
        self._liveness = liveness
        self._per_owner = per_owner
        self._channels: dict[str, Channel] = {}
        jobs.add_kind(self)

    async def me(self, owner: str) -> str:
        """This process's id, for a run of somebody's that it is about to work at.

        Raises:
            DatabaseUnavailable: Others cannot see that it lives.
            RateLimited: Too many of this owner's are worked at already.
            ServiceUnavailable: It works at too much already.
        """
        self._jobs.check_room()
        if await self._runs.count_worked_on(owner) >= self._per_owner:
            raise RateLimited(
                f"You have {self._per_owner} runs that are worked at, as many as may be at once. "
                "Wait for one of them, or cancel one.",
                retry_after_s=RETRY_AFTER_S,
            )
        return await self._liveness.me()

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
        me = self._liveness.id
        if self._jobs.get(id_) is None and await self._runs.claim(id_, me, me) and self._jobs.get(id_) is None:
            self._jobs.begin(self, id_, taken_over=True)

    async def stop(self, id_: str) -> None:
        """End a run at once that was asked to be cancelled, if it is worked at here."""
        await self._jobs.cancel(id_)

    async def of(self, runner: str, limit: int) -> Sequence[str]:
        """See ``JobKind``."""
        return await self._runs.of_runner(runner, limit)

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """See ``JobKind``."""
        return await self._runs.claim(id_, runner, old_runner)

    async def lost(self, runner: str, ids: Collection[str]) -> Collection[str]:
        """See ``JobKind``."""
        return set(ids) - set(await self._runs.still_of(runner, ids))

    async def cancelled(self, runner: str) -> Collection[str]:
        """See ``JobKind``."""
        return await self._runs.to_cancel(runner)

    async def run(self, job: Job) -> None:
        """See ``JobKind``."""
        channel = self._channels.pop(job.id, None) or Channel(is_read=False)
        try:
            if self.worker is not None:
                await self.worker.run(job, channel)
        finally:
            channel.close()
