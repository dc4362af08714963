"""Parameters in the query string: ``POST /chat/completions?model=...&prompt=...`` works like the body's fields."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import InvalidRequest
from app.schemas.problem import shown


def merge_query(body: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """The body, its gaps filled from the query string. The body wins; other query parameters are ignored.

    Raises:
        InvalidRequest: A value that is needed cannot be read; ``param`` names it.
    """
    merged = dict(body)
    for name, read in _READERS.items():
        if name not in query or merged.get(name) is not None:
            continue
        if name == "prompt" and merged.get("messages") is not None:
            continue
        merged[name] = read(name, query[name])
    return merged


def _text(_: str, text: str) -> str:
    return text


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _unreadable(name, "an integer", text)
    return int(text)


def _number(name: str, text: str) -> float:
    number = float(text) if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?", text) else math.nan
    if not math.isfinite(number):
        raise _unreadable(name, "a number", text)
    return number


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise _unreadable(name, "true or false", text)
    return text == "true"


def _unreadable(name: str, expected: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` in the query string must be {expected}, not {shown(text)}.", param=name)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "model": _text,
    "prompt": _text,
    "max_tokens": _integer,
    "temperature": _number,
    "stream": _boolean,
}
