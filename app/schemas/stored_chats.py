"""Bodies of what concerns stored chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from app.schemas.common import Strict, example
from app.schemas.metadata import StoredMetadata
from app.schemas.problem import refusal


class ChangeStoredChatRequest(Strict):
    """What is to be written on it."""

    model_config = example({"metadata": {"topic": "rays"}})

    metadata: StoredMetadata | None = Field(description="At most 16 pairs of strings, in place of those there are.")


def parse_change(body: Mapping[str, Any]) -> Mapping[str, str]:
    """The metadata.

    Raises:
        InvalidRequest: There is none, or more than it.
    """
    try:
        return ChangeStoredChatRequest.model_validate(body).metadata or {}
    except ValidationError as error:
        raise refusal(error) from None
