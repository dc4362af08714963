"""Text completions: OpenAI's older request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas.common import INT32_MAX, MAX_TOP_LOGPROBS, NonEmpty, Tokens, example, kind_of_input
from app.schemas.request import NO_EXTRAS, ParsedRequest, accept, without
from app.schemas.sampling import Sampling, check_min_tokens, finish

MAX_PROMPTS = 16
IGNORED = frozenset({"best_of", "user"})

_Many = Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)

Prompt = Annotated[
    Annotated[NonEmpty, Tag("~string")]
    | Annotated[list[NonEmpty], _Many, Tag("~strings")]
    | Annotated[Tokens, Tag("~tokens")]
    | Annotated[list[Tokens], _Many, Tag("~token_lists")],
    Discriminator(
        kind_of_input,
        custom_error_type="kind",
        custom_error_message="a string, an array of strings, an array of token ids or an array of such arrays",
    ),
]


class CompletionRequest(Sampling):
    """A text to continue."""

    model_config = example({"model": "smollm2-135m-instruct", "prompt": "The meaning of life is", "max_tokens": 50})

    prompt: Prompt = Field(description="Text or token ids to continue; up to 16 of them.")
    suffix: str | None = Field(default=None, description="What follows the completion, for models that can insert.")
    max_tokens: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = Field(
        default=None, description="Most tokens to generate, 16 by default; 0 only with echo."
    )
    echo: bool | None = Field(default=None, description="Return the prompt before the completion.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        default=None, description="Likeliest tokens to list at each position, at most 20."
    )
    best_of: int | None = Field(default=None, description="Must equal n: all candidates are returned.")


def parse(body: Mapping[str, Any], *, extras: frozenset[str] = NO_EXTRAS) -> ParsedRequest:
    """Check a text completion's body and make the engine's payload of it.

    Args:
        body: The caller's JSON object.
        extras: The vendor extras that this installation allows.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(CompletionRequest, body, extras=extras)
    if request.best_of is not None and request.best_of != (request.n or 1):
        # vLLM no longer ranks candidates, and would ignore the field.
        raise UnsupportedParameter("`best_of` must equal `n`: candidates are not ranked here.", param="best_of")
    if request.max_tokens == 0 and not request.echo:
        raise InvalidRequest("`max_tokens` must be at least 1, or `echo` true.", param="max_tokens")
    if request.suffix is not None and request.echo:
        raise InvalidRequest("`suffix` and `echo` cannot be used together.", param="suffix")
    check_min_tokens(request, request.max_tokens, "max_tokens")
    return finish(request, without(fields, IGNORED))
