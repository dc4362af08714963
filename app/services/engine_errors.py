"""What an engine says went wrong, in mid-stream or in place of a stream, as our own errors."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.errors import ApiError, EngineCrashed, InvalidRequest, NotFound, RateLimited, ServerError, ServiceUnavailable
from app.schemas.json_body import is_object
from app.services.backend import EngineResponse
from app.services.relay import SSE

_KINDS: Final[dict[str, type[ApiError]]] = {
    kind.type: kind for kind in (InvalidRequest, NotFound, RateLimited, ServiceUnavailable)
}


def error_of(error: Mapping[str, Any]) -> ApiError:
    """The error in OpenAI's ``{"message", "type", "param", "code"}``; whatever is odd in it is the engine's fault."""
    message = error.get("message")
    message = message if isinstance(message, str) and message else "The engine failed while working on this request."
    code, param = (value if isinstance(value, str) else None for value in (error.get("code"), error.get("param")))
    if code == EngineCrashed.default_code:
        return EngineCrashed(message)
    kind = _KINDS.get(str(error.get("type")), ServerError)
    failure = kind(message, code=code)
    failure.param = param
    return failure


def error_in(body: bytes) -> ApiError:
    """The error that a whole answer is: ``{"error": {...}}``."""
    said: Any = None
    with contextlib.suppress(msgspec.MsgspecError):
        said = msgspec.json.decode(body)
    error = said.get("error") if is_object(said) else None
    return error_of(error if is_object(error) else {})


def is_refusal(answer: EngineResponse) -> bool:
    """Whether an engine that was asked for a stream answered something else."""
    return answer.status >= 400 or not answer.content_type.startswith(SSE)


async def error_of_refusal(answer: EngineResponse) -> ApiError:
    """What an engine says that does not even begin."""
    return error_in(b"".join([part async for part in answer]))
