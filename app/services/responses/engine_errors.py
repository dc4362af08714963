"""What an engine says went wrong in mid-stream, as our own errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.errors import ApiError, EngineCrashed, InvalidRequest, NotFound, RateLimited, ServerError, ServiceUnavailable

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
