"""Reranking."""

from __future__ import annotations

from typing import Any

import pytest

from app.schemas import rerank
from tests.app.schemas.bodies import refusal


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "all-minilm-l6-v2", "query": "Where?", "documents": ["Here.", ""]} | changes


def test_a_request_goes_on_as_it_came() -> None:
    assert rerank.parse(body(top_n=1, max_tokens_per_doc=8)).payload == body(top_n=1, max_tokens_per_doc=8)


def test_what_cannot_change_the_order_is_dropped() -> None:
    assert rerank.parse(body(return_documents=False, user="me")).payload == body()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": ["x"]}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": [{"text": "x"}]}, "documents[0]"),
        ({"documents": ["x"] * 2049}, "documents"),
        ({"top_n": -1}, "top_n"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
    ],
)
def test_other_requests_are_refused(changes: dict[str, Any], param: str) -> None:
    assert refusal(rerank.parse, body(**changes)).param == param
