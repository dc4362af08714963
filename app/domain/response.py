"""Response objects: what the Responses API answers, with every field that it may ever have always there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

Json = dict[str, Any]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]

OVER: Final = frozenset(("completed", "incomplete", "failed", "cancelled"))
"""The statuses that a response never leaves."""

NO_USAGE: Final[Mapping[str, Any]] = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
"""OpenAI's schema has no null here: what nothing is known of counts as nothing."""

ERROR_CODES: Final = frozenset(("server_error", "rate_limit_exceeded", "invalid_prompt"))
"""Of those that OpenAI's schema knows, the ones that we have a use for."""


def new_response(id_: str, created_at: int, shown: Mapping[str, Any], status: Status = "in_progress") -> Json:
    """A response that nothing came of yet.

    Args:
        id_: Its id.
        created_at: Unix seconds.
        shown: What it repeats of its request: ``ParsedResponse.shown``.
        status: ``queued`` or ``in_progress``.
    """
    return {
        "id": id_,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": status,
        "error": None,
        "incomplete_details": None,
        **shown,
        "output": [],
        "usage": NO_USAGE,
    }


def ended(response: Mapping[str, Any], status: Status, output: Sequence[Json], completed_at: int) -> Json:
    """The response once it is over; it has an end in time only where it came to one."""
    at = completed_at if status == "completed" else None
    return {**response, "status": status, "output": list(output), "completed_at": at}


def incomplete(response: Mapping[str, Any], reason: IncompleteReason) -> Json:
    """The response with why it is not all there."""
    return {**response, "incomplete_details": {"reason": reason}}


def failed(response: Mapping[str, Any], message: str, code: str | None, status: int = 500) -> Json:
    """The response with why it failed.

    Args:
        response: It.
        message: In words.
        code: Of the error.
        status: What the error's HTTP status would be: it tells whose fault it was where the code is none of OpenAI's.
    """
    if code not in ERROR_CODES:
        code = "invalid_prompt" if 400 <= status < 500 else "server_error"
    return {**response, "error": {"code": code, "message": message}}


def usage_of(usage: Mapping[str, Any]) -> Json:
    """A chat completion's usage as a response has it."""
    read = usage.get("prompt_tokens") or 0
    written = usage.get("completion_tokens") or 0
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }


def _detail(usage: Mapping[str, Any], details: str, name: str) -> int:
    found: Mapping[str, Any] = usage.get(details) or {}
    return found.get(name) or 0
