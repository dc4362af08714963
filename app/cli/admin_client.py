"""The administration of users and keys, as the command line calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from app.cli.api_client import ApiClient, step
from app.cli.errors import CliError
from app.domain.money import plain

OwnLimits = Mapping[str, float | None] | Literal["none"]
"""What somebody is held to by the name of the limit, or that theirs are lifted."""


@dataclass(frozen=True, slots=True)
class UserView:
    """One user, as ``GET /v1/admin/users/{id}`` describes them."""

    id: str
    name: str
    email: str | None
    role: str
    status: str
    created_at: int
    service_project: str | None
    limits: OwnLimits | None
    plan: str | None
    issuer: str | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From the user object."""
        identity: Mapping[str, str] | None = values.get("identity")
        return cls(
            id=values["id"],
            name=values["name"],
            email=values["email"],
            role=values["role"],
            status=values["status"],
            created_at=values["created_at"],
            service_project=values.get("service_project"),
            limits=values.get("limits"),
            plan=values.get("plan"),
            issuer=None if identity is None else identity["issuer"],
        )


@dataclass(frozen=True, slots=True)
class KeyView:
    """One API key, as ``GET /v1/admin/api-keys/{id}`` describes it; times are Unix seconds.

    Attributes:
        value: The key itself, which the answer to its making alone has.
    """

    id: str
    name: str
    redacted_value: str
    owner: str
    project: str
    permissions: tuple[str, ...]
    models: tuple[str, ...] | None
    limits: OwnLimits | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    value: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From the key object."""
        models = values["models"]
        return cls(
            id=values["id"],
            name=values["name"],
            redacted_value=values["redacted_value"],
            owner=values["owner"],
            project=values["project_id"],
            permissions=tuple(values["permissions"]),
            models=None if models is None else tuple(models),
            limits=values["limits"],
            created_at=values["created_at"],
            expires_at=values["expires_at"],
            last_used_at=values["last_used_at"],
            value=values.get("key", ""),
        )


class AdminClient(ApiClient):
    """Looks at users and keys, and changes them. A user is named by id, or by an e-mail address that nobody shares."""

    def users(self, role: str | None = None) -> Iterator[UserView]:
        """Every user; those of a role, if one is given."""
        return map(UserView.of, self.every("/admin/users", {"role": role} if role else None))

    def user(self, who: str) -> UserView:
        """One user.

        Raises:
            CliError: There is none such, or the address is of several.
        """
        if "@" not in who:
            return UserView.of(self.ask("GET", f"/admin/users/{step(who)}"))
        found = [UserView.of(user) for user in self.every("/admin/users", {"email": who})]
        if not found:
            raise CliError(f"Nobody here has the e-mail address {who}.")
        if len(found) > 1:
            ids = "\n".join(f"  {user.id}  {user.name}" for user in found)
            raise CliError(f"More than one user has the e-mail address {who}. Name one by id:\n{ids}")
        return found[0]

    def add_user(self, name: str, email: str | None, role: str) -> UserView:
        """Add somebody."""
        body = {"name": name, "role": role, **({} if email is None else {"email": email})}
        return UserView.of(self.ask("POST", "/admin/users", body))

    def change_user(self, who: str, **fields: Any) -> UserView:
        """Change what is said of somebody."""
        return UserView.of(self.ask("PATCH", f"/admin/users/{step(self.user(who).id)}", fields))

    def revoke_user(self, user: UserView) -> Mapping[str, int]:
        """End every session and key of somebody; how many."""
        return self.ask("POST", f"/admin/users/{step(user.id)}/revoke")["revoked"]

    def delete_user(self, user: UserView) -> Mapping[str, int]:
        """Delete somebody and all that is theirs; how many of what."""
        return self.ask("DELETE", f"/admin/users/{step(user.id)}")["removed"]

    def keys(self, owner: str | None = None) -> Iterator[KeyView]:
        """Every API key; those of one user, if one is given."""
        query = None if owner is None else {"owner": self.user(owner).id}
        return map(KeyView.of, self.every("/admin/api-keys", query))

    def key(self, key_id: str) -> KeyView:
        """One API key."""
        return KeyView.of(self.ask("GET", f"/admin/api-keys/{step(key_id)}"))

    def create_key(self, owner: UserView, fields: Mapping[str, Any]) -> KeyView:
        """Make a key: the only answer that holds its value."""
        return KeyView.of(self.ask("POST", "/admin/api-keys", {"owner": owner.id, **fields}))

    def change_key(self, key_id: str, fields: Mapping[str, Any]) -> KeyView:
        """Change what is said of a key."""
        return KeyView.of(self.ask("PATCH", f"/admin/api-keys/{step(key_id)}", fields))

    def limits(self) -> dict[str, Any]:
        """The limits in force, and where they come from."""
        return self.ask("GET", "/admin/limits")

    def set_limits(self, values: Mapping[str, Any]) -> None:
        """Put other limits in force."""
        self.ask("PUT", "/admin/limits", values)

    def reset_limits(self) -> None:
        """Go back to the file's."""
        self.ask("DELETE", "/admin/limits")

    def revoke_key(self, key_id: str) -> None:
        """End a key."""
        self.ask("DELETE", f"/admin/api-keys/{step(key_id)}")


def limits_told(limits: OwnLimits | None) -> str:
    """Somebody's own limits in words; empty where they have none."""
    if limits is None:
        return ""
    if limits == "none":
        return "lifted"
    return ", ".join(f"{plain(count)} {name.replace('_', ' ')}" for name, count in limits.items() if count is not None)
