"""Strings and numbers for JSON schemas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_LENGTH = 4_096
"""Longest string that is made, in characters."""
FORMATS = {
    "date": "2026-01-{:02}",
    "date-time": "2026-01-{:02}T12:00:00Z",
    "time": "12:00:{:02}Z",
    "duration": "PT{}S",
    "email": "manta{}@example.com",
    "hostname": "reef{}.example.com",
    "ipv4": "192.0.2.{}",
    "ipv6": "2001:db8::{}",
    "uri": "https://example.com/{}",
    "uuid": "00000000-0000-4000-8000-0000000000{:02}",
}
FORMAT_VALUES = 28
"""How many different values every format has: the days of a February."""
PATTERN_TRIES = (
    *("text", "Text", "TEXT", "a", "A", "ab", "AB", "abc", "ABC", "A1", "a1", "1", "12", "123", "1234", "12345"),
    *(
        "123-456",
        "555-1234",
        "2026-01-01",
        "12:00",
        "1.0",
        "1.0.0",
        "#a1b2c3",
        "a@example.com",
        "a_b",
        "a-b",
        "+1234",
        "",
    ),
)
"""What is tried where a string has to match a pattern."""


class Unsatisfiable(Exception):
    """This part of a schema has no value that we find; another choice may have."""


def string_for(schema: Mapping[str, Any], nth: int) -> str:
    """A string within the schema's length, of its format, or one of a few that match its pattern.

    Raises:
        Unsatisfiable: There is none.
    """
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", MAX_LENGTH)
    if shortest > min(longest, MAX_LENGTH):
        raise Unsatisfiable("a string has to be too long")
    if "pattern" in schema:
        pattern = re.compile(schema["pattern"])
        matching = [text for text in PATTERN_TRIES if pattern.search(text) and shortest <= len(text) <= longest]
        if not matching:
            raise Unsatisfiable(f"no text for the pattern {schema['pattern'][:100]!r} is known")
        return matching[nth % len(matching)]
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]].format(nth % FORMAT_VALUES + 1)
    text = f"text {nth}" if nth else "text"
    if len(text) > longest:
        text = str(nth)[-longest:] if longest else ""
    return text.ljust(shortest, ".")


def number_for(schema: Mapping[str, Any], nth: int, *, whole: bool) -> float:
    """A number within the schema's bounds, a whole one where possible.

    Raises:
        Unsatisfiable: There is none.
    """
    step = schema.get("multipleOf")
    candidates = [number for number in _candidates(schema, step, nth) if _within(schema, number)]
    if whole:
        candidates = [number for number in candidates if number == int(number)]
    if not candidates:
        raise Unsatisfiable("there is no number between its bounds")
    number = candidates[0]
    return int(number) if number == int(number) else number


def _candidates(schema: Mapping[str, Any], step: float | None, nth: int) -> Iterator[float]:
    low = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    high = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    if step:
        start = (
            math.ceil(low / step) if low is not None else math.floor(high / step) - nth - 1 if high is not None else 1
        )
        yield from ((start + offset) * step for offset in (nth, nth + 1, *range(nth), 0, 1))
        return
    yield 1 + nth
    if low is not None:
        yield from (math.floor(low) + 1 + nth, math.ceil(low) + nth, low + nth)
    if high is not None:
        yield from (math.ceil(high) - 1 - nth, math.floor(high) - nth, high - nth)
    if low is not None and high is not None:
        yield low + (high - low) * (nth + 1) / (nth + 2)
    yield from (number for number in (low, high) if number is not None)
    yield 0


def _within(schema: Mapping[str, Any], number: float) -> bool:
    return (
        schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and ("exclusiveMinimum" not in schema or number > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or number < schema["exclusiveMaximum"])
    )
