"""What was wrong with a request, in words: pydantic's errors become one InvalidRequest.

The first error speaks. Its ``param`` is the field as the caller would write it: the tags of unions, which pydantic
mixes into locations, all start with ``~`` here and are left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas.json_body import is_array, is_object, json_type

TAG = "~"

_SHOWN = 48


def wrong(sentence: str, *, field: str | int = "", unsupported: bool = False) -> PydanticCustomError:
    """An error to raise in a validator.

    Args:
        sentence: What is wrong with the field, to follow its name: ``must name a tool``.
        field: The field below the value being validated that is to blame; empty for the value itself.
        unsupported: The request is well formed, but asks for what we cannot do.
    """
    return PydanticCustomError("wrong", "wrong", {"sentence": sentence, "field": field, "unsupported": unsupported})


def unknown_field(name: str, known: Iterable[str]) -> PydanticCustomError:
    """An error to raise in a validator: the object has a field that it may not have."""
    return PydanticCustomError("unknown", "unknown", {"field": name, "known": sorted(known)})


def unknown_parameter(param: str, name: str, known: Iterable[str]) -> UnsupportedParameter:
    """The refusal of a field that this API does not know, with the nearest one that it does."""
    near = difflib.get_close_matches(name[:_SHOWN], list(known), n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Remove it."
    # JSON has names without a character; `param` has none.
    return UnsupportedParameter(f"`{param}` is not a parameter of this API. {hint}", param=param or None)


def refusal(error: ValidationError, *, within: str = "") -> InvalidRequest:
    """The first of pydantic's errors as the answer to the caller.

    Args:
        error: Pydantic's.
        within: The field that what was validated stands in.
    """
    details = error.errors(include_url=False)[0]
    context = details.get("ctx", {})
    located = (step for step in details["loc"] if isinstance(step, int) or not step.startswith(TAG))
    param = _path((within, *located, *_below(details)))
    if details["type"] == "unknown":
        return unknown_parameter(param, context["field"], context["known"])
    message = f"`{param}` {_sentence(details)}." if param else f"The request body {_sentence(details)}."
    cls = UnsupportedParameter if _is_unsupported(details) else InvalidRequest
    return cls(message, param=param or None)


def shown(value: object) -> str:
    """A value as JSON, short enough for a message."""
    if is_object(value) or is_array(value):
        return json_type(value)
    text = msgspec.json.encode(value[:_SHOWN] if isinstance(value, str) else value).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _path(location: Iterable[str | int]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step:
            path += f".{step[:_SHOWN]}" if path else step[:_SHOWN]
    return path


def _below(details: ErrorDetails) -> tuple[str | int, ...]:
    """What the location of an error lacks: the field of our own errors, the discriminator of pydantic's."""
    if details["type"] in ("wrong", "unknown"):
        return (details.get("ctx", {})["field"],)
    if details["type"] in ("choice", "unsupported_choice") and is_object(details["input"]):
        return (details["msg"].partition(": ")[0],)
    return ()


def _is_unsupported(details: ErrorDetails) -> bool:
    if details["type"] == "wrong":
        return bool(details.get("ctx", {})["unsupported"])
    return details["type"] == "unsupported_choice" and isinstance(_choice(details), str)


def _choice(details: ErrorDetails) -> object:
    key = details["msg"].partition(": ")[0]
    return details["input"].get(key) if is_object(details["input"]) else None


def _choice_sentence(details: ErrorDetails) -> str:
    """For unions told apart by a field; their message is ``field: choices``."""
    key, _, choices = details["msg"].partition(": ")
    if not is_object(details["input"]):
        return f"must be an object with `{key}`, not {json_type(details['input'])}"
    if (choice := _choice(details)) is None:
        return f"is required: {choices}"
    return f"must be {choices}, not {shown(choice)}"


def _typed(expected: str) -> Callable[[ErrorDetails], str]:
    def sentence(details: ErrorDetails) -> str:
        value: Any = details["input"]
        given = shown(value) if isinstance(value, (int, float)) else json_type(value)
        return f"must be {expected}, not {given}"

    return sentence


def _compared(words: str, bound: str) -> Callable[[ErrorDetails], str]:
    def sentence(details: ErrorDetails) -> str:
        limit = details.get("ctx", {})[bound]
        limit = int(limit) if float(limit).is_integer() else limit
        return f"must be {words} {limit}, not {shown(details['input'])}"

    return sentence


def _too_short(details: ErrorDetails) -> str:
    least = details.get("ctx", {})["min_length"]
    return "must not be empty" if least == 1 else f"must have a length of at least {least}"


def _too_long(unit: str) -> Callable[[ErrorDetails], str]:
    return lambda details: f"may have at most {details.get('ctx', {})['max_length']} {unit}"


_SENTENCES: dict[str, Callable[[ErrorDetails], str]] = {
    "wrong": lambda details: details.get("ctx", {})["sentence"],
    "kind": lambda details: (
        f"must be {details['msg']}, not {json_type(details['input']) if details['input'] != [] else 'an empty array'}"
    ),
    "choice": _choice_sentence,
    "unsupported_choice": _choice_sentence,
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is no field that is known here",
    "value_error": lambda details: f"is wrong: {details['msg'].removeprefix('Value error, ')}",
    "string_type": _typed("a string"),
    "string_unicode": lambda _: "holds half of a surrogate pair, which no text can",
    "int_type": _typed("an integer"),
    "float_type": _typed("a number"),
    "finite_number": lambda _: "must be a finite number",
    "bool_type": _typed("true or false"),
    "list_type": _typed("an array"),
    "dict_type": _typed("an object"),
    "model_type": _typed("an object"),
    "greater_than_equal": _compared("at least", "ge"),
    "greater_than": _compared("greater than", "gt"),
    "less_than_equal": _compared("at most", "le"),
    "less_than": _compared("less than", "lt"),
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": _too_long("items"),
    "string_too_long": _too_long("characters"),
    "string_pattern_mismatch": lambda details: f"must match {details.get('ctx', {})['pattern']}",
    "literal_error": lambda details: f"must be {details.get('ctx', {})['expected']}, not {shown(details['input'])}",
}


def _sentence(details: ErrorDetails) -> str:
    say = _SENTENCES.get(details["type"])
    return say(details) if say else f"is not valid: {details['msg']}"
