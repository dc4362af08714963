"""Values made for JSON schemas satisfy them, or the request is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.errors import InvalidRequest
from deployments.engines.scripted.values import json_for, value_for

NAMES = st.sampled_from(["city", "days", "unit", "a"])
NUMBERS = st.integers(-50, 50)


def _bounds(low: str, high: str, values: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, int]]:
    both = st.tuples(values, values).map(sorted).map(lambda pair: {low: pair[0], high: pair[1]})
    return both | st.fixed_dictionaries({}, optional={low: values}) | st.fixed_dictionaries({}, optional={high: values})


SCALARS = (
    st.sampled_from([True, {}, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}])
    | st.lists(NUMBERS | st.text(max_size=3) | st.none() | st.booleans(), min_size=1).map(lambda v: {"enum": v})
    | NUMBERS.map(lambda value: {"const": value})
    | _bounds("minimum", "maximum", NUMBERS).map(lambda bounds: {"type": "integer", **bounds})
    | _bounds("minimum", "maximum", NUMBERS).map(lambda bounds: {"type": "number", **bounds})
    | st.integers(1, 9).map(lambda step: {"type": "integer", "multipleOf": step, "minimum": step})
    | _bounds("minLength", "maxLength", st.integers(0, 9)).map(lambda bounds: {"type": "string", **bounds})
    | st.sampled_from(["date", "email", "uuid", "date-time", "ipv4"]).map(lambda f: {"type": "string", "format": f})
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(NAMES, inner, max_size=4)
    return (
        properties.flatmap(
            lambda made: st.fixed_dictionaries(
                {
                    "type": st.just("object"),
                    "properties": st.just(made),
                    "required": st.lists(st.sampled_from(sorted(made)), unique=True) if made else st.just([]),
                },
                optional={"additionalProperties": st.booleans()},
            )
        )
        | st.tuples(inner, _bounds("minItems", "maxItems", st.integers(0, 3))).map(
            lambda pair: {"type": "array", "items": pair[0], **pair[1]}
        )
        | st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices})
        | inner.map(lambda one: {"$defs": {"it": one}, "type": "object", "properties": {}, "description": "d"})
    )


SCHEMAS = st.recursive(SCALARS, _nested, max_leaves=8)


@given(SCHEMAS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_value_satisfies_its_schema(schema: Any) -> None:
    value = value_for(schema, "schema")
    Draft202012Validator(schema).validate(value)
    assert json.loads(json_for(schema, "schema")) == value


@given(SCHEMAS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_value_is_the_same_each_time(schema: Any) -> None:
    assert value_for(schema, "schema") == value_for(schema, "schema")


@given(SCHEMAS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_references_are_followed(inner: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"one": {"$ref": "#/$defs/a~1b"}, "two": {"$ref": "#/$defs/list/anyOf/1"}},
        "required": ["one", "two"],
        "$defs": {"a/b": inner, "list": {"anyOf": [True, inner]}},
    }
    Draft202012Validator(schema).validate(value_for(schema, "schema"))


NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["left", "right"],
        }
    },
}
SHAPE = {
    "oneOf": [
        {"properties": {"kind": {"const": "circle"}, "radius": {"type": "number"}}, "required": ["kind", "radius"]},
        {"properties": {"kind": {"const": "square"}, "side": {"type": "number"}}, "required": ["kind", "side"]},
    ]
}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(NODE, id="a list of itself"),
        pytest.param(TREE, id="a tree of itself"),
        pytest.param(SHAPE, id="one of two shapes"),
        pytest.param({"allOf": [{"type": "object", "required": ["a"]}, {"required": ["b"]}]}, id="all of"),
        pytest.param({"allOf": [{"type": "integer"}, {"type": "number", "minimum": 3}]}, id="an integer is a number"),
        pytest.param({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, id="a fraction"),
        pytest.param({"type": "array", "items": {"type": "integer"}, "minItems": 5, "uniqueItems": True}, id="unique"),
        pytest.param({"type": "array", "prefixItems": [{"const": 1}, {"const": "x"}], "items": False}, id="a tuple"),
        pytest.param({"type": "object", "minProperties": 2}, id="two properties of any name"),
        pytest.param({"type": "string", "pattern": "^[A-Z]{3}$"}, id="a simple pattern"),
        pytest.param({"type": "object", "required": ["x"], "properties": {"y": False}}, id="a forbidden property"),
        pytest.param({"type": "object", "additionalProperties": {"type": "integer"}, "required": ["n"]}, id="a map"),
        pytest.param({"properties": {"a": {"type": "string"}}}, id="no type"),
    ],
)
def test_schemas_of_the_field_are_satisfied(schema: Any) -> None:
    Draft202012Validator(schema).validate(value_for(schema, "schema"))


def test_properties_come_in_the_schemas_order() -> None:
    schema = {"type": "object", "properties": {"b": True, "a": True, "c": True}, "required": ["c", "a"]}
    assert list(value_for(schema, "schema")) == ["b", "a", "c"]


@pytest.mark.parametrize(
    "schema",
    [
        False,
        7,
        "string",
        {"type": "fish"},
        {"type": 7},
        {"enum": []},
        {"enum": [1], "type": "string"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "^[0-9]{40}x$"},
        {"type": "string", "pattern": "("},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
        {"$ref": "#"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.com/schema.json"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "string", "not": {"type": "string"}},
        {"type": "object", "required": 5},
        {"anyOf": []},
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        {"allOf": [{"const": 1}, {"const": 2}]},
    ],
)
def test_what_cannot_be_satisfied_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        value_for(schema, "tools[0]")
    assert refused.value.param == "tools[0]"


def test_remote_references_are_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("something was fetched"))
    remote = {"$ref": "https://example.com/schema.json"}
    for schema in (remote, {"type": "object", "properties": {"a": remote}, "required": ["a"]}, {"not": remote}):
        with pytest.raises(InvalidRequest):
            value_for(schema, "schema")
    assert value_for({"anyOf": [{"type": "null"}, remote]}, "schema") is None
