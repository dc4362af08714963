"""Text to tokens and back."""

from __future__ import annotations

from typing import Any

import pytest

from app.schemas import tokenize
from tests.app.schemas.bodies import QUESTION, WEATHER, chat_body, refusal


def test_a_text_goes_on_as_it_came() -> None:
    body = {"model": "m", "prompt": "", "add_special_tokens": False, "return_token_strs": True}
    assert tokenize.parse(body).payload == body


def test_a_conversation_goes_on_as_in_chat() -> None:
    body = chat_body(messages=[{"role": "developer", "content": "x"}, QUESTION], tools=[WEATHER])
    parsed = tokenize.parse(body | {"add_generation_prompt": False})
    assert parsed.payload["messages"] == [{"role": "system", "content": "x"}, QUESTION]
    assert parsed.payload["tools"] == [WEATHER]
    assert parsed.payload["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "prompt"),
        ({"prompt": "x"}, "model"),
        ({"model": "m", "prompt": ["x"]}, "prompt"),
        (chat_body(prompt="x"), "messages"),
        ({"model": "m", "prompt": "x", "tools": [WEATHER]}, "tools"),
        ({"model": "m", "prompt": "x", "add_generation_prompt": True}, "add_generation_prompt"),
        (chat_body(chat_template="{{ x }}"), "chat_template"),
        (chat_body(chat_template_kwargs={}), "chat_template_kwargs"),
        (chat_body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type"),
    ],
)
def test_other_requests_are_refused(body: dict[str, Any], param: str) -> None:
    assert refusal(tokenize.parse, body).param == param


def test_tokens_become_text() -> None:
    body = {"model": "m", "tokens": [0, 1, 2**31 - 1]}
    assert tokenize.parse_detokenize(body).payload == body
    assert tokenize.parse_detokenize({"model": "m", "tokens": []}).payload["tokens"] == []


@pytest.mark.parametrize(
    ("tokens", "param"),
    [
        (None, "tokens"),
        ("1", "tokens"),
        ([-1], "tokens[0]"),
        ([1, 2**31], "tokens[1]"),
        ([True], "tokens[0]"),
        ([0] * (tokenize.MAX_TOKENS + 1), "tokens"),
    ],
)
def test_other_tokens_are_refused(tokens: Any, param: str) -> None:
    assert refusal(tokenize.parse_detokenize, {"model": "m", "tokens": tokens}).param == param
