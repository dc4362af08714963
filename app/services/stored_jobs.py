"""Jobs whose collection says who works on them, and so many of which somebody may have at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from app.errors import RateLimited
from app.services.jobs import Job, Jobs
from app.storage.responses import Responses
from app.storage.runs import Runs

RETRY_AFTER_S = 10.0


class StoredJobs(ABC):
    """All of a ``JobKind`` but the work itself.

    Args:
        store: Where they are stored.
        jobs: This process's.
        per_owner: How many of somebody's may be worked on at once.
        called: What they are to their owner.
    """

    def __init__(self, store: Responses | Runs, jobs: Jobs, *, per_owner: int, called: str) -> None:
        self._store = store
        self._jobs = jobs
        self._per_owner = per_owner
        self._called = called
        jobs.add_kind(self)

    async def check_room(self, owner: str) -> None:
        """Refuse a job more than there is room for, before anything of it is stored.

        Raises:
            DatabaseUnavailable: The database did not answer.
            RateLimited: Too many of this owner's are worked on.
            ServiceUnavailable: This process works on too much.
        """
        self._jobs.check_room()
        if await self._store.count_jobs(owner) >= self._per_owner:
            raise RateLimited(
                f"You have {self._per_owner} {self._called}, as many as may be at once. "
                "Wait for one of them, or cancel one.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def of(self, runner: str, limit: int) -> Sequence[str]:
        """See ``JobKind``."""
        return await self._store.jobs_of(runner, limit)

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """See ``JobKind``."""
        return await self._store.claim(id_, runner, old_runner)

    async def lost(self, runner: str, ids: Collection[str]) -> Collection[str]:
        """See ``JobKind``."""
        return set(ids) - await self._store.still_of(runner, ids)

    async def cancelled(self, runner: str) -> Collection[str]:
        """See ``JobKind``."""
        return await self._store.cancelled_of(runner)

    @abstractmethod
    async def run(self, job: Job) -> None:
        """See ``JobKind``."""
