"""Works at a run's round: asks the model, tells what happens, and stores how it ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

from app.domain.completion import Completion, of_stream
from app.domain.round_end import BROKEN, Ending, RoundEnd, end_round
from app.domain.run import ErrorCode, LastError, Run
from app.errors import ApiError, PermissionDenied
from app.schemas import chat
from app.services import Services
from app.services.answers.keeping import Keeping
from app.services.answers.record import Record
from app.services.engine_errors import error_of_refusal, is_refusal
from app.services.generation import generate
from app.services.inference import CHAT, able, prepare
from app.services.jobs import Job, Why
from app.services.threads.channel import Channel
from app.services.threads.events import RoundEvents, run_event
from app.services.threads.orders import chat_of
from app.services.threads.prompt import PromptTooLong, prompt_of
from app.services.threads.round_store import RoundStore
from app.storage.runs import WORKED_ON
from app.storage.users import now_ms

logger = logging.getLogger("manta")

_CODES: Final[dict[int, ErrorCode]] = {
    400: "invalid_prompt",
    403: "invalid_prompt",
    404: "invalid_prompt",
    413: "invalid_prompt",
    429: "rate_limit_exceeded",
}
GATEWAY_DIED: Final = LastError(
    "server_error", "The gateway that told of this run is gone. What it told is kept; run it again."
)


class _Failed(Exception):
    """The round failed, and this is why."""

    def __init__(self, error: LastError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class _Attempt:
    """A round that is worked at.

    Attributes:
        run: As it is stored; None until it was read.
        raw: What came of the answer.
        record: Where that is written down before it is told; None where nobody watches.
    """

    channel: Channel
    run: Run | None = None
    raw: bytearray = field(default_factory=bytearray)
    record: Record | None = None
    events: RoundEvents | None = None

    def take(self, chunk: bytes) -> None:
        """More of the answer."""
        self.raw += chunk
        if self.record is not None:
            self.record.write(chunk)
        if self.events is not None and self.channel.is_read:
            self.channel.send(self.events.feed(chunk))


class RunWorker:
    """See ``run_jobs.Worker``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._runs = services.stores.runs
        self._rounds = RoundStore(services.stores)
        self._me = services.liveness.id

    async def run(self, job: Job, channel: Channel) -> None:
        """See ``Worker``."""
        attempt = _Attempt(channel)
        try:
            await self._run(job, attempt)
        finally:
            if attempt.record is not None:
                # Where it was not stored, whoever looks after records sees to that.
                attempt.record.leave()

    async def _run(self, job: Job, attempt: _Attempt) -> None:
        error: LastError | None = None
        try:
            ending = await self._work(job, attempt)
        except asyncio.CancelledError:
            if job.why is not Why.CANCELLED:
                raise
            ending = "cancelled"
        except _Failed as failure:
            ending, error = "failed", failure.error
        except ApiError as failure:
            ending, error = "failed", LastError(_CODES.get(failure.status, "server_error"), failure.message)
        except Exception:
            logger.exception("The run %s failed", job.id)
            ending, error = "failed", BROKEN
        if ending is not None:
            await self._finish(job, attempt, ending, error)

    async def _work(self, job: Job, attempt: _Attempt) -> Ending | None:
        """Do all of it; how it ended, or None if there was nothing to do."""
        run = attempt.run = await self._runs.by_id(job.id)
        if run is None or run.status not in WORKED_ON:
            return None
        if run.status == "cancelling":
            return "cancelled"
        if job.taken_over and run.streamed and run.status == "in_progress":
            raise _Failed(GATEWAY_DIED)
        now = now_ms()
        started = replace(run, status="in_progress", started_at_ms=run.started_at_ms or now)
        if not await self._runs.change(started, was=("queued", "in_progress"), by=self._me):
            run = attempt.run = await self._runs.by_id(job.id)
            return "cancelled" if run is not None and run.status == "cancelling" else None
        attempt.run, attempt.events = started, RoundEvents(started)
        attempt.channel.send(run_event(started))
        deadline = asyncio.timeout(max(0.0, (run.expires_at_ms - now) / 1000))
        try:
            async with deadline:
                return await self._answer(started, attempt)
        except TimeoutError:
            if not deadline.expired():
                raise
            return "expired"

    async def _answer(self, run: Run, attempt: _Attempt) -> Ending:
        services = self._services
        caller = await services.authenticator.recall(run.owner, run.key_id)
        if caller is None or "write" not in caller.scopes:
            raise PermissionDenied("Whoever made this run may not do so any more.")
        state = {"request_id": f"req_{secrets.token_hex(16)}"}
        entry = able(services, caller, CHAT, run.order.model, state)
        try:
            messages = await prompt_of(services, entry, run)
        except PromptTooLong:
            return "too_long"
        wanted = chat_of(run.order, messages, spent=run.tokens.completion, is_first=not run.told)
        parsed = chat.parse(wanted)
        if attempt.channel.is_read:
            self._open_record(run, attempt, guest=caller.role == "guest")
        prepared = await prepare(services, caller, CHAT, parsed, state)
        async with generate(prepared) as answer:
            if is_refusal(answer):
                raise await error_of_refusal(answer)
            async for chunk in answer:
                attempt.take(chunk)
        return "answered"

    def _open_record(self, run: Run, attempt: _Attempt, *, guest: bool) -> None:
        journal = self._services.answers.journal
        journal.check_room()
        told = Keeping(
            owner=run.owner,
            guest=guest,
            created_at_ms=run.round_at_ms,
            model=run.order.model,
            tail=run.tail,
            run=run.id,
        )
        attempt.record = journal.open(told)

    async def _finish(self, job: Job, attempt: _Attempt, ending: Ending, error: LastError | None) -> None:
        """Store the end, as soon as the database is there, and tell of it."""
        try:
            end = await job.persist(lambda: self._store(job, attempt, ending, error))
        except Exception:
            # Nobody else would ever end it, and its thread would take no other.
            logger.exception("What the run %s came to cannot be stored", job.id)
            attempt.raw.clear()
            if attempt.record is not None:
                attempt.record.leave()
            end = await job.persist(lambda: self._store(job, attempt, "failed", BROKEN))
        if attempt.record is not None:
            attempt.record.forget()
        if end is not None:
            events = attempt.events or RoundEvents(end.run)
            attempt.channel.send(events.end(end))

    async def _store(self, job: Job, attempt: _Attempt, ending: Ending, error: LastError | None) -> RoundEnd | None:
        run = attempt.run or await self._runs.by_id(job.id)
        if run is None:
            return None
        completion = of_stream(bytes(attempt.raw))
        if ending == "answered" and not completion.complete:
            ending, error = "failed", _told_error(completion)
        end = end_round(run, completion, ending, now_ms(), error)
        return end if await self._rounds.store(end, self._me) else None


def _told_error(completion: Completion) -> LastError:
    """What an engine said went wrong."""
    message = (completion.error or {}).get("message")
    return LastError("server_error", message) if isinstance(message, str) else BROKEN
