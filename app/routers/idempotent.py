"""Requests that may be sent twice: ``return await once(request, caller, body, work)``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import Request, Response

from app.domain.principal import Principal
from app.errors import ApiError
from app.routers.dependencies import services_of
from app.services.idempotency import JSON, Attempt, Idempotency, Replay

HEADER = "idempotency-key"
REPLAYED = "idempotent-replayed"

Work = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Does what is asked for; gets the tail that the ids of all it makes have to have. A second time it changes nothing."""


async def once(request: Request, caller: Principal, body: Mapping[str, Any], work: Work) -> Response:
    """Do what is asked for, or answer what was answered the first time under the request's ``Idempotency-Key``.

    Raises:
        ApiError: What ``work`` raises, or the key is in use.
    """
    idempotency = services_of(request).idempotency
    attempt = await begin(request, caller, body)
    if attempt.replay is not None:
        return replayed(attempt.replay)
    async with trying(idempotency, attempt):
        answer = msgspec.json.encode(await work(attempt.tail))
    await idempotency.done(attempt, answer)
    return Response(answer, media_type=JSON)


async def begin(request: Request, caller: Principal, body: Mapping[str, Any]) -> Attempt:
    """A try at what is asked for.

    Raises:
        ApiError: See ``Idempotency.begin``.
    """
    key = request.headers.get(HEADER)
    asked = None if key is None else (request.method, request.scope["path"], dict(request.query_params), body)
    return await services_of(request).idempotency.begin(caller.subject, key, asked)


@asynccontextmanager
async def trying(idempotency: Idempotency, attempt: Attempt) -> AsyncGenerator[None]:
    """Whatever ends what is tried inside ends the attempt too.

    Raises:
        ApiError: What is raised inside.
    """
    try:
        yield
    except BaseException as error:
        refused = isinstance(error, ApiError) and error.status < 500
        # What was refused stored nothing.
        await (idempotency.forget if refused and not attempt.again else idempotency.failed)(attempt)
        raise


def replayed(replay: Replay) -> Response:
    """What was answered the first time."""
    return Response(replay.body, headers={REPLAYED: "true", "content-type": replay.content_type})
