"""What crosses the handle, replica to gateway, for a request whose bytes go that way.

The head, then bytes, then what the request took; where it failed, that comes before the error. A gateway that cancels
hears nothing any more: then, and only then, the replica reports what it took itself. The handle has no way back for
"it is on record", so a gateway that dies between the last message and its own record leaves nobody who knows.
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
from deployments.reports import Orphan


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """How the answer begins.

    Attributes:
        first: The answer's first bytes.
    """

    status: int
    content_type: str
    first: bytes


async def reply(
    app: ASGIApp, request: EngineRequest, on_orphans: OnOrphans
) -> AsyncGenerator[ReplyHead | bytes | Usage]:
    """Run one request.

    Args:
        app: The engine's application.
        request: It.
        on_orphans: Gets what it took where nobody listens any more.

    Raises:
        Exception: What the application raised.
    """
    call = engine_call(app, request)
    told = False
    try:
        try:
            await call.start()
            yield ReplyHead(call.status, call.content_type, await call.read())
            while chunk := await call.read():
                yield chunk
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
            if request.account and not told:
                on_orphans([Orphan(request.account, call.tally.usage, int(time.time() * 1000))])
