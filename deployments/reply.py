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
from deployments.slate.slate import Slate


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
    app: ASGIApp, request: EngineRequest, on_orphans: OnOrphans, slate: Slate
) -> AsyncGenerator[ReplyHead | bytes | Usage]:
    """Run one request.

    Args:
        app: The engine's application.
        request: It.
        on_orphans: Gets what it took where nobody listens any more.
        slate: Where it has its line.

    Raises:
        Exception: What the application raised.
    """
    call = engine_call(app, request)
    line = slate.line(request.account)
    told = False
    try:
        try:
            await call.start()
            line.begins(call.tally.usage)
            head = ReplyHead(call.status, call.content_type, await call.read())
            line.gave(call.tally.so_far)
            yield head
            while chunk := await call.read():
                line.gave(call.tally.so_far)
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
            line.ends(call.tally.usage, int(time.time() * 1000))
            if told:
                line.wipe()
            elif request.account:
                on_orphans([line])
