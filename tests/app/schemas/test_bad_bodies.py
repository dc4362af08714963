"""No body whatever does anything but pass or earn a 400, and what passes is JSON."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ApiError, InvalidJson
from app.schemas.json_body import parse_json_object
from app.schemas.query import merge_query
from tests.app.schemas.bodies import VALID, Parse

T = TypeVar("T")

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["user", "assistant", "text", "function", "auto", "json_schema", "~user", "{}", "[[[[", "\x00"])
)
KEYS = st.text(max_size=8) | st.sampled_from(
    ["role", "content", "type", "text", "name", "function", "schema", "~array"]
)
JSON = st.recursive(LEAVES, lambda value: st.lists(value, max_size=4) | st.dictionaries(KEYS, value, max_size=4))
CASES = st.sampled_from(sorted(VALID))
EXAMPLES = settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def attempt(work: Callable[[], T]) -> T | ApiError:
    """What comes of it, or how it is refused; any other exception fails the test."""
    try:
        return work()
    except ApiError as error:
        return error


def check(parse: Parse, raw: bytes) -> None:
    """The whole way from bytes to the engine's payload."""
    outcome = attempt(lambda: parse(parse_json_object(raw)))
    if isinstance(outcome, ApiError):
        assert outcome.status == 400
        assert outcome.message
        assert parse_json_object(outcome.json())["error"]["param"] == outcome.param
    else:
        assert outcome.model
        assert parse_json_object(msgspec.json.encode(outcome.payload)) == outcome.payload


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in items for place in ((*path, key), *places(child, (*path, key)))]


def container(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        body = body[step]
    return body


@pytest.mark.parametrize("case", VALID)
def test_the_bodies_that_are_mutated_here_pass(case: str) -> None:
    parse, body = VALID[case]
    assert parse(body).model == body["model"]


@EXAMPLES
@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    outcome = attempt(lambda: parse_json_object(raw))
    if isinstance(outcome, ApiError):
        assert isinstance(outcome, InvalidJson)
    else:
        assert parse_json_object(msgspec.json.encode(outcome)) == outcome


@EXAMPLES
@given(CASES, st.data())
def test_valid_bodies_with_bytes_changed(case: str, data: st.DataObject) -> None:
    parse, body = VALID[case]
    raw = bytearray(msgspec.json.encode(body))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        end = at + data.draw(st.integers(0, 4))
        raw[at:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"\\ud800", b"1e999", b"null", b"[", b'"']))
        raw = raw or bytearray(b" ")
    check(parse, bytes(raw))


@EXAMPLES
@given(CASES, JSON)
def test_any_json(case: str, value: Any) -> None:
    check(VALID[case][0], msgspec.json.encode(value))


@EXAMPLES
@given(CASES, st.data())
def test_valid_bodies_with_values_replaced(case: str, data: st.DataObject) -> None:
    parse, body = VALID[case]
    changed = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(changed)))
        container(changed, path)[path[-1]] = data.draw(JSON)
    check(parse, msgspec.json.encode(changed))


@EXAMPLES
@given(CASES, st.data())
def test_valid_bodies_with_fields_added_and_removed(case: str, data: st.DataObject) -> None:
    parse, body = VALID[case]
    changed = copy.deepcopy(body)
    path = data.draw(st.sampled_from(places(changed)))
    if data.draw(st.booleans()):
        del container(changed, path)[path[-1]]
    elif isinstance(target := container(changed, path), dict):
        target[data.draw(KEYS)] = data.draw(JSON)
    else:
        target.append(data.draw(JSON))
    check(parse, msgspec.json.encode(changed))


@EXAMPLES
@given(CASES, st.data())
def test_known_fields_with_any_value(case: str, data: st.DataObject) -> None:
    parse, body = VALID[case]
    names = sorted({name for _, other in VALID.values() for name in other})
    changed = body | data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=3))
    check(parse, msgspec.json.encode(changed))


@EXAMPLES
@given(
    st.dictionaries(KEYS, JSON, max_size=2),
    st.dictionaries(st.sampled_from(["model", "prompt", "max_tokens", "temperature", "stream"]), st.text(max_size=8)),
)
def test_any_query(body: dict[str, Any], query: dict[str, str]) -> None:
    outcome = attempt(lambda: merge_query(body, query))
    if isinstance(outcome, ApiError):
        assert outcome.status == 400
        assert outcome.param in query
    else:
        check(VALID["chat"][0], msgspec.json.encode(outcome))
