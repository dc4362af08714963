"""What is remembered of every act of an admin and of everything that touches who may come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.domain.key_record import seconds
from app.domain.origin import Origin
from app.domain.principal import Principal

AuditAction = Literal[
    "login.succeeded",
    "login.failed",
    "logout.succeeded",
    "guest.created",
    "guest.upgraded",
    "session.reuse_detected",
    "access.refused",
    "api_key.created",
    "api_key.updated",
    "api_key.deleted",
    "user.added",
    "user.updated",
    "user.deleted",
    "user.credentials_revoked",
    "project.created",
    "project.updated",
    "project.archived",
    "project_user.added",
    "project_user.updated",
    "project_user.deleted",
    "service_account.created",
    "service_account.updated",
    "service_account.deleted",
    "limits.updated",
    "limits.reset",
    "model.added",
    "model.updated",
    "model.deleted",
    "model.started",
    "model.stopped",
    "model.pulled",
]
"""OpenAI's names where it has one for the act."""

Outcome = Literal["succeeded", "refused"]


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One act: who, what, to whom, when, from where.

    Attributes:
        id: ``audit_...``.
        actor: User id, or ``ip:<address>`` of somebody who proved nothing.
        credential: The API key or session that was shown, or None.
        target: Id of what was acted on, or None.
        detail: The change, or the reason of a refusal; never a secret.
    """

    id: str
    at_ms: int
    action: AuditAction
    outcome: Outcome
    actor: str
    credential: str | None
    target: str | None
    address: str
    user_agent: str
    request_id: str
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """The object that admins are shown; the time is in Unix seconds."""
        return {
            "id": self.id,
            "object": "audit_log.event",
            "type": self.action,
            "outcome": self.outcome,
            "effective_at": seconds(self.at_ms),
            "actor": {"id": self.actor, "credential": self.credential},
            "target": self.target,
            "origin": {"address": self.address, "user_agent": self.user_agent, "request_id": self.request_id},
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: those that everything said here holds of.

    Attributes:
        actions: One of these; none given, any. Likewise below.
        actors: User ids.
        actors_or_credentials: User ids, or ids of the keys or sessions that were shown.
        projects: Ids of what an event was about or happened in.
        since_ms: The earliest time, in epoch milliseconds.
        until_ms: The time before which they happened.
    """

    actions: Sequence[str] = ()
    actors: Sequence[str] | None = None
    actors_or_credentials: Sequence[str] = ()
    targets: Sequence[str] = ()
    projects: Sequence[str] = ()
    since_ms: int | None = None
    until_ms: int | None = None


EVERY_EVENT = EventFilter()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where: what services need to know of a request to write it down."""

    subject: str
    credential: str | None
    origin: Origin

    @classmethod
    def of(cls, caller: Principal, origin: Origin) -> Actor:
        """The caller of a request."""
        return cls(caller.subject, caller.key_id or caller.session_id, origin)

    @classmethod
    def unknown(cls, origin: Origin) -> Actor:
        """Somebody who proved nothing yet."""
        return cls(f"ip:{origin.address}", None, origin)
