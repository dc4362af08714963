"""Text completions."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import UnsupportedParameter
from tests.app.schemas.bodies import parse_completion, refusal


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "The meaning of life is"} | changes


@pytest.mark.parametrize("prompt", ["x", ["x"], ["x"] * 16, [0], [1, 2, 2**31 - 1], [[1], [2, 3]], [[1]] * 16])
def test_a_prompt_is_text_or_tokens_one_or_many(prompt: Any) -> None:
    assert parse_completion(body(prompt=prompt)).payload == body(prompt=prompt)


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (None, "prompt"),
        ("", "prompt"),
        ([], "prompt"),
        ({}, "prompt"),
        (3, "prompt"),
        ([""], "prompt[0]"),
        (["x", 1], "prompt[1]"),
        ([1, "x"], "prompt[1]"),
        ([-1], "prompt[0]"),
        ([2**31], "prompt[0]"),
        ([True], "prompt[0]"),
        ([1.0], "prompt[0]"),
        ([[]], "prompt[0]"),
        ([[1], ["x"]], "prompt[1][0]"),
        (["x"] * 17, "prompt"),
        ([[1]] * 17, "prompt"),
    ],
)
def test_other_prompts_are_refused(prompt: Any, param: str) -> None:
    assert refusal(parse_completion, body(prompt=prompt)).param == param


def test_the_prompt_is_required() -> None:
    assert refusal(parse_completion, {"model": "m"}).param == "prompt"


def test_the_user_is_not_passed_on() -> None:
    assert parse_completion(body(user="me")).payload == body()


def test_best_of_must_not_ask_for_a_ranking() -> None:
    assert parse_completion(body(best_of=1)).payload == body()
    assert parse_completion(body(best_of=3, n=3)).payload == body(n=3)
    for changes in ({"best_of": 3}, {"best_of": 3, "n": 2}, {"best_of": 0}):
        error = refusal(parse_completion, body(**changes))
        assert isinstance(error, UnsupportedParameter)
        assert error.param == "best_of"


def test_no_tokens_are_made_only_to_echo() -> None:
    assert parse_completion(body(max_tokens=0, echo=True)).payload == body(max_tokens=0, echo=True)
    assert refusal(parse_completion, body(max_tokens=0)).param == "max_tokens"


def test_a_suffix_excludes_an_echo() -> None:
    assert parse_completion(body(suffix="!")).payload == body(suffix="!")
    assert refusal(parse_completion, body(suffix="!", echo=True)).param == "suffix"


@pytest.mark.parametrize(
    ("name", "value"), [("logprobs", 21), ("logprobs", -1), ("logprobs", True), ("echo", 1), ("max_tokens", -1)]
)
def test_values_out_of_range_are_refused(name: str, value: Any) -> None:
    assert refusal(parse_completion, body(**{name: value})).param == name


@pytest.mark.parametrize("name", ["messages", "tools", "response_format", "prompt_embeds", "top_logprobs"])
def test_what_belongs_elsewhere_is_unknown_here(name: str) -> None:
    error = refusal(parse_completion, body(**{name: 1}))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == name
