"""Request bodies: bytes to plain values, strictly.

RFC 8259 and a little less: UTF-8 only, no NaN or Infinity, no numbers beyond a double's range, integers within
int64 (what engines and MongoDB can hold), no halves of surrogate pairs (no UTF-8 can carry them onwards), at most
``MAX_DEPTH`` arrays and objects inside each other, ``MAX_CONTAINERS`` in all. Of duplicate keys the last wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

import msgspec

from app.errors import InvalidJson

MAX_DEPTH = 64
MAX_CONTAINERS = 65_536
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_INT64_DIGITS = 19
_ANY_DIGIT_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


class TooComplex(InvalidJson):
    """More than ``MAX_DEPTH`` arrays and objects inside each other, or ``MAX_CONTAINERS`` in all."""


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``, in time linear in its length.

    Raises:
        InvalidJson: The bytes are not JSON, not an object, or beyond the bounds above. Nothing else, for any bytes.
    """
    value = parse_json(raw)
    if not is_object(value):
        raise InvalidJson(f'The request body must be a JSON object such as {{"model": ...}}, not {json_type(value)}.')
    return value


def parse_json(raw: bytes | str, *, long_integers: bool = False) -> Any:
    """Any JSON value within the bounds above, those of integers left out if ``long_integers``.

    Raises:
        TooComplex: It nests too deep or holds too many arrays and objects.
        InvalidJson: As for ``parse_json_object``.
    """
    try:
        raw = raw.encode() if isinstance(raw, str) else raw
        brackets = _brackets(raw)
        _check_amount(raw, brackets)
        value: Any = msgspec.json.decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError:
        raise InvalidJson("The request body is not valid UTF-8. Encode it as UTF-8.") from None
    except msgspec.MsgspecError as error:
        raise InvalidJson(f"The request body is not valid JSON: {_reason(error)}.") from None
    # Most bodies cannot break these bounds, and looking for bytes is nearly free.
    long_integers = long_integers or not _has_long_number(raw)
    if brackets > MAX_DEPTH or not long_integers:
        _walk(value, long_integers=long_integers)
    return value


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether a JSON value is an array."""
    return isinstance(value, list)


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
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [container for container in level if is_object(container) or is_array(container)]
        if not level:
            return False
        level = [child for container in level for child in _children(container)]
    return True


def _children(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if is_object(container) else container


def _check_amount(raw: bytes, brackets: int) -> None:
    """Refuse text made of brackets before a million objects are made of it: that takes seconds.

    Only brackets outside of strings count. On text that is not JSON the count means nothing, and nothing depends on it.
    """
    if brackets <= MAX_CONTAINERS:
        return
    outside = b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if _brackets(outside) > MAX_CONTAINERS:
        raise TooComplex(f"The request body holds more than {MAX_CONTAINERS} arrays and objects. Send fewer.")


def _brackets(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{")


def _has_long_number(raw: bytes) -> bool:
    return b"0" * _INT64_DIGITS in raw.translate(_ANY_DIGIT_TO_ZERO)


def _walk(root: Any, *, long_integers: bool) -> None:
    """Check the values of one depth after the other, the outermost first."""
    level: list[Any] = [[root]]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            children = _children(container)
            # Asking for types first keeps arrays of a million numbers at C's speed.
            types: set[type] = set(map(type, children))
            if int in types and not long_integers:
                _check_integers([child for child in children if isinstance(child, int)])
            if dict in types or list in types:
                below += [child for child in children if isinstance(child, (dict, list))]
        if not below:
            return
        level = below
    raise _too_deep()


def _check_integers(integers: list[int]) -> None:
    if integers and (min(integers) < INT64_MIN or max(integers) > INT64_MAX):
        raise InvalidJson("The request body holds an integer outside of the 64-bit range. Send it as a string.")


def _too_deep() -> TooComplex:
    return TooComplex(f"The request body nests arrays and objects more than {MAX_DEPTH} deep. Flatten it.")


def _reason(error: msgspec.MsgspecError) -> str:
    text = str(error)
    if "truncated" in text:
        return "it ends too early, or a string in it ends with half of a surrogate pair"
    return text.removeprefix("JSON is malformed: ").removesuffix(" - at `$[...]`").rstrip(".").lower()
