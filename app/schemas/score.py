"""How alike texts are, in pairs: vLLM's request, under either of its two pairs of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from app.errors import InvalidRequest
from app.schemas.common import MAX_INPUTS, NonEmpty, example, kind_of
from app.schemas.request import ParsedRequest, Request, accept, without

IGNORED = frozenset({"user"})

_PAIRS = (("text_1", "text_2"), ("queries", "documents"))

Texts = Annotated[
    Annotated[NonEmpty, Tag("~string")]
    | Annotated[list[NonEmpty], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message="a string or an array of strings"),
]


class ScoreRequest(Request):
    """One text against many, or as many against as many."""

    model_config = example(
        {
            "model": "all-minilm-l6-v2",
            "text_1": "What is the capital of France?",
            "text_2": ["Paris is the capital of France.", "Bread is baked."],
        }
    )

    text_1: Texts | None = Field(default=None, description="One text, or as many as in text_2.")
    text_2: Texts | None = Field(default=None, description="Texts to compare with it, at most 2048.")
    queries: Texts | None = Field(default=None, description="Another name of text_1.")
    documents: Texts | None = Field(default=None, description="Another name of text_2.")
    user: str | None = Field(default=None, description="Accepted and ignored.")


def parse(body: Mapping[str, Any]) -> ParsedRequest:
    """Check a score request's body and make the engine's payload of it.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, fields = accept(ScoreRequest, body)
    first, second = _pair(fields)
    lefts, rights = _count(fields[first]), _count(fields[second])
    if lefts not in (1, rights):
        raise InvalidRequest(
            f"`{first}` must hold one text or as many as `{second}` ({rights}), not {lefts}.", param=first
        )
    return ParsedRequest(request.model, without(fields, IGNORED))


def _count(texts: str | list[str]) -> int:
    return 1 if isinstance(texts, str) else len(texts)


def _pair(fields: Mapping[str, Any]) -> tuple[str, str]:
    given = [pair for pair in _PAIRS if pair[0] in fields or pair[1] in fields]
    if len(given) != 1:
        found = "not both" if given else "none is there"
        raise InvalidRequest(
            f"Give either `text_1` and `text_2` or `queries` and `documents`: {found}.",
            param="queries" if given else "text_1",
        )
    for name in given[0]:
        if name not in fields:
            raise InvalidRequest(f"`{name}` is required.", param=name)
    return given[0]
