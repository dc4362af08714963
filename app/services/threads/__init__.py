"""Assistants, threads and runs: conversations as OpenAI's older API and Jan's clients see them.

What is here needs no model; ``new_runs`` and ``worker``, which do, stand on top of all services.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.services.answers.keeper import Keeper
from app.services.conversation_purge import ConversationPurge
from app.services.jobs import Jobs
from app.services.liveness import Liveness
from app.services.threads.assistants import AssistantService
from app.services.threads.messages import MessageService
from app.services.threads.round_store import RoundStore
from app.services.threads.run_jobs import RunJobs
from app.services.threads.runs import RunService
from app.services.threads.threads import ThreadService
from app.storage.stores import Stores


@dataclass(frozen=True, slots=True)
class Threads:
    """The services of threads."""

    assistants: AssistantService
    threads: ThreadService
    messages: MessageService
    runs: RunService
    jobs: RunJobs

    @classmethod
    def of(  # noqa: PLR0913 - all that they stand on
        cls,
        stores: Stores,
        jobs: Jobs,
        liveness: Liveness,
        keeper: Keeper,
        purge: ConversationPurge,
        *,
        per_owner: int,
    ) -> Threads:
        """Those over one database; what was told of runs by processes that died is kept by ``keeper``."""
        keeper.add("run", RoundStore(stores).keep)
        run_jobs = RunJobs(stores.runs, jobs, liveness, per_owner=per_owner)
        return cls(
            assistants=AssistantService(stores.assistants),
            threads=ThreadService(stores, purge),
            messages=MessageService(stores),
            runs=RunService(stores, run_jobs),
            jobs=run_jobs,
        )
