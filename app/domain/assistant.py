"""Assistants: a model, and what it is told whenever it takes its turn in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ANY_MODEL = "*"
"""Jan's word for a model that each run names."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """One of somebody's assistants.

    Attributes:
        model: Id or alias, or ``ANY_MODEL``.
        tools: Functions, each as callers write them.
        tool_resources: As it was sent; it holds nothing.
        response_format: ``auto``, or an object as callers write it.
        avatar: Jan's.
    """

    id: str
    owner: str
    created_at_ms: int
    model: str = ANY_MODEL
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    tool_resources: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    temperature: float | None = None
    top_p: float | None = None
    response_format: str | Mapping[str, Any] = "auto"
    reasoning_effort: str | None = None
    avatar: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's assistant object, and what Jan's has besides."""
        return {
            "id": self.id,
            "object": "assistant",
            "created_at": self.created_at_ms // 1000,
            "name": self.name,
            "description": self.description,
            "model": self.model,
            "instructions": self.instructions,
            "tools": list(self.tools),
            "tool_resources": self.tool_resources,
            "metadata": dict(self.metadata),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "response_format": self.response_format,
            "reasoning_effort": self.reasoning_effort,
            "avatar": self.avatar,
            "file_ids": [],
        }
