"""What callers write on what they keep: OpenAI's bounds, and no names that a database might take for its own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from app.schemas.common import Metadata
from app.schemas.problem import shown, wrong


def _harmless(metadata: dict[str, Any]) -> dict[str, Any]:
    for key in metadata:
        if not key or key.startswith("$") or "." in key or "\0" in key:
            raise wrong(f"may not have the key {shown(key)}: no '$' in front, no '.' and no NUL in keys", field=key)
    return metadata


StoredMetadata = Annotated[Metadata, AfterValidator(_harmless)]
"""Metadata of what is stored."""
