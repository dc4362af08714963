"""Tokenize and detokenize are vLLM's, and agree with what requests are billed, on every engine."""

from __future__ import annotations

import pytest

from app.services.asgi_call import ASGIApp
from deployments.engines.base import Engine
from tests.contract.calls import post, user

TEXTS = ("The manta is a ray.", "  two  spaces\n\tand a tab ", "Größe, 東京, 🐟!", "")


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_comes_back(engine_app: ASGIApp, text: str) -> None:
    told = (await post(engine_app, "/tokenize", {"prompt": text, "add_special_tokens": False})).json
    assert told["count"] == len(told["tokens"])
    assert (await post(engine_app, "/detokenize", {"tokens": told["tokens"]})).json == {"prompt": text}


async def test_the_context_is_told(engine: Engine, engine_app: ASGIApp) -> None:
    told = (await post(engine_app, "/tokenize", {"prompt": "x"})).json
    assert told["max_model_len"] == engine.max_model_len
    assert "token_strs" not in told


async def test_token_texts_come_where_asked_for(engine_app: ASGIApp) -> None:
    told = (await post(engine_app, "/tokenize", {"prompt": "The manta", "return_token_strs": True})).json
    assert len(told["token_strs"]) == told["count"]


async def test_counts_agree_with_usage(engine_app: ASGIApp) -> None:
    chat = {"messages": user("How many fish are there in the sea?")}
    counted = (await post(engine_app, "/tokenize", chat)).json["count"]
    answer = (await post(engine_app, "/v1/chat/completions", chat | {"max_tokens": 1})).json
    assert answer["usage"]["prompt_tokens"] == counted
    counted = (await post(engine_app, "/tokenize", {"prompt": "How many fish?"})).json["count"]
    answer = (await post(engine_app, "/v1/completions", {"prompt": "How many fish?", "max_tokens": 1})).json
    assert answer["usage"]["prompt_tokens"] == counted
