"""Embeddings."""

from __future__ import annotations

from typing import Any

import pytest

from app.schemas import embeddings
from tests.app.schemas.bodies import refusal


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "all-minilm-l6-v2", "input": "The food was delicious."} | changes


@pytest.mark.parametrize("value", ["x", ["x", "y"], ["x"] * 2048, [1, 2], [[1], [2, 3]]])
def test_input_is_text_or_tokens_one_or_many(value: Any) -> None:
    assert embeddings.parse(body(input=value)).payload == body(input=value)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("", "input"),
        ([], "input"),
        (["x", ""], "input[1]"),
        ([[]], "input[0]"),
        (["x"] * 2049, "input"),
        ([{"role": "user", "content": "x"}], "input[0]"),
        ([-1], "input[0]"),
        (None, "input"),
    ],
)
def test_other_inputs_are_refused(value: Any, param: str) -> None:
    assert refusal(embeddings.parse, body(input=value)).param == param


def test_options_are_passed_on_and_the_user_is_not() -> None:
    options = {"encoding_format": "base64", "dimensions": 128}
    assert embeddings.parse(body(user="me", **options)).payload == body(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoding_format", "int8"),
        ("dimensions", 0),
        ("dimensions", "8"),
        ("messages", []),
        ("truncate_prompt_tokens", 1),
    ],
)
def test_other_options_are_refused(name: str, value: Any) -> None:
    assert refusal(embeddings.parse, body(**{name: value})).param == name
