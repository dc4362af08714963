"""The request models describe the API: every field has a description, every model an example that passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.schemas import anthropic, chat, completions, embeddings, rerank, score, tokenize
from app.schemas.request import ParsedRequest, Request

MODELS: list[tuple[type[Request], Callable[[dict[str, Any]], ParsedRequest]]] = [
    (chat.ChatRequest, chat.parse),
    (completions.CompletionRequest, completions.parse),
    (embeddings.EmbeddingRequest, embeddings.parse),
    (tokenize.TokenizeRequest, tokenize.parse),
    (tokenize.DetokenizeRequest, tokenize.parse_detokenize),
    (rerank.RerankRequest, rerank.parse),
    (score.ScoreRequest, score.parse),
    (anthropic.MessagesRequest, anthropic.parse),
    (anthropic.CountTokensRequest, anthropic.parse_count_tokens),
]


@pytest.mark.parametrize(("model", "parse"), MODELS)
def test_the_example_passes(model: type[Request], parse: Callable[[dict[str, Any]], ParsedRequest]) -> None:
    schema = model.model_json_schema()
    (example,) = schema["examples"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(example)
    assert parse(example).model in ("smollm2-135m-instruct", "all-minilm-l6-v2")


@pytest.mark.parametrize(("model", "parse"), MODELS)
def test_every_parameter_is_described(model: type[Request], parse: Callable[[dict[str, Any]], ParsedRequest]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
