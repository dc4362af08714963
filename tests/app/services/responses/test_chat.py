"""A response's request becomes a chat completion that streams and counts."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas.conversations import parse_added
from app.schemas.responses import parse
from app.services.responses.chat import chat_request, check_text_only, with_instructions

QUESTION = {"role": "user", "content": "Hello"}


def payload(messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return chat_request(parse({"model": "m", "input": "Hello"} | fields), messages).payload


def test_it_always_streams_and_ends_with_its_usage() -> None:
    assert payload([QUESTION], max_output_tokens=5, stream=False) == {
        "model": "m",
        "messages": [QUESTION],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
    }


def test_instructions_come_first_and_are_one_message_with_others_at_the_beginning() -> None:
    system = {"role": "system", "content": "Be kind."}
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "true."}]}
    assert with_instructions("Be brief.", [QUESTION]) == [{"role": "system", "content": "Be brief."}, QUESTION]
    assert with_instructions("Be brief.", [system, developer, QUESTION, system]) == [
        {"role": "system", "content": "Be brief.\n\nBe kind.\n\nBe\ntrue."},
        QUESTION,
        system,
    ]
    assert with_instructions(None, [QUESTION]) == [QUESTION]


def test_nothing_to_answer_is_the_inputs_fault() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        payload([])
    assert refusal.value.param == "input"


def test_more_messages_than_a_chat_may_hold_are_the_inputs_fault() -> None:
    with pytest.raises(InvalidRequest, match="2048") as refusal:
        payload([QUESTION] * 2049)
    assert refusal.value.param == "input"


@pytest.mark.parametrize(
    ("item", "place"),
    [
        (
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "what?"}, {"type": "input_image", "file_id": "file_1"}],
            },
            "input[1].content[1]",
        ),
        (
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": "https://a.test/b.png"}],
            },
            "input[1].output[0]",
        ),
    ],
)
def test_pictures_are_kept_from_the_engine_by_name(item: dict[str, Any], place: str) -> None:
    items = parse_added({"items": [QUESTION, item]})
    with pytest.raises(UnsupportedParameter) as refusal:
        check_text_only(items)
    assert refusal.value.param == place
    check_text_only(items[:1])
