"""Bytes become values within bounds, or 400 ``invalid_json``."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidJson
from app.schemas.json_body import MAX_CONTAINERS, MAX_DEPTH, json_type, parse_json, parse_json_object, too_deep
from tests.app.schemas.bodies import nested


def arrays(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, -2.5e3, true, false, null, "\\u00e9"]}\n', {"a": [1, -2500.0, True, False, None, "é"]}),
        ('{"é😀": "\\ud83d\\ude00"}'.encode(), {"é😀": "😀"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": 9223372036854775807, "b": -9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        (b'{"a": "18446744073709551616"}', {"a": "18446744073709551616"}),
        (b'{"a": 0.00000000000000000000001}', {"a": 1e-23}),
    ],
)
def test_json_is_read(raw: bytes, value: dict[str, Any]) -> None:
    assert parse_json_object(raw) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 01}',
        b'{"a": 1.}',
        b'{"a": +1}',
        b'{"a": 1} {"b": 2}',
        b'{"a": "\n"}',
        b'{"a": "\\x"}',
        b'{"a": /* no */ 1}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1' + b"0" * 400 + b".0}",
        b"\x00{}",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xf4\x90\x80\x80"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\ud800 later"}',
        b'{"a": "\\udc00"}',
        b'{"a": "\\ud83d\\ud83d"}',
        b'{"\\udc00": 1}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidJson) as caught:
        parse_json_object(raw)
    assert caught.value.code == "invalid_json"
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("raw", [b"[]", b"null", b"true", b"3", b"1.5", b'"text"'])
def test_only_an_object_is_a_body(raw: bytes) -> None:
    with pytest.raises(InvalidJson, match="must be a JSON object"):
        parse_json_object(raw)


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "9" * 30, "1" + "0" * 4000])
@pytest.mark.parametrize("frame", ['{"a": %s}', '{"a": [[%s]]}', '{"a": [1, {"b": %s}]}'])
def test_integers_beyond_64_bits_are_refused_wherever_they_stand(number: str, frame: str) -> None:
    with pytest.raises(InvalidJson):
        parse_json_object((frame % number).encode())


def test_nesting_is_bounded() -> None:
    assert parse_json_object(b'{"a":' + arrays(MAX_DEPTH - 1) + b"}")
    with pytest.raises(InvalidJson, match="deep"):
        parse_json_object(b'{"a":' + arrays(MAX_DEPTH) + b"}")


@pytest.mark.parametrize("raw", [arrays(60_000), b'{"a":' * 60_000, b"[" * 60_000, b"[" * 3_000_000])
def test_bottomless_nesting_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json_object(raw)


def test_a_body_made_of_brackets_is_refused_and_a_text_made_of_them_is_not() -> None:
    many = MAX_CONTAINERS + 1
    with pytest.raises(InvalidJson, match="arrays and objects"):
        parse_json_object(b'{"a": [' + b",".join([b"[]"] * many) + b"]}")
    assert parse_json_object(b'{"a": "' + b'[{\\"\\\\' * many + b'"}')["a"].startswith('[{"\\[')


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    assert parse_json_object(b'{"a": "' + b"[" * 1000 + b'"}') == {"a": "[" * 1000}


def test_long_integers_pass_where_they_are_allowed() -> None:
    assert parse_json('{"a": 18446744073709551616}', long_integers=True) == {"a": 2**64}


@pytest.mark.parametrize(
    ("value", "depth"), [({}, 1), ([[]], 2), ({"a": [1, {"b": 2}]}, 3), (nested(16), 16), (nested(9999), 9999)]
)
def test_depth_counts_arrays_and_objects_inside_each_other(value: object, depth: int) -> None:
    assert not too_deep(value, depth)
    assert too_deep(value, depth - 1)


def test_json_types_have_names() -> None:
    values = (None, True, False, 1, 1.5, "x", [], {}, object())
    assert [json_type(value) for value in values] == [
        "null",
        "true",
        "false",
        "a number",
        "a number",
        "a string",
        "an array",
        "an object",
        "another type",
    ]
