"""Request bodies: bytes to plain values, strictly.

RFC 8259 and a little less: UTF-8 only, no NaN or Infinity, no numbers beyond a double's range, integers within
int64 (what engines and MongoDB can hold), no halves of surrogate pairs (no UTF-8 can carry them onwards), at most
``MAX_DEPTH`` arrays and objects inside each other. Of duplicate keys the last wins.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from app.errors import InvalidJson

MAX_DEPTH = 64
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_INT64_DIGITS = 19


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``, in time linear in its length.

    Raises:
        InvalidJson: The bytes are not JSON, not an object, or beyond the bounds above. Nothing else, for any bytes.
    """
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise InvalidJson(f'The request body must be a JSON object such as {{"model": ...}}, not {json_type(value)}.')
    return cast("dict[str, Any]", value)


def parse_json(raw: bytes | str) -> Any:
    """Any JSON value within the bounds above.

    Raises:
        InvalidJson: As for ``parse_json_object``.
    """
    try:
        value: Any = msgspec.json.decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError:
        raise InvalidJson("The request body is not valid UTF-8. Encode it as UTF-8.") from None
    except msgspec.MsgspecError as error:
        raise InvalidJson(f"The request body is not valid JSON: {_reason(error)}.") from None
    if isinstance(value, (dict, list)) and _needs_walk(raw):
        _walk(cast("dict[str, Any] | list[Any]", value))
    elif isinstance(value, int):
        _check_integer(value)
    return value


def json_type(value: object) -> str:
    """A value's JSON type with its article, for error messages."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    for types, word in (((int, float), "a number"), (str, "a string"), (list, "an array"), (dict, "an object")):
        if isinstance(value, types):
            return word
    return "another type"


def too_deep(value: object, limit: int) -> bool:
    """Whether more than ``limit`` arrays and objects stand inside each other. Needs no stack of its own."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        if not level:
            return False
        level = [child for container in level for child in _children(container) if isinstance(child, (dict, list))]
    return bool(level)


def _children(container: object) -> list[Any]:
    if isinstance(container, dict):
        return list(cast("dict[str, Any]", container).values())
    return cast("list[Any]", container)


def _needs_walk(raw: bytes | str) -> bool:
    """Whether the text could break a bound at all: most bodies cannot, and counting bytes is nearly free."""
    if isinstance(raw, str):
        raw = raw.encode()
    return raw.count(b"[") + raw.count(b"{") > MAX_DEPTH or _has_long_number(raw)


def _has_long_number(raw: bytes) -> bool:
    digits = raw.translate(_DIGITS_TO_ZERO)
    return b"0" * _INT64_DIGITS in digits


_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


def _walk(root: dict[str, Any] | list[Any]) -> None:
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            for child in _children(container):
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif kind is int:
                    _check_integer(child)
        if not below:
            return
        level = below
    raise _too_deep()


def _check_integer(value: int) -> None:
    if not INT64_MIN <= value <= INT64_MAX:
        raise InvalidJson("The request body holds an integer outside of the 64-bit range. Send it as a string.")


def _too_deep() -> InvalidJson:
    return InvalidJson(f"The request body nests arrays and objects more than {MAX_DEPTH} deep. Flatten it.")


def _reason(error: msgspec.MsgspecError) -> str:
    text = str(error)
    if "truncated" in text:
        return "it ends too early, or a string in it ends with half of a surrogate pair"
    return text.removeprefix("JSON is malformed: ").removesuffix(" - at `$[...]`").rstrip(".").lower()
