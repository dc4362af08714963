"""Runs as their owner sees them; what waits for nobody any more is ended when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from app.domain.conversation import Conversation
from app.domain.ids import is_id
from app.domain.page import Page, PageRequest
from app.domain.run import Run
from app.domain.run_step import RunStep, step_call
from app.domain.thread import thread_id
from app.errors import InvalidRequest, NotFound
from app.schemas.runs import ChangeRunRequest
from app.services.threads.run_jobs import RunJobs
from app.storage.runs import WORKED_ON
from app.storage.stores import Stores
from app.storage.users import now_ms

LONG_MS: Final = 5_000
"""How old a round is of which it is made sure that somebody works at it."""


class RunService:
    """Shows runs and ends them. Whoever calls has made sure that the thread is its owner's."""

    def __init__(self, stores: Stores, jobs: RunJobs) -> None:
        self._runs = stores.runs
        self._steps = stores.run_steps
        self._jobs = jobs

    async def get(self, conversation: Conversation, id_: str) -> Run:
        """One run of a thread.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in it.
        """
        found = await self._runs.get(conversation.owner, thread_id(conversation.id), id_) if is_id(id_, "run") else None
        return await self._up_to_date(_there(found))

    async def list(self, conversation: Conversation, page: PageRequest) -> Page[Run]:
        """The runs of a thread.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a run that is not in the list.
        """
        found = await self._runs.list(conversation.owner, thread_id(conversation.id), page, conversation.turns)
        return Page([await self._up_to_date(run) for run in found.items], found.has_more)

    async def active(self, conversation: Conversation) -> Run | None:
        """The run of a thread that is not over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        found = await self._runs.active(thread_id(conversation.id))
        run = found and await self._up_to_date(found)
        return None if run is None or run.is_over else run

    async def change(self, conversation: Conversation, id_: str, wanted: ChangeRunRequest) -> Run:
        """Write on a run what was given; null takes it away.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in the thread.
        """
        run = await self.get(conversation, id_)
        if "metadata" not in wanted.model_fields_set:
            return run
        return _there(await self._runs.set_metadata(run.owner, run.thread, run.id, wanted.metadata or {}))

    async def cancel(self, conversation: Conversation, id_: str) -> Run:
        """Have a run ended; what it said so far is kept.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: It is over.
            NotFound: There is none such in the thread.
        """
        run = await self.get(conversation, id_)
        if run.status == "requires_action":
            run = await self._stop_waiting(run, "cancelled")
        if run.status in WORKED_ON:
            asked = await self._runs.ask_to_cancel(run.id)
            await self._jobs.stop(run.id)
            run = await self.get(conversation, id_)
            if asked is not None and run.status != "completed":
                return run
        if run.status != "cancelled":
            raise InvalidRequest(f"The run {run.id} is {run.status}, and cannot be cancelled.")
        return run

    async def steps(self, run: Run, page: PageRequest) -> Page[RunStep]:
        """The steps of a run.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a step that is not in the list.
        """
        return await self._steps.list(run.owner, run.id, page)

    async def step(self, run: Run, id_: str) -> RunStep:
        """One step of a run.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such in it.
        """
        found = await self._steps.get(run.owner, run.id, id_) if is_id(id_, "step") else None
        if found is None:
            raise NotFound("No step of this run has this id.", code="step_not_found")
        return found

    async def answered(self, run: Run, outputs: Mapping[str, str]) -> RunStep | None:
        """Close the step whose calls were answered.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        step = await self._steps.get(run.owner, run.id, run.calls_step)
        if step is None:
            return None
        calls = [step_call(call, outputs[call["id"]]) for call in step.calls]
        done = replace(step, status="completed", ended_at_ms=now_ms(), calls=calls)
        await self._steps.put([done])
        return done

    async def _up_to_date(self, run: Run) -> Run:
        now = now_ms()
        if run.status == "requires_action" and run.expires_at_ms <= now:
            return await self._stop_waiting(run, "expired")
        if run.status in WORKED_ON and run.round_at_ms + LONG_MS <= now:
            await self._jobs.resume(run.id)
        return run

    async def _stop_waiting(self, run: Run, status: Literal["expired", "cancelled"]) -> Run:
        now = now_ms()
        ended = replace(run, status=status, ended_at_ms=now, calls=())
        if not await self._runs.change(ended, was=("requires_action",)):
            # Somebody else was faster, with outputs maybe.
            return _there(await self._runs.by_id(run.id))
        step = await self._steps.get(run.owner, run.id, run.calls_step)
        if step is not None:
            await self._steps.put([replace(step, status=status, ended_at_ms=now)])
        return ended


def _there(run: Run | None) -> Run:
    if run is None:
        raise NotFound("No run of this thread has this id.", code="run_not_found")
    return run
