"""What an engine says in one event of a chat's stream, as far as anybody here reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

Json = dict[str, Any]


class FunctionDelta(msgspec.Struct):
    """More of a call: its name, which comes first, or of its arguments."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    """More of one of the calls."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct):
    """More of an answer; engines have either name for what a model thinks."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class Logprobs(msgspec.Struct):
    """Of the tokens of a delta."""

    content: list[Json] | None = None
    refusal: list[Json] | None = None


class ChunkChoice(msgspec.Struct):
    """More of one of the answers; ``message`` is the whole of it, where it does not come as a stream."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Chunk(msgspec.Struct):
    """An event of a stream, or a whole answer: both have what is read here at the same places."""

    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    choices: list[ChunkChoice] = []
    usage: Json | None = None
    error: Json | None = None


_decode: Final = msgspec.json.Decoder(Chunk).decode


def decoded(data: bytes) -> Chunk | None:
    """What stands behind ``data:``; None if it is no chunk."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def shown_logprobs(rows: Iterable[Mapping[str, Any]] | None) -> list[Json]:
    """Log probabilities as items of an answer show them."""
    return [
        {**_row(row), "top_logprobs": [_row(other) for other in row.get("top_logprobs") or ()]} for row in rows or ()
    ]


def _row(row: Mapping[str, Any]) -> Json:
    token = row.get("token") or ""
    spelt = row.get("bytes")
    return {"token": token, "logprob": row.get("logprob"), "bytes": list(token.encode()) if spelt is None else spelt}
