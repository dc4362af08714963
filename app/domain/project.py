"""Projects: what keys, service accounts and people belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.key_record import DEFAULT_PROJECT
from app.domain.secrets import random_base62

ProjectRole = Literal["owner", "member"]
"""Both may use the project's keys; who may change the project is a matter of being an admin."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project as stored.

    Attributes:
        id: ``proj_...``.
        archived_at_ms: When it was closed for good, or None.
    """

    id: str
    name: str
    created_at_ms: int
    archived_at_ms: int | None = None

    @property
    def is_archived(self) -> bool:
        """Whether keys of it open nothing any more."""
        return self.archived_at_ms is not None

    @property
    def is_default(self) -> bool:
        """Whether it is the one that is always there, and that everybody with an account is in."""
        return self.id == DEFAULT_PROJECT


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is in a project."""

    project: str
    user: str
    role: ProjectRole
    added_at_ms: int


def new_project_id() -> str:
    """An id that no project has."""
    return f"proj_{random_base62(22)}"
