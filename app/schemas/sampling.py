"""The parameters that chat and text completions share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from app.errors import InvalidRequest
from app.schemas.common import MAX_CHOICES, LogitBias, Penalty, Seed, Share, Stop, StreamOptions
from app.schemas.extras import VendorExtras
from app.schemas.request import ParsedRequest, Request

_LEAST_TOP_P = 1e-6


class Sampling(VendorExtras, Request):
    """How tokens are chosen, and how the answer comes."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="0 is deterministic.")
    top_p: Share | None = Field(default=None, description="Sample from the likeliest tokens up to this probability.")
    frequency_penalty: Penalty | None = Field(default=None, description="-2 to 2.")
    presence_penalty: Penalty | None = Field(default=None, description="-2 to 2.")
    logit_bias: LogitBias | None = Field(default=None, description="Token id to -100..100, at most 1024 of them.")
    seed: Seed | None = Field(default=None, description="The same seed gives the same answer, as far as possible.")
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(default=None, description="Answers, at most 8.")
    stop: Stop | None = Field(default=None, description="Up to 4 strings that end the answer.")
    stream: bool | None = Field(default=None, description="Answer in server-sent events as tokens are made.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with stream: true.")
    user: str | None = Field(default=None, description="Accepted and ignored.")


def finish(request: Sampling, payload: dict[str, Any]) -> ParsedRequest:
    """The checks across fields, and the payload's streaming fields as vLLM takes them.

    Raises:
        InvalidRequest: ``stream_options`` without ``stream``.
    """
    options = request.stream_options
    if options is not None and not request.stream:
        raise InvalidRequest("`stream_options` needs `stream` to be true.", param="stream_options")
    include_usage = bool(options and options.include_usage)
    payload.pop("stream_options", None)
    if include_usage:
        payload["stream_options"] = {"include_usage": True}
    if request.top_p == 0:
        # OpenAI takes 0 for "the likeliest token alone"; vLLM wants a positive number.
        payload["top_p"] = _LEAST_TOP_P
    return ParsedRequest(request.model, payload, stream=bool(request.stream), include_usage=include_usage)


def check_min_tokens(request: Sampling, limit: int | None, name: str) -> None:
    """Refuse a least length above the greatest, whose parameter is ``name``.

    Raises:
        InvalidRequest: It is.
    """
    if limit is not None and request.min_tokens is not None and request.min_tokens > limit:
        raise InvalidRequest(f"`min_tokens` must be at most `{name}` ({limit}).", param="min_tokens")
