"""One request to a model whose answer is read in this process, by a job or on its way into another form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.domain.usage import UsageStatus
from app.errors import ApiError, ServerError
from app.services.backend import EngineResponse
from app.services.inference import Prepared, Wrap
from app.services.metering import MeteredRequest
from app.services.relay import SSE, is_last


@asynccontextmanager
async def generate(prepared: Prepared, wrap: Wrap | None = None) -> AsyncGenerator[EngineResponse]:
    """The answer to what is prepared: ``async with generate(prepared) as answer``.

    Its usage is written down as a caller's is: completed if it was read to its end, and left if its reader was
    cancelled.

    Args:
        prepared: Is sent.
        wrap: Gets the answer first.

    Raises:
        ApiError: See ``ModelBackend.send``; in the middle of the answer its iteration raises.
    """
    metered, answer = prepared.metered, None
    outcome: UsageStatus = "failed"
    http_status = ServerError.status
    try:
        answer = _Watched(await prepared.fetch(), metered)
        http_status = answer.status
        metered.answered(http_status)
        wrapped = answer if wrap is None else wrap(answer)
        try:
            yield wrapped
        finally:
            await wrapped.aclose()
        if http_status < 400:
            outcome = "completed" if answer.complete else "client_left"
    except ApiError as error:
        http_status = http_status if answer is not None else error.status
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "client_left"
        raise
    finally:
        metered.over(outcome, http_status)


class _Watched:
    """An answer of which is known whether it came to its end."""

    def __init__(self, inner: EngineResponse, metered: MeteredRequest) -> None:
        self.status = inner.status
        self.content_type = inner.content_type
        self.complete = False
        self._inner = inner
        self._metered = metered

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        chunk = b""
        async for chunk in self._inner:
            self._metered.events += chunk.count(b"\n\n")
            # Whoever reads it may stop at the last event.
            self.complete = is_last(chunk)
            yield chunk
        self.complete = self.complete or not self.content_type.startswith(SSE)

    async def aclose(self) -> None:
        """Stop the work behind it."""
        await self._inner.aclose()
