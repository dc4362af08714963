"""Responses in the background as jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.services.jobs import Job, Jobs
from app.services.stored_jobs import StoredJobs
from app.storage.responses import Responses

Work = Callable[[Job], Awaitable[None]]
"""Does what a job is about; see ``JobKind.run``."""


class ResponseJobs(StoredJobs):
    """See ``JobKind``.

    Attributes:
        take_over: Works on what another process had begun; is there once the gateway is put together.
    """

    def __init__(self, responses: Responses, jobs: Jobs, *, per_owner: int) -> None:
        super().__init__(responses, jobs, per_owner=per_owner, called="responses in the background")
        self.take_over: Work | None = None
        self._begun: dict[str, Work] = {}

    def begin(self, id_: str, work: Work) -> None:
        """Work on a response that is stored as this process's."""
        self._begun[id_] = work
        self._jobs.begin(self, id_)

    async def run(self, job: Job) -> None:
        """See ``JobKind``."""
        work = self._begun.pop(job.id, self.take_over)
        if work is not None:
            await work(job)
