"""A response that is worked on without its caller: begun here, or taken over from a process that died."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec

from app.domain.response import failed
from app.domain.stored_response import StoredResponse
from app.errors import (
    ApiError,
    AuthenticationFailed,
    DatabaseUnavailable,
    ModelNotFound,
    RateLimited,
    ServerError,
    ServiceUnavailable,
)
from app.schemas.request import ParsedRequest
from app.services import Services
from app.services.answers.keeping import Keeping
from app.services.engine_errors import error_of_refusal, is_refusal
from app.services.generation import generate
from app.services.inference import CHAT, Prepared, prepare
from app.services.jobs import Job, Why
from app.services.persist import persist
from app.services.responses.feeds import Feed
from app.services.responses.translation import BLANK, Told, Translation

TRIES, RETRY_S = 30, 2.0
"""How often, and after how long, one that was taken over is tried again: its model may be on its way up as well."""

BROKEN = "Work on this response failed on our side. Try again."

_NOW_AND_LATER = (RateLimited, ServiceUnavailable, ModelNotFound)


class Task(msgspec.Struct, frozen=True):
    """What is to be done, for whoever does it.

    Attributes:
        payload: What the engine is asked.
        key_id: The API key that it was asked for with.
    """

    keeping: Keeping
    payload: dict[str, Any]
    key_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return msgspec.to_builtins(self)


async def work(services: Services, job: Job, prepared: Prepared | None = None) -> None:
    """Work on a response to its end; see ``JobKind.run``.

    Args:
        services: This process's.
        job: The response's.
        prepared: What the engine is to be sent; None where that has yet to be let in.
    """
    responses = services.stores.responses
    response: StoredResponse | None = None
    try:
        response = await job.persist(lambda: responses.find(job.id))
        if response is not None and response.task is not None and not response.is_over:
            under_way = _Work(services, job, response, msgspec.convert(response.task, Task), prepared)
            prepared = None
            await under_way.do()
    except Exception:
        # Nobody else would ever end it.
        if (unfinished := response) is not None:
            lost = {**failed(unfinished.body, BROKEN, "server_error"), "status": "failed"}
            await job.persist(lambda: responses.finish(job.id, lost, runner=services.liveness.id))
        raise
    finally:
        if prepared is not None:
            prepared.abandon(ServerError(BROKEN))


class _Work:
    """One response, from here to its end."""

    def __init__(
        self, services: Services, job: Job, response: StoredResponse, task: Task, prepared: Prepared | None
    ) -> None:
        self._services = services
        self._stores = services.stores
        self._job = job
        self._response = response
        self._task = task
        self._prepared = prepared
        self._raw: list[bytes] = []
        self._feed: Feed | None = None

    async def do(self) -> None:
        """All of it."""
        async with AsyncExitStack() as stack:
            stack.callback(self._abandon)
            first = await self._job.persist(self._begin_anew) if self._response.attempt else 0
            translation = Translation(self._response.body, self._task.keeping.tail, first=first)
            if self._response.streams:
                feeding = self._services.responses.feeds.feeding(self._response, first)
                self._feed = await stack.enter_async_context(feeding)
            self._tell(translation.queue())
            try:
                end = await self._answer(translation)
            except asyncio.CancelledError:
                if self._job.why is not Why.CANCELLED:
                    raise
                self._job.go_on()
                end = translation.cancel()
            # The last event is what the stored response says: who reads the stream makes it of that.
            *others, _ = end.split(BLANK)[:-1]
            self._tell(b"".join(event + BLANK for event in others))
            await self._job.to_its_end(partial(self._store, translation))

    async def _answer(self, translation: Translation) -> bytes:
        """Have it answered; the last events."""
        if self._response.cancel or self._job.why is Why.CANCELLED:
            return translation.cancel()
        try:
            prepared = self._prepared or await self._prepare()
            self._prepared = None
            async with generate(prepared) as answer:
                if is_refusal(answer):
                    raise await error_of_refusal(answer)
                await self._begun(translation)
                told = Told(answer)
                async for chunk in told:
                    self._raw.append(chunk)
                    self._tell(translation.feed(chunk))
                end = translation.finish()
                if told.error is not None:
                    raise told.error
                return end
        except ApiError as error:
            return translation.fail(error)

    async def _begin_anew(self) -> int:
        """Forget what came of earlier attempts; the number of the next event."""
        response, stores = self._response, self._stores
        last = await stores.response_events.last_number(response.id)
        await stores.items.delete_answer(response.owner, response.id)
        return last + 1

    async def _begun(self, translation: Translation) -> None:
        """Have it known that the model is at it."""
        self._tell(translation.start(created=False))
        if self._response.attempt:
            await persist(lambda: self._stores.response_events.delete(self._response.id, self._response.attempt))
        # It is told in the stream, and matters to nobody once it is over.
        with contextlib.suppress(DatabaseUnavailable):
            await self._stores.responses.begin(self._response.id, self._runner, translation.response)

    async def _prepare(self) -> Prepared:
        """Have what was taken over let in, as what it was asked for by, under a request id of its own."""
        for _ in range(TRIES):
            try:
                return await self._let_in()
            except _NOW_AND_LATER:
                await asyncio.sleep(RETRY_S)
        return await self._let_in()

    async def _let_in(self) -> Prepared:
        services, task = self._services, self._task
        caller = await services.authenticator.recall(self._response.owner, task.key_id)
        if caller is None or "write" not in caller.scopes:
            raise AuthenticationFailed("Whoever asked for this may not ask for it any more.")
        state: dict[str, Any] = {"request_id": f"req_{secrets.token_hex(16)}"}
        await services.admission.admit(caller, state, inference=True)
        parsed = ParsedRequest(task.keeping.model, task.payload, stream=True, include_usage=True)
        return await prepare(services, caller, CHAT, parsed, state)

    async def _store(self, translation: Translation) -> None:
        """Store what came of it."""
        archive, response = self._services.responses, self._response
        keeping = msgspec.structs.replace(self._task.keeping, process=self._runner)
        if self._feed is not None:
            await self._feed.drained()

        async def keep() -> None:
            now = await self._stores.responses.find(response.id)
            if now is not None and now.runner == self._runner:
                archive.expect(keeping, translation)
                # A guest's may be an account's by now.
                theirs = msgspec.structs.replace(keeping, owner=now.owner, guest=False)
                await self._services.answers.keeper.keep(theirs, b"".join(self._raw))

        try:
            await persist(keep)
        finally:
            archive.forget(keeping)

    @property
    def _runner(self) -> str:
        return self._services.liveness.id

    def _tell(self, events: bytes) -> None:
        if self._feed is not None:
            self._feed.add(events)

    def _abandon(self) -> None:
        if self._prepared is not None:
            self._prepared.abandon(ServerError(BROKEN))
