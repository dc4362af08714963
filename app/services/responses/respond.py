"""One response, in the order things happen."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from app.domain.principal import Principal
from app.domain.stored_response import StoredResponse
from app.errors import InvalidRequest
from app.schemas.responses import ParsedResponse
from app.services import Services
from app.services.answers.kept import Kept
from app.services.answers.record import Record
from app.services.backend import EngineResponse
from app.services.engine_errors import error_in
from app.services.idempotency import JSON, Attempt
from app.services.inference import CHAT, OUTPUT_CAPS, Prepared, able, prepare
from app.services.relay import EVENT_STREAM, Relay, event_stream
from app.services.responses.background import work
from app.services.responses.beginning import Beginning, begin, is_stored
from app.services.responses.plan import Plan, plan_of
from app.services.responses.retelling import stream_of
from app.services.responses.translation import Told, Translated, Translation


async def respond(
    services: Services, caller: Principal, asked: ParsedResponse, attempt: Attempt, state: dict[str, Any]
) -> Response:
    """Turn a checked request into what answers it.

    Args:
        services: This process's.
        caller: Who asks.
        asked: What for.
        attempt: Under which it is made.
        state: The request's state; gets ``model`` for the log line.

    Raises:
        ApiError: It cannot be answered, or not now.
    """
    earlier = await services.stores.responses.get(caller.subject, f"resp_{attempt.tail}") if attempt.again else None
    if earlier is not None and (earlier.background or earlier.is_answered):
        # It came to its end, and only could not say so.
        return await _told_again(services, earlier, asked, attempt)
    entry = able(services, caller, CHAT, asked.model, state)
    if is_stored(caller, asked) or asked.conversation is not None:
        services.answers.journal.check_room()
    if asked.background:
        await services.responses.background.check_room(caller.subject)
    plan = await plan_of(services, caller, entry, asked)
    prepared = await _let_in(services, caller, plan, state)
    try:
        beginning = await begin(services, caller, asked, plan, attempt, earlier)
    except BaseException as error:
        prepared.abandon(error)
        raise
    if asked.background:
        response = beginning.response
        services.responses.background.begin(response.id, partial(work, services, prepared=prepared))
        return await _told_again(services, response, asked, attempt)
    return _Foreground(services, asked, beginning, prepared, attempt).relay()


async def _let_in(services: Services, caller: Principal, plan: Plan, state: dict[str, Any]) -> Prepared:
    try:
        return await prepare(services, caller, CHAT, plan.request, state)
    except InvalidRequest as error:
        if error.param in OUTPUT_CAPS:
            # The caller knows it by another name.
            message = error.message.replace(error.param, "max_output_tokens")
            raise InvalidRequest(message, param="max_output_tokens", code=error.code) from None
        raise


def events_behind(services: Services, response: StoredResponse, after: int) -> Response:
    """The events of a response in the background behind a number, as they come."""
    keepalive_s = services.settings.stream_keepalive_s
    events = services.responses.feeds.read(response.owner, response.id, after, keepalive_s)
    return event_stream(events)


async def _told_again(
    services: Services, response: StoredResponse, asked: ParsedResponse, attempt: Attempt
) -> Response:
    if response.streams:
        # Its events are there for whoever asks again: what they were is not kept a second time.
        await services.idempotency.failed(attempt)
        return events_behind(services, response, -1)
    content_type = EVENT_STREAM if asked.stream else JSON
    body = stream_of(response) if asked.stream else msgspec.json.encode(response.body)
    await services.idempotency.done(attempt, body, content_type)
    return Response(body, media_type=content_type)


class _Foreground:
    """A response whose caller waits for it."""

    def __init__(
        self,
        services: Services,
        asked: ParsedResponse,
        beginning: Beginning,
        prepared: Prepared,
        attempt: Attempt,
    ) -> None:
        self._services = services
        self._archive = services.responses
        self._stream = asked.stream
        self._response = beginning.response
        self._is_stored = beginning.is_stored
        self._keeping = beginning.keeping
        self._inputs = beginning.inputs
        self._prepared = prepared
        self._attempt = attempt
        self._translation = Translation(beginning.response.body, attempt.tail)
        self._told = False

    def relay(self) -> Relay:
        """What answers the request."""
        return Relay(
            self._fetch,
            stream=self._stream,
            keepalive_s=self._services.settings.stream_keepalive_s,
            last_words=self._last_words,
            watch=self._prepared.metered,
        )

    async def _fetch(self) -> EngineResponse:
        record = None
        try:
            answer = await self._prepared.fetch()
            told = Told(answer)
            if self._keeping is None:
                return self._translated(told, told)
            record = self._services.answers.journal.open(self._keeping)
            if self._is_stored:
                self._archive.expect(self._keeping, self._translation)
            return self._translated(Kept(told, record, undo=self._undo), told)
        except BaseException:
            await self._never_began(record)
            raise

    def _translated(self, answer: EngineResponse, told: Told) -> EngineResponse:
        on_end = None if self._attempt.id is None else self._on_end
        return Translated(answer, told, self._translation, stream=self._stream, on_end=on_end, on_close=self._on_close)

    async def _never_began(self, record: Record | None) -> None:
        """Nothing came, and nobody was told of the response."""
        if record is not None:
            record.forget()
        # Before the next try may begin: what that stores has the same ids.
        await self._undo()
        await self._services.idempotency.failed(self._attempt)

    async def _undo(self) -> None:
        """The engine refused it, or never had it."""
        if self._keeping is not None:
            self._archive.forget(self._keeping)
            await self._archive.undo(self._response, self._inputs)

    async def _on_end(self, body: bytes) -> None:
        self._told = True
        await self._services.idempotency.done(self._attempt, body, EVENT_STREAM if self._stream else JSON)

    async def _on_close(self) -> None:
        if self._keeping is not None:
            self._archive.closed(self._keeping)
        if not self._told:
            await self._services.idempotency.failed(self._attempt)

    def _last_words(self, error: bytes) -> bytes:
        """The end of a stream that has begun, and of which nothing came."""
        return self._translation.start() + self._translation.fail(error_in(error))
