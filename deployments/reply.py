"""What crosses the handle, replica to gateway, for a request whose bytes go that way.

The head, then bytes, behind the number of tokens that the answer has by then (``COUNT``), then what the request took;
where it failed, that comes before the error. A gateway that cancels hears nothing any more: then the replica reports
itself what it took. The handle has no way back for "it is on record", nor for "heard". So what a gateway was told is
brought where that is too which stands on dead replicas' slates, for the case that the gateway did not hear it, or dies.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from app.domain.usage import Usage
from app.services.asgi_call import ASGIApp
from app.services.backend import EngineRequest
from app.services.inprocess import engine_call
from deployments.link.unwritten import OnOrphans
from deployments.link.wire import COUNT
from deployments.slate.slate import Slate


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """How the answer begins.

    Attributes:
        first: The answer's first bytes.
        tokens: How many of its tokens these are.
    """

    status: int
    content_type: str
    first: bytes
    tokens: int


async def reply(
    app: ASGIApp, request: EngineRequest, on_orphans: OnOrphans, on_told: OnOrphans, slate: Slate
) -> AsyncGenerator[ReplyHead | bytes | Usage]:
    """Run one request.

    Args:
        app: The engine's application.
        request: It.
        on_orphans: Gets what it took where nobody listens any more.
        on_told: Gets what it took where somebody was told.
        slate: Where it has its line.

    Raises:
        Exception: What the application raised.
    """
    line = slate.line(request.account)
    call = engine_call(app, request, line.gave)
    told = False
    try:
        try:
            await call.start()
            line.begins(call.tally.usage)
            yield ReplyHead(call.status, call.content_type, await call.read(), call.tally.so_far)
            while chunk := await call.read():
                yield COUNT.pack(call.tally.so_far) + chunk
        except Exception:
            yield call.tally.usage
            told = True
            raise
        yield call.tally.usage
        told = True
    finally:
        try:
            await call.aclose()
        finally:
            line.ends(call.tally.usage, int(time.time() * 1000))
            if request.account:
                (on_told if told else on_orphans)([line])
