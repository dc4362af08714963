"""Users, projects, keys and events as OpenAI's administration API shows them.

An owner of the organization is an admin of ours, a reader is a user. Guests are in no organization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from app.domain.audit_event import AuditAction, AuditEvent
from app.domain.key_record import KeyRecord, seconds
from app.domain.principal import Role
from app.domain.project import Member, Project, ProjectRole
from app.domain.user import ADMIN_ID, User

OrganizationRole = Literal["owner", "reader"]
Json = dict[str, Any]

EVENT_TYPES: Final[frozenset[AuditAction]] = frozenset(
    (
        "api_key.created",
        "api_key.updated",
        "api_key.deleted",
        "login.succeeded",
        "login.failed",
        "logout.succeeded",
        "project.created",
        "project.updated",
        "project.archived",
        "service_account.created",
        "service_account.updated",
        "service_account.deleted",
        "user.added",
        "user.updated",
        "user.deleted",
    )
)
"""The acts for which OpenAI has a name and a shape; all others are in our own audit log alone."""


def role_in_organization(role: Role) -> OrganizationRole:
    """OpenAI's word for a role."""
    return "owner" if role == "admin" else "reader"


def project_object(project: Project) -> Json:
    """A project."""
    return {
        "id": project.id,
        "object": "organization.project",
        "name": project.name,
        "created_at": seconds(project.created_at_ms),
        "archived_at": seconds(project.archived_at_ms),
        "status": "archived" if project.is_archived else "active",
    }


def member_object(member: Member, user: User | None) -> Json:
    """Somebody in a project; None for one who is being deleted at this moment."""
    return {
        "id": member.user,
        "object": "organization.project.user",
        "name": user and user.name,
        "email": user and user.email,
        "role": member.role,
        "added_at": seconds(member.added_at_ms),
    }


def service_account_object(account: User) -> Json:
    """A service account."""
    return {
        "id": account.id,
        "object": "organization.project.service_account",
        "name": account.name,
        "role": "member",
        "created_at": seconds(account.created_at_ms),
    }


def service_account_key_object(created: Mapping[str, Any]) -> Json:
    """A service account's new key, value included, out of our own answer to its making."""
    return {
        "id": created["id"],
        "object": "organization.project.service_account.api_key",
        "name": created["name"],
        "value": created["key"],
        "created_at": created["created_at"],
        "expires_at": created["expires_at"],
    }


def project_key_object(key: KeyRecord, owner: User | None, role: ProjectRole | None) -> Json:
    """A key of a project.

    Args:
        owner: Whom it stands for; None for one who is being deleted at this moment.
        role: What they are in the project, or None.
    """
    active = owner is not None and owner.status == "active" and role is not None
    return {
        "id": key.id,
        "object": "organization.project.api_key",
        "name": key.name,
        "redacted_value": key.redacted_value,
        "created_at": seconds(key.created_at_ms),
        "last_used_at": seconds(key.last_used_at_ms),
        "expires_at": seconds(key.expires_at_ms),
        "owner": {} if owner is None else _key_owner(owner, role or "member"),
        "owner_project_access": "active" if active else "inactive",
    }


def admin_key_object(key: KeyRecord, owner: User | None) -> Json:
    """A key that has the permission ``admin``."""
    return {
        "id": key.id,
        "object": "organization.admin_api_key",
        "name": key.name,
        "redacted_value": key.redacted_value,
        "created_at": seconds(key.created_at_ms),
        "last_used_at": seconds(key.last_used_at_ms),
        "expires_at": seconds(key.expires_at_ms),
        "owner": {}
        if owner is None
        else {
            "type": "user",
            "object": "organization.user",
            "id": owner.id,
            "name": owner.name,
            "created_at": seconds(owner.created_at_ms),
            "role": role_in_organization(owner.role),
        },
    }


def user_object(user: User) -> Json:
    """Somebody with an account, or a service account."""
    return {
        "id": user.id,
        "object": "organization.user",
        "name": user.name,
        "email": user.email,
        "role": role_in_organization(user.role),
        "added_at": seconds(user.created_at_ms),
        "created": seconds(user.created_at_ms),
        "is_default": user.id == ADMIN_ID,
        "is_service_account": user.is_service_account,
        "is_scim_managed": False,
        "user": {
            "id": user.id,
            "object": "user",
            "name": user.name,
            "email": user.email,
            "picture": user.picture,
            "enabled": user.status == "active",
        },
    }


def event_object(event: AuditEvent, users: Mapping[str, User], projects: Mapping[str, Project]) -> Json:
    """An act that OpenAI has a shape for.

    Args:
        users: Those who are still there, by id.
        projects: By id.
    """
    shown: Json = {
        "id": event.id,
        "type": event.action,
        "effective_at": seconds(event.at_ms),
        "actor": _actor(event, users.get(event.actor)),
        event.action: _details(event),
    }
    project = projects.get(project_of(event) or "")
    if project is not None:
        shown["project"] = {"id": project.id, "name": project.name}
    return shown


def project_of(event: AuditEvent) -> str | None:
    """The project that an act was about or happened in."""
    return event.target if event.action.startswith("project.") else event.detail.get("project")


def _key_owner(owner: User, role: ProjectRole) -> Json:
    about: Json = {"id": owner.id, "name": owner.name, "created_at": seconds(owner.created_at_ms), "role": role}
    if owner.is_service_account:
        return {"type": "service_account", "service_account": about}
    # An address is not everybody's, and must be text there.
    return {"type": "user", "user": {**about, "email": owner.email or ""}}


def _actor(event: AuditEvent, user: User | None) -> Json:
    about: Json = {} if event.actor.startswith("ip:") else {"id": event.actor}
    if user is not None and user.email is not None:
        about["email"] = user.email
    if event.credential is None or not event.credential.startswith("key_"):
        return {"type": "session", "session": {"user": about, "ip_address": event.address}}
    if user is not None and user.is_service_account:
        return {
            "type": "api_key",
            "api_key": {"id": event.credential, "type": "service_account", "service_account": {"id": event.actor}},
        }
    return {"type": "api_key", "api_key": {"id": event.credential, "type": "user", "user": about}}


def _details(event: AuditEvent) -> Json:
    """What the event's own field holds."""
    if event.action.startswith("log"):
        failed = event.outcome == "refused"
        return {"error_message": str(event.detail.get("reason", "refused"))} if failed else {}
    return {"id": event.target or "", **_change(event)}


def _change(event: AuditEvent) -> Json:
    detail = event.detail
    role: Json = {"role": role_in_organization(detail["role"])} if "role" in detail else {}
    match event.action:
        case "api_key.created":
            return {"data": {"scopes": list(detail.get("permissions", ()))}}
        case "project.created":
            return {"data": {"name": detail.get("name", ""), "title": detail.get("name", "")}}
        case "project.updated":
            return {"changes_requested": {"title": detail.get("name", "")}}
        case "service_account.created":
            return {"data": {"role": "member"}}
        case "user.added":
            return {"data": role}
        case "user.updated":
            return {"changes_requested": role}
        case _:
            return {}
