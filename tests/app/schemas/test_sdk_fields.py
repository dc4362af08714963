"""Whatever the official SDKs can send is forwarded, ignored or refused by name: nothing falls between."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams
from openai.types.embedding_create_params import EmbeddingCreateParams

from app.errors import UnsupportedParameter
from app.schemas import anthropic, chat, completions, embeddings
from app.schemas.extras import VENDOR_EXTRAS
from app.schemas.request import Request
from tests.app.schemas.bodies import Parse, anthropic_body, chat_body, refusal

ROUTES: list[tuple[type, type[Request], dict[str, str], Parse, dict[str, Any]]] = [
    (ChatParams, chat.ChatRequest, chat.REFUSED, chat.parse, chat_body()),
    (CompletionParams, completions.CompletionRequest, {}, completions.parse, {"model": "m", "prompt": "x"}),
    (EmbeddingCreateParams, embeddings.EmbeddingRequest, {}, embeddings.parse, {"model": "m", "input": "x"}),
    (
        MessageCreateParamsBase,
        anthropic.MessagesRequest,
        anthropic.REFUSED,
        anthropic.parse,
        anthropic_body(),
    ),
    (
        MessageCountTokensParams,
        anthropic.CountTokensRequest,
        anthropic.REFUSED,
        anthropic.parse_count_tokens,
        chat_body(),
    ),
]


@pytest.mark.parametrize(("params", "request_", "refused", "parse", "body"), ROUTES)
def test_every_field_of_the_sdk_is_known(
    params: type, request_: type[Request], refused: dict[str, str], parse: Parse, body: dict[str, Any]
) -> None:
    fields = set(params.__annotations__)
    assert "model" in fields
    assert fields - request_.known - set(refused) == set()


@pytest.mark.parametrize(("params", "request_", "refused", "parse", "body"), ROUTES)
def test_a_refused_field_is_named(
    params: type, request_: type[Request], refused: dict[str, str], parse: Parse, body: dict[str, Any]
) -> None:
    for name in refused:
        error = refusal(parse, body | {name: {}})
        assert isinstance(error, UnsupportedParameter)
        assert error.param == name


def test_a_field_is_either_forwarded_or_ignored_or_refused() -> None:
    assert chat.ChatRequest.known.isdisjoint(chat.REFUSED)
    assert chat.ChatRequest.known > chat.IGNORED
    assert chat.IGNORED.isdisjoint(VENDOR_EXTRAS)
    assert completions.CompletionRequest.known > completions.IGNORED
    assert embeddings.EmbeddingRequest.known > embeddings.IGNORED
    assert anthropic.MessagesRequest.known.isdisjoint(anthropic.REFUSED)
    assert anthropic.MessagesRequest.known > anthropic.IGNORED
