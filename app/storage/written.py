"""What callers and models wrote, as documents hold it: none of its names is ever one of the database's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def json_text(value: Any) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()


def pairs(metadata: Mapping[str, str]) -> list[list[str]]:
    """Metadata as pairs, which ``dict`` makes metadata again."""
    return [list(pair) for pair in metadata.items()]
