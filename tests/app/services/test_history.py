from __future__ import annotations

from typing import Any

from app.domain.item import ANSWER, Item, position
from app.services.history import rendered, turns_of


def message(role: str, *texts: str, **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts], **fields}


def call(id_: str, arguments: str = "{}", name: str = "f") -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": name, "arguments": arguments}


def output(id_: str, said: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": said}


def called(*ids: str, content: str | None = None, arguments: str = "{}") -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": id_, "type": "function", "function": function} for id_ in ids],
    }


def test_items_come_by_their_turns():
    places = [position(0, 0), position(0, ANSWER), position(2, 0), position(2, 1), position(2, ANSWER)]
    items = [Item(str(at), {"n": at}, place, 0, "conv_x") for at, place in enumerate(places)]
    assert turns_of(items) == [[{"n": 0}, {"n": 1}], [{"n": 2}, {"n": 3}, {"n": 4}]]
    assert turns_of([]) == []


def test_what_was_said_comes_in_the_words_of_templates():
    turn = [message("developer", "Be."), message("system", "Do."), message("user", "a", "b"), message("assistant", "c")]
    assert rendered([turn]) == [
        [
            {"role": "system", "content": "Be."},
            {"role": "system", "content": "Do."},
            {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "c"},
        ]
    ]


def test_what_was_thought_is_left_out():
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert rendered([[message("user", "a"), thought, message("assistant", "b")]]) == [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ]


def test_calls_belong_to_what_was_said_along_with_them():
    turns = [[message("user", "a"), message("assistant", "b"), call("1"), call("2")], [output("1"), output("2")]]
    assert rendered(turns) == [
        [{"role": "user", "content": "a"}, called("1", "2", content="b")],
        [
            {"role": "tool", "tool_call_id": "1", "content": "done"},
            {"role": "tool", "tool_call_id": "2", "content": "done"},
        ],
    ]


def test_calls_of_one_round_are_not_those_of_the_next():
    turn = [call("1"), output("1"), call("2"), output("2", [{"type": "input_text", "text": "x"}])]
    assert rendered([turn]) == [
        [
            called("1"),
            {"role": "tool", "tool_call_id": "1", "content": "done"},
            called("2"),
            {"role": "tool", "tool_call_id": "2", "content": "x"},
        ]
    ]


def test_calls_and_answers_come_in_pairs_or_not_at_all():
    turns = [[message("user", "a"), call("1"), call("2")], [output("2"), output("3"), message("user", "b")]]
    assert rendered(turns) == [
        [{"role": "user", "content": "a"}, called("2")],
        [{"role": "tool", "tool_call_id": "2", "content": "done"}, {"role": "user", "content": "b"}],
    ]
    assert rendered([[call("1")]]) == [[]]
    assert rendered([[call("1")]], answers=["1"]) == [[called("1")]]


def test_arguments_that_no_engine_could_read_are_none():
    for wrong in ('{"a":', "[1]", "", '"x"', "[" * 1000, '{"a": NaN}'):
        assert rendered([[call("1", wrong), output("1")]])[0][0] == called("1")
    fine = '{"a": 123456789012345678901234567890}'
    assert rendered([[call("1", fine), output("1")]])[0][0] == called("1", arguments=fine)


def test_what_cannot_be_read_is_mentioned():
    shown = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]}
    assert rendered([[shown]]) == [[{"role": "user", "content": "[image]"}]]


def test_an_answer_that_never_came_leaves_no_trace():
    assert rendered([[message("user", "a"), message("assistant", "", status="incomplete")]]) == [
        [{"role": "user", "content": "a"}]
    ]


def test_a_refusal_is_what_was_said():
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert rendered([[refused]]) == [[{"role": "assistant", "content": "No."}]]


def test_a_call_is_answered_once():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    outputs = [{"type": "function_call_output", "call_id": "c", "output": output} for output in ("one", "other")]
    (messages,) = rendered([[call, *outputs]])
    assert [(message["role"], message["content"]) for message in messages] == [("assistant", None), ("tool", "one")]
