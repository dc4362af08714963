"""An API key as it is kept and shown: everything but the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.limits import GivenLimits, carried
from app.domain.principal import Principal, Scope
from app.domain.user import User

DEFAULT_PROJECT = "proj_default"
"""Where keys belong whose maker named no project."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of an owner.

    Attributes:
        id: ``key_...``.
        owner: The user whom it stands for.
        models: The only models that it opens, by id or alias; None for all.
        limits: What it is held to besides the policy's; None for the policy's alone.
        limits_by_admin: Whether an admin gave it these.
        expires_at_ms: Epoch milliseconds, or None for never; likewise ``last_used_at_ms``, within a minute.
    """

    id: str
    owner: str
    name: str
    redacted_value: str
    scopes: tuple[Scope, ...]
    created_at_ms: int
    project: str = DEFAULT_PROJECT
    models: tuple[str, ...] | None = None
    limits: GivenLimits | None = None
    limits_by_admin: bool = False
    active: bool = True
    expires_at_ms: int | None = None
    last_used_at_ms: int | None = None

    def valid(self, now_ms: float) -> bool:
        """Whether it opens anything at this moment."""
        return self.active and (self.expires_at_ms is None or now_ms < self.expires_at_ms)

    def principal(self, owner: User) -> Principal:
        """Whoever shows it."""
        return Principal(
            kind="api_key",
            subject=self.owner,
            role=owner.role,
            scopes=frozenset(self.scopes),
            key_id=self.id,
            project_id=self.project,
            models=None if self.models is None else frozenset(self.models),
            bounded=self.models is not None or self.expires_at_ms is not None or isinstance(self.limits, Mapping),
            user_limits=carried(owner.limits),
            key_limits=carried(self.limits),
            key_limits_by_admin=self.limits_by_admin,
            plan=owner.plan,
        )

    def to_dict(self) -> dict[str, Any]:
        """The object that the API shows; times are Unix seconds."""
        return {
            "id": self.id,
            "object": "api_key",
            "name": self.name,
            "redacted_value": self.redacted_value,
            "owner": self.owner,
            "project_id": self.project,
            "permissions": list(self.scopes),
            "models": None if self.models is None else list(self.models),
            "limits": dict(self.limits) if isinstance(self.limits, Mapping) else self.limits,
            "expires_at": seconds(self.expires_at_ms),
            "created_at": seconds(self.created_at_ms),
            "last_used_at": seconds(self.last_used_at_ms),
        }


def seconds(milliseconds: int | None) -> int | None:
    """Epoch milliseconds as Unix seconds, which is what the API speaks."""
    return None if milliseconds is None else milliseconds // 1000
