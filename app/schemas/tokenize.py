"""Text to token ids and back: vLLM's requests, without what reaches into its templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from app.errors import InvalidRequest
from app.schemas.common import TokenId, example
from app.schemas.messages import Messages, for_engine
from app.schemas.request import ParsedRequest, Request, accept, exactly_one
from app.schemas.tools import Tools

MAX_TOKENS = 262_144


class TokenizeRequest(Request):
    """A text, or a conversation, to count and cut into tokens."""

    model_config = example({"model": "smollm2-135m-instruct", "prompt": "Hello, world!"})

    prompt: str | None = Field(default=None, description="The text; or give messages.")
    messages: Messages | None = Field(default=None, description="A conversation, put through the chat template.")
    tools: Tools | None = Field(default=None, description="Tools that the chat template shows; with messages only.")
    add_generation_prompt: bool | None = Field(
        default=None, description="End with the start of an answer, as chat does; with messages only."
    )
    add_special_tokens: bool | None = Field(default=None, description="Add tokens such as the one for the beginning.")
    return_token_strs: bool | None = Field(default=None, description="Also return each token's text.")


class DetokenizeRequest(Request):
    """Token ids to turn into text."""

    model_config = example({"model": "smollm2-135m-instruct", "tokens": [19556, 28, 905, 17]})

    tokens: Annotated[list[TokenId], Field(max_length=MAX_TOKENS, fail_fast=True)] = Field(
        description="Token ids, at most 262144."
    )


def parse(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a tokenize request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(TokenizeRequest, body)
    source = exactly_one(fields, ("prompt", "messages"), "Give either a `prompt` or `messages`")
    if source == "messages":
        return ParsedRequest(request.model, fields | {"messages": for_engine(request.messages or ())})
    for name in ("tools", "add_generation_prompt"):
        if name in fields:
            raise InvalidRequest(f"`{name}` needs `messages`, not a `prompt`.", param=name)
    return ParsedRequest(request.model, fields)


def parse_detokenize(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a detokenize request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(DetokenizeRequest, body)
    return ParsedRequest(request.model, fields)
