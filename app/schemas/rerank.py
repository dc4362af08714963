"""Documents in the order of their relevance to a query: the request that Cohere, Jina and vLLM share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from app.schemas.common import INT32_MAX, MAX_INPUTS, NonEmpty, example
from app.schemas.request import ParsedRequest, Request, accept, without

IGNORED = frozenset({"return_documents", "user"})


class RerankRequest(Request):
    """A query, and the documents to order by it."""

    model_config = example(
        {
            "model": "all-minilm-l6-v2",
            "query": "What is the capital of France?",
            "documents": ["Paris is the capital of France.", "Bread is baked."],
            "top_n": 1,
        }
    )

    query: NonEmpty = Field(description="What to look for.")
    documents: Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)] = Field(
        description="Texts to order, at most 2048."
    )
    top_n: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = Field(
        default=None, description="How many to return; 0 or nothing means all."
    )
    max_tokens_per_doc: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = Field(
        default=None, description="Cut documents to so many tokens; 0 means never."
    )
    return_documents: bool | None = Field(default=None, description="Ignored: documents are always returned.")
    user: str | None = Field(default=None, description="Accepted and ignored.")


def parse(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a rerank request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(RerankRequest, body)
    return ParsedRequest(request.model, without(fields, IGNORED))
