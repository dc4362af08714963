"""What chat and text completions share: ranges, streams, vendor extras."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import UnsupportedParameter
from app.schemas import chat, completions
from app.schemas.extras import VENDOR_EXTRAS
from tests.app.schemas.bodies import Parse, chat_body, parse_chat, parse_completion, refusal

COMPLETION = {"model": "m", "prompt": "Once"}
ROUTES = pytest.mark.parametrize(("parse", "body"), [(parse_chat, chat_body()), (parse_completion, COMPLETION)])


@ROUTES
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("temperature", [0, 0.0, 1, 2], [-0.1, 2.1, "1", True, [], float("nan"), float("inf")]),
        ("top_p", [0.1, 1], [-0.1, 1.1, "1", True]),
        ("frequency_penalty", [-2, 0, 2.0], [-2.1, 3, "0"]),
        ("presence_penalty", [-2, 0, 2.0], [-2.1, 3, "0"]),
        ("n", [1, 8], [0, 9, 1.0, "1", True]),
        ("seed", [0, -(2**63), 2**63 - 1], [2**63, -(2**63) - 1, 1.0, "1", True]),
        ("stop", ["a", [], ["a"], ["a"] * 4], ["", [""], ["a"] * 5, [1], 1]),
        ("stream", [True, False], [0, 1, "true"]),
        ("logit_bias", [{}, {"0": 1, "49151": -100.0}], [{"a": 1}, {"-1": 1}, {"1": 101}, {"1": True}, {"1": "1"}, []]),
        ("user", [], [1, []]),
        ("top_k", [-1, 0, 50], [-2, 1.5, 2**31, "1"]),
        ("min_p", [0, 0.5, 1], [-0.1, 1.1]),
        ("repetition_penalty", [0.1, 1, 10], [0, 1e-300, -1, 11]),
        ("ignore_eos", [True, False], [1, "true"]),
        ("min_tokens", [0, 1], [-1, 1.5, 2**31]),
        ("skip_special_tokens", [True, False], [1]),
        ("include_stop_str_in_output", [True, False], [1]),
    ],
)
def test_each_parameter_has_a_type_and_a_range(
    parse: Parse, body: dict[str, Any], name: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert parse(body | {name: value}).payload[name] == value
    for value in bad:
        assert (refusal(parse, body | {name: value}).param or "").startswith(name), value


def test_logit_biases_are_bounded_in_number() -> None:
    assert parse_chat(chat_body(logit_bias={str(token): 1 for token in range(1024)}))
    assert refusal(parse_chat, chat_body(logit_bias={str(token): 1 for token in range(1025)})).param == "logit_bias"


def test_metadata_is_sixteen_short_pairs() -> None:
    assert parse_chat(chat_body(metadata={f"{'k' * 62}{index:02}": "v" * 512 for index in range(16)}))
    for metadata in ({str(index): "" for index in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}, {"k": None}):
        assert (refusal(parse_chat, chat_body(metadata=metadata)).param or "").startswith("metadata")


@ROUTES
def test_a_top_p_of_zero_means_the_likeliest_token(parse: Parse, body: dict[str, Any]) -> None:
    assert 0 < parse(body | {"top_p": 0}).payload["top_p"] < 0.001


@ROUTES
def test_a_stream_may_end_with_its_usage(parse: Parse, body: dict[str, Any]) -> None:
    parsed = parse(body | {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}})
    assert (parsed.stream, parsed.include_usage) == (True, True)
    assert parsed.payload["stream_options"] == {"include_usage": True}


@ROUTES
@pytest.mark.parametrize("options", [{}, {"include_usage": False}, {"include_usage": None}, None])
def test_a_stream_without_usage_needs_no_options(parse: Parse, body: dict[str, Any], options: Any) -> None:
    parsed = parse(body | {"stream": True, "stream_options": options})
    assert (parsed.stream, parsed.include_usage) == (True, False)
    assert "stream_options" not in parsed.payload


@ROUTES
@pytest.mark.parametrize("stream", [False, None])
def test_stream_options_need_a_stream(parse: Parse, body: dict[str, Any], stream: Any) -> None:
    error = refusal(parse, body | {"stream": stream, "stream_options": {"include_usage": True}})
    assert error.param == "stream_options"


@pytest.mark.parametrize(("module", "body"), [(chat, chat_body()), (completions, COMPLETION)])
def test_a_vendor_extra_works_where_it_is_allowed(module: Any, body: dict[str, Any]) -> None:
    assert module.parse(body | {"top_k": 5}, extras=frozenset({"top_k"})).payload["top_k"] == 5
    for name in VENDOR_EXTRAS - {"top_k"}:
        with pytest.raises(UnsupportedParameter, match="not enabled") as caught:
            module.parse(body | {name: 1}, extras=frozenset({"top_k"}))
        assert caught.value.param == name
