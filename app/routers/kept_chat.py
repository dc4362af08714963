"""Chat completions whose answers are kept, once for every ``Idempotency-Key``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from app.domain.principal import Principal
from app.routers.dependencies import services_of
from app.routers.idempotent import begin, replayed, trying
from app.schemas.request import ParsedRequest
from app.services.answers.chat import Asked, answer_kept


async def answer_and_keep(
    request: Request, caller: Principal, parsed: ParsedRequest, body: Mapping[str, Any]
) -> Response:
    """Answer and keep the answer, or answer what was answered the first time.

    Raises:
        ApiError: See ``answer_kept``, or the key is in use.
    """
    assert parsed.keep is not None, "an answer that is kept nowhere goes another way"
    services = services_of(request)
    attempt = await begin(request, caller, body)
    if attempt.replay is not None:
        return replayed(attempt.replay)
    # What becomes of the attempt once the engine has it is the journal's to say.
    async with trying(services.idempotency, attempt):
        return await answer_kept(services, Asked(caller, parsed, parsed.keep, request.scope["state"], attempt))
