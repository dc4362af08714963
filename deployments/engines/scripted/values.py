"""A value for a JSON schema: what a model under a grammar would answer, without the model.

Deterministic and small. Understood are ``type``, ``properties``, ``required``, ``enum``, ``const``, ``items``,
``prefixItems``, ``anyOf``, ``oneOf``, ``allOf``, local ``$ref``, and bounds on numbers, strings, arrays and objects.
The value is checked against the schema before it is given out: where there is none, or only one that this generator
does not find, the request is refused, as no value is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec
from jsonschema import Draft202012Validator
from referencing import Registry

from app.errors import InvalidRequest
from deployments.engines.scripted.scalars import Unsatisfiable, number_for, string_for

Schema = Mapping[str, Any]

SHALLOW = 3
"""Down to this depth optional properties are filled in; below, only what is required, so that recursion ends."""
MAX_DEPTH = 32
MAX_STEPS = 5_000
MAX_ITEMS = 1_024
ANYTHING = ["string", "object", "array", "integer", "boolean", "null"]
"""The types to try, in this order, for a schema that names none."""
HINTS = {
    "properties": "object",
    "required": "object",
    "minProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}
"""What a keyword says about the type of a schema that names none."""


def json_for(schema: Any, param: str) -> str:
    """A value that satisfies the schema, as JSON; see ``value_for``."""
    return msgspec.json.encode(value_for(schema, param)).decode()


def value_for(schema: Any, param: str) -> Any:
    """A value that satisfies the schema.

    Args:
        schema: As the caller sent it.
        param: Where in the request it came from.

    Raises:
        InvalidRequest: There is no such value, or it is beyond this generator; the message says why.
    """
    try:
        generator = _Generator(schema)
        value = generator.value(schema, 0, 0)
        if not generator.fits(schema, value):
            raise Unsatisfiable("it uses keywords that this engine does not follow")
    except Unsatisfiable as error:
        raise InvalidRequest(f"The scripted engine cannot satisfy this JSON schema: {error}.", param=param) from None
    except Exception as error:
        # Whatever is wrong with a caller's schema (types, patterns, references) surfaces in the library that reads it.
        raise InvalidRequest(f"This is not a JSON schema: {type(error).__name__}.", param=param) from error
    return value


class _Generator:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0
        # A registry of its own keeps the validator from fetching a caller's remote references.
        self._validator = Draft202012Validator(root, registry=Registry())

    def fits(self, schema: Any, value: Any) -> bool:
        return self._validator.evolve(schema=schema).is_valid(value)

    def value(self, schema: Any, depth: int, nth: int) -> Any:
        """The ``nth`` of several values, where the schema has that many."""
        self._steps += 1
        if depth > MAX_DEPTH or self._steps > MAX_STEPS:
            raise Unsatisfiable("it is too deep or too large")
        schema = self._flat(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            values = [value for value in schema["enum"] if self.fits(schema, value)]
            if not values:
                raise Unsatisfiable("an enum has no value that fits")
            return values[nth % len(values)]
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = {key: part for key, part in schema.items() if key != keyword}
                return self._first_of((_merge(rest, self._flat(part)) for part in schema[keyword]), schema, depth, nth)
        return self._typed(schema, depth, nth)

    def _first_of(self, choices: Iterable[Schema], schema: Schema, depth: int, nth: int) -> Any:
        if depth > SHALLOW:
            choices = sorted(choices, key=_is_nested)
        reason = "none of its choices has a value that fits"
        for choice in choices:
            try:
                value = self.value(choice, depth + 1, nth)
            except Unsatisfiable as error:
                reason = str(error)
                continue
            if self.fits(schema, value):
                return value
        raise Unsatisfiable(reason)

    def _typed(self, schema: Schema, depth: int, nth: int) -> Any:
        type_ = schema.get("type") or next((HINTS[key] for key in schema if key in HINTS), ANYTHING)
        if isinstance(type_, list):
            choices = [{**schema, "type": choice} for choice in cast("list[str]", type_)]
            return self._first_of(choices, schema, depth, nth)
        match type_:
            case "object":
                return self._object(schema, depth, nth)
            case "array":
                return self._array(schema, depth, nth)
            case "string":
                return string_for(schema, nth)
            case "integer" | "number":
                return number_for(schema, nth, whole=type_ == "integer")
            case "boolean":
                return nth % 2 == 0
            case "null":
                return None
            case _:
                raise Unsatisfiable(f"there is no type {str(type_)[:64]!r}")

    def _object(self, schema: Schema, depth: int, nth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        others = schema.get("additionalProperties", True)
        most = schema.get("maxProperties", MAX_ITEMS)
        made = {name: self.value(properties.get(name, others), depth + 1, nth) for name in required}
        for name in properties:
            if depth < SHALLOW and name not in made and len(made) < most:
                try:
                    made[name] = self.value(properties[name], depth + 1, nth)
                except Unsatisfiable:
                    continue
        while len(made) < min(schema.get("minProperties", 0), MAX_ITEMS):
            made[f"key{len(made)}"] = self.value(others, depth + 1, nth)
        # In the order in which the schema names them, which is the order that readers expect.
        return {name: made[name] for name in [*properties, *made] if name in made}

    def _array(self, schema: Schema, depth: int, nth: int) -> list[Any]:
        first: list[Any] = schema.get("prefixItems", [])
        least = schema.get("minItems", 0)
        wanted = min(max(least, len(first), int(depth < SHALLOW)), schema.get("maxItems", MAX_ITEMS), MAX_ITEMS)
        made: list[Any] = []
        for index in range(wanted):
            item = first[index] if index < len(first) else schema.get("items", True)
            try:
                made.append(self._item(item, made if schema.get("uniqueItems") else [], depth, nth + index))
            except Unsatisfiable:
                if index < least:
                    raise
                break
        return made

    def _item(self, schema: Any, taken: list[Any], depth: int, nth: int) -> Any:
        for attempt in range(len(taken) + 1):
            value = self.value(schema, depth + 1, nth + attempt)
            if value not in taken:
                return value
        raise Unsatisfiable("an array has to have more different items than can be made")

    def _flat(self, schema: Any) -> Schema:
        """The schema with its references followed and ``allOf`` merged in."""
        for _ in range(MAX_DEPTH):
            if schema is True:
                return {}
            if not isinstance(schema, Mapping):
                raise Unsatisfiable("a part of it allows nothing" if schema is False else "a part of it is no schema")
            parts = dict(cast("Schema", schema))
            if "$ref" in parts:
                schema = _merge(self._resolve(parts.pop("$ref")), parts)
            elif "allOf" in parts:
                schema = parts.copy()
                for part in schema.pop("allOf"):
                    schema = _merge(schema, part)
            else:
                return parts
        raise Unsatisfiable("its references go round in a circle")

    def _resolve(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise Unsatisfiable("only references inside the schema (#/...) are followed")
        node = self._root
        for part in reference.split("/")[1:]:
            node = node[int(part) if isinstance(node, list) else part.replace("~1", "/").replace("~0", "~")]
        return node


def _is_nested(schema: Schema) -> bool:
    """Whether a choice leads deeper: those come last once it is time to come to an end."""
    return not ({"const", "enum"} & schema.keys()) and schema.get("type") in (None, "object", "array")


def _merge(one: Any, other: Any) -> Any:
    """A schema that asks for what both ask for, as far as that is one schema."""
    if one is True or other is False:
        return other
    if other is True or one is False:
        return one
    merged: dict[str, Any] = dict(one)
    for key, value in other.items():
        if key in merged and merged[key] != value:
            if key in UNMERGED:
                raise Unsatisfiable(f"it asks for two different {key} of one value")
            merged[key] = MERGED[key](merged[key], value) if key in MERGED else value
        else:
            merged[key] = value
    return merged


def _merge_properties(one: Schema, other: Schema) -> Schema:
    return {**one, **{name: _merge(one.get(name, True), part) for name, part in other.items()}}


def _union(one: list[Any], other: list[Any]) -> list[Any]:
    return [*one, *(value for value in other if value not in one)]


def _intersection(one: list[Any], other: list[Any]) -> list[Any]:
    return [value for value in one if value in other]


def _types(one: str | list[str], other: str | list[str]) -> list[str]:
    first, second = ([types] if isinstance(types, str) else types for types in (one, other))
    # Every integer is a number.
    integers = ["integer"] if {"integer", "number"} <= {*first, *second} else []
    return _union(_intersection(first, second), integers)


MERGED: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _merge_properties,
    "items": _merge,
    "additionalProperties": _merge,
    "required": _union,
    "allOf": _union,
    "enum": _intersection,
    "type": _types,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
"""What a keyword has to say for two of its values to be obeyed."""
UNMERGED = frozenset(("anyOf", "oneOf", "$ref", "const", "pattern", "multipleOf"))
