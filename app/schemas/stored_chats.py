"""Bodies of what concerns stored chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.schemas.body import parse
from app.schemas.common import Strict, example
from app.schemas.metadata import StoredMetadata


class ChangeStoredChatRequest(Strict):
    """What is to be written on it."""

    model_config = example({"metadata": {"topic": "rays"}})

    metadata: StoredMetadata | None = Field(description="At most 16 pairs of strings, in place of those there are.")


def parse_change(body: Mapping[str, Any]) -> Mapping[str, str]:
    """The metadata.

    Raises:
        InvalidRequest: There is none, or more than it.
    """
    return parse(ChangeStoredChatRequest, body).metadata or {}
