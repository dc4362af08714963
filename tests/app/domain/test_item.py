from __future__ import annotations

from typing import Any

import pytest

from app.domain.item import ANSWER, Item, position, stored_body, text_of, turn_of
from app.schemas.conversations import parse_added


def test_a_turns_answer_comes_behind_what_was_asked_and_before_the_next_turn():
    places = [position(0, 0), position(0, 19), position(0, ANSWER), position(0, ANSWER + 5), position(1, 0)]
    assert places == sorted(set(places))
    assert [turn_of(place) for place in places] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"role": "user", "content": "Hello"}, "Hello"),
        ({"role": "user", "content": [{"type": "input_text", "text": a} for a in ("one", "two")]}, "one\ntwo"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]}, ""),
        ({"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}, ""),
        ({"type": "function_call_output", "call_id": "c", "output": "grey"}, "grey"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "g"}]}, "g"),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "thought"}]}, ""),
    ],
)
def test_what_there_is_to_read_in_an_item(item: dict[str, Any], text: str):
    assert text_of(parse_added({"items": [item]})[0]) == text


def test_an_item_has_the_id_that_it_is_given_here():
    (body,) = parse_added({"items": [{"id": "msg_theirs", "role": "user", "content": "Hello"}]})
    stored = stored_body(body, "msg_ours")
    assert stored["id"] == "msg_ours"
    assert stored["status"] == Item("msg_ours", stored, 0, 0, None).status == "completed"
