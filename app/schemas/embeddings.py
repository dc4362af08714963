"""Embeddings: OpenAI's request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.schemas.common import INT32_MAX, MAX_INPUTS, NonEmpty, Tokens, example, kind_of_input
from app.schemas.request import ParsedRequest, Request, accept, without

IGNORED = frozenset({"user"})

_Many = Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)

Input = Annotated[
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


class EmbeddingRequest(Request):
    """Texts to turn into vectors."""

    model_config = example({"model": "all-minilm-l6-v2", "input": ["The food was delicious.", "The waiter was kind."]})

    input: Input = Field(description="Text or token ids; up to 2048 of them, none empty.")
    encoding_format: Literal["float", "base64"] | None = Field(default=None, description="Numbers, or packed floats.")
    dimensions: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = Field(
        default=None, description="Length of the vectors, for models that can shorten them."
    )
    user: str | None = Field(default=None, description="Accepted and ignored.")


def parse(body: Mapping[str, Any]) -> ParsedRequest:
    """Check an embedding request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(EmbeddingRequest, body)
    return ParsedRequest(request.model, without(fields, IGNORED))
