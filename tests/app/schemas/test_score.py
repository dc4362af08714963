"""Scoring texts in pairs."""

from __future__ import annotations

from typing import Any

import pytest

from app.schemas import score
from tests.app.schemas.bodies import refusal


@pytest.mark.parametrize(("first", "second"), [("text_1", "text_2"), ("queries", "documents")])
@pytest.mark.parametrize(
    ("left", "right"), [("a", "b"), ("a", ["b", "c"]), (["a"], ["b", "c"]), (["a", "b"], ["c", "d"])]
)
def test_one_text_is_compared_with_many_or_many_with_as_many(first: str, second: str, left: Any, right: Any) -> None:
    body = {"model": "m", first: left, second: right}
    assert score.parse(body | {"user": "me"}).payload == body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "text_1"),
        ({"text_1": "a"}, "text_2"),
        ({"documents": "a"}, "queries"),
        ({"text_1": "a", "text_2": "b", "queries": "c", "documents": "d"}, "queries"),
        ({"text_1": "a", "documents": "b"}, "queries"),
        ({"text_1": ["a", "b"], "text_2": "c"}, "text_1"),
        ({"queries": ["a", "b"], "documents": ["c", "d", "e"]}, "queries"),
        ({"text_1": "", "text_2": "b"}, "text_1"),
        ({"text_1": "a", "text_2": []}, "text_2"),
        ({"text_1": "a", "text_2": [3]}, "text_2[0]"),
        ({"text_1": "a", "text_2": ["b"] * 2049}, "text_2"),
        ({"data_1": "a", "data_2": "b"}, "data_1"),
    ],
)
def test_other_requests_are_refused(fields: dict[str, Any], param: str) -> None:
    assert refusal(score.parse, {"model": "m"} | fields).param == param
