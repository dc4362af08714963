"""Responses in the background as jobs: where they are stored, and who works on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from app.errors import RateLimited
from app.services.jobs import Job, Jobs
from app.services.liveness import Liveness
from app.storage.responses import Responses

RETRY_AFTER_S = 10.0


Work = Callable[[Job], Awaitable[None]]
"""Does what a job is about; see ``JobKind.run``."""


class ResponseJobs:
    """See ``JobKind``.

    Args:
        per_owner: How many of somebody's may be under way at once.

    Attributes:
        take_over: Works on what another process had begun; is there once the gateway is put together.
    """

    def __init__(self, responses: Responses, jobs: Jobs, liveness: Liveness, *, per_owner: int) -> None:
        self.take_over: Work | None = None
        self._begun: dict[str, Work] = {}
        self._responses = responses
        self._jobs = jobs
        self._liveness = liveness
        self._per_owner = per_owner
        jobs.add_kind(self)

    async def check_room(self, owner: str) -> None:
        """Refuse a response more in the background than there is room for.

        Raises:
            DatabaseUnavailable: The database did not answer.
            RateLimited: Too many of this owner's are under way.
            ServiceUnavailable: Too much is, in this process.
        """
        self._jobs.check_room()
        if await self._responses.count_in_background(owner) >= self._per_owner:
            raise RateLimited(
                f"You have {self._per_owner} responses in the background, as many as may be at once. "
                "Wait for one of them, or cancel one.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def me(self) -> str:
        """This process's id, for responses that it is about to work on.

        Raises:
            DatabaseUnavailable: Others cannot see that it lives.
        """
        return await self._liveness.me()

    def begin(self, id_: str, work: Work) -> None:
        """Work on a response that is stored as this process's."""
        self._begun[id_] = work
        self._jobs.begin(self, id_)

    async def of(self, runner: str, limit: int) -> Sequence[str]:
        """See ``JobKind``."""
        return [response.id for response in await self._responses.of_runner(runner, limit, background=True)]

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """See ``JobKind``."""
        return await self._responses.claim(id_, runner, old_runner)

    async def lost(self, runner: str, ids: Collection[str]) -> Collection[str]:
        """See ``JobKind``."""
        return set(ids) - await self._responses.still_of(runner, ids)

    async def cancelled(self, runner: str) -> Collection[str]:
        """See ``JobKind``."""
        return await self._responses.cancelled_of(runner)

    async def run(self, job: Job) -> None:
        """See ``JobKind``."""
        work = self._begun.pop(job.id, self.take_over)
        if work is not None:
            await work(job)
