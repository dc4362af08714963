"""What the routes accept: the fields that a scripted engine looks at; it ignores the others."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from app.errors import InvalidJson, InvalidRequest

Json = dict[str, Any]
Count = Annotated[int, Meta(ge=1, le=2**31)]
Amount = Annotated[int, Meta(ge=0, le=2**31)]
Choices = Annotated[int, Meta(ge=1, le=128)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Stops = str | list[str] | None
TokenIds = list[int]
Request = TypeVar("Request", bound=Struct)


class StreamOptions(Struct):
    """How a stream ends."""

    include_usage: bool = False


class Generating(Struct, kw_only=True):
    """What all requests that generate text have."""

    model: str | None = None
    stream: bool | None = False
    seed: int | None = None


class OpenAIGenerating(Generating, kw_only=True):
    """What OpenAI's two routes have in common."""

    n: Choices | None = 1
    stop: Stops = None
    ignore_eos: bool | None = False
    min_tokens: Amount | None = 0
    include_stop_str_in_output: bool | None = False
    stream_options: StreamOptions | None = None


class ChatRequest(OpenAIGenerating, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Json], Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = True
    response_format: Json | None = None
    logprobs: bool | None = False
    top_logprobs: TopLogprobs | None = 0


class CompletionRequest(OpenAIGenerating, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[str | int | TokenIds]
    max_tokens: Amount | None = 16
    echo: bool | None = False
    logprobs: TopLogprobs | None = None


class MessagesRequest(Generating, kw_only=True):
    """POST /v1/messages and /v1/messages/count_tokens, Anthropic's."""

    messages: Annotated[list[Json], Meta(min_length=1)]
    max_tokens: Count | None = None
    system: str | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    stop_sequences: list[str] | None = None
    output_config: Json | None = None


class EmbeddingRequest(Struct, kw_only=True):
    """POST /v1/embeddings."""

    model: str | None = None
    input: str | list[str | int | TokenIds]
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] | None = "float"


class TokenizeRequest(Struct, kw_only=True):
    """POST /tokenize: a prompt or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Json] | None = None
    tools: list[Json] | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(Struct, kw_only=True):
    """POST /detokenize."""

    model: str | None = None
    tokens: TokenIds


class RerankRequest(Struct, kw_only=True):
    """POST /rerank."""

    model: str | None = None
    query: str
    documents: str | list[str]
    top_n: Amount | None = 0


class ScoreRequest(Struct, kw_only=True):
    """POST /score, in any of vLLM's four namings."""

    model: str | None = None
    text_1: Stops = None
    text_2: Stops = None
    queries: Stops = None
    documents: Stops = None
    items: Stops = None
    data_1: Stops = None
    data_2: Stops = None


def parse(body: bytes, kind: type[Request]) -> Request:
    """The request in a body.

    Raises:
        InvalidJson: It is not JSON.
        InvalidRequest: A field is missing or of the wrong type; ``param`` names it.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        missing = re.search(r"missing required field `(\w+)`", message)
        param = missing[1] if missing else place.rstrip("`").lstrip(".") or None
        raise InvalidRequest(f"{message}.", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(f"The body is not valid JSON: {str(error)[:200]}.") from None
