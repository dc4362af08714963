"""``engine_args`` of a scripted model: what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.model_spec import ModelSpec
from deployments.engines.base import EngineDead
from deployments.engines.scripted import ScriptedArgs, ScriptedEngine
from deployments.engines.scripted.args import DEFAULT_TEXT
from deployments.engines.scripted.tokens import pieces


def test_every_argument_is_described() -> None:
    assert [name for name, field in ScriptedArgs.model_fields.items() if not field.description] == []


def test_each_word_of_the_default_text_is_one_token() -> None:
    assert pieces(f" {DEFAULT_TEXT}") == [f" {word}" for word in DEFAULT_TEXT.split()]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"tokens_per_sec": 5}, "tokens_per_sec"),
        ({"ttft_s": -1}, "ttft_s"),
        ({"tokens_per_s": "fast"}, "tokens_per_s"),
        ({"default_tokens": 0}, "default_tokens"),
        ({"text": "  "}, "at least one word"),
        ({"die_on": ""}, "every prompt would hold it"),
        ({"die_before_first_token": True, "die_after_tokens": 3}, "contradict"),
        ({"die_once_file": "once"}, "does nothing without"),
    ],
)
def test_a_wrong_argument_is_named(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ScriptedArgs.model_validate(args)
    with pytest.raises(EngineDead, match=said):
        ScriptedEngine(ModelSpec(id="m", engine="scripted", engine_args=args))
