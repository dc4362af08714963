"""Parameters in the query string fill the body's gaps."""

from __future__ import annotations

import pytest

from app.errors import InvalidRequest
from app.schemas.query import merge_query


def test_the_query_fills_what_the_body_lacks() -> None:
    query = {"model": "m", "prompt": "Hi", "max_tokens": "10", "temperature": "0.5", "stream": "true"}
    merged = {"model": "m", "prompt": "Hi", "max_tokens": 10, "temperature": 0.5, "stream": True}
    assert merge_query({}, query) == merged
    assert merge_query(dict.fromkeys(query), query) == merged


def test_the_body_wins() -> None:
    body = {"model": "a", "prompt": "b", "max_tokens": 1, "temperature": 0, "stream": False}
    query = {"model": "m", "prompt": "Hi", "max_tokens": "bad", "temperature": "bad", "stream": "bad"}
    assert merge_query(body, query) == body


def test_messages_in_the_body_win_over_a_prompt_in_the_query() -> None:
    assert merge_query({"messages": []}, {"prompt": "Hi"}) == {"messages": []}


def test_other_query_parameters_are_ignored() -> None:
    body = {"model": "m"}
    assert merge_query(body, {"top_k": "5", "messages": "x"}) == body


def test_the_body_is_not_changed() -> None:
    body: dict[str, str] = {}
    merge_query(body, {"model": "m"})
    assert body == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("max_tokens", text) for text in ("", "ten", "1.0", "1e3", " 1", "1_0", "٣", "9" * 19, "+1", "0x10")],
        *[("temperature", text) for text in ("", "hot", "nan", "inf", "1e999", "1,5", " 1", "٣", "1.", ".5")],
        *[("stream", text) for text in ("", "1", "True", "yes", "on")],
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        merge_query({}, {name: text})
    assert caught.value.param == name
    assert caught.value.message.startswith(f"`{name}` in the query string must be ")
