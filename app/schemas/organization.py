"""Bodies of OpenAI's administration API. What it has and we could not keep to is refused, unless it says nothing."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.schemas.common import Strict, example
from app.schemas.identity import CreateKeyRequest, Email, Name, Permissions
from app.schemas.problem import wrong

MAX_EXPIRY_SECONDS = 31_536_000
"""A year."""


def _nothing(value: Any) -> Any:
    if value is not None:
        raise wrong("is not supported here: leave it out", unsupported=True)
    return value


def _anywhere(value: Any) -> Any:
    return value if value == "GLOBAL" else _nothing(value)


Unsupported = Annotated[Any, AfterValidator(_nothing)]
"""A field of OpenAI's that would change something which we do not have; null says nothing."""

UserId = Annotated[str, Field(min_length=1, max_length=64)]
ExpiresIn = Annotated[int, Field(ge=1, le=MAX_EXPIRY_SECONDS)]
MemberRole = Literal["owner", "member"]


class CreateProjectRequest(Strict):
    """A new project."""

    model_config = example({"name": "Search"})

    name: Name
    residency: Annotated[Any, AfterValidator(_anywhere)] = Field(default=None, description="`GLOBAL` or left out.")
    geography: Unsupported = None
    external_key_id: Unsupported = None


class UpdateProjectRequest(Strict):
    """What is to change of a project."""

    model_config = example({"name": "Search and ranking"})

    name: Name | None = None
    geography: Unsupported = None
    external_key_id: Unsupported = None


class CreateServiceAccountRequest(Strict):
    """A new service account: a program of a project."""

    model_config = example({"name": "Nightly batch"})

    name: Name
    create_service_account_only: bool | None = Field(default=None, description="Make no API key with it.")
    expires_in_seconds: ExpiresIn | None = Field(default=None, description="How long its key counts.")

    @model_validator(mode="after")
    def _needs_a_key_to_expire(self) -> Self:
        if self.create_service_account_only and self.expires_in_seconds is not None:
            raise wrong("is of no use without a key", field="expires_in_seconds")
        return self

    def key(self) -> CreateKeyRequest | None:
        """Its first key."""
        return None if self.create_service_account_only else new_key("Secret Key", self.expires_in_seconds)


class UpdateServiceAccountRequest(Strict):
    """What is to change of a service account."""

    model_config = example({"name": "Hourly batch"})

    name: Name | None = None
    role: Literal["member"] | None = None


class CreateServiceAccountKeyRequest(Strict):
    """Another API key of a service account."""

    model_config = example({"name": "Secret Key"})

    name: Name = "Secret Key"
    scopes: Permissions = Field(default=["read", "write"], description="`read`, `write`, or both.")
    expires_in_seconds: ExpiresIn | None = None

    def key(self) -> CreateKeyRequest:
        """The key."""
        return new_key(self.name, self.expires_in_seconds, self.scopes)


class AddProjectUserRequest(Strict):
    """Somebody who is to be in a project, named by id or by e-mail address."""

    model_config = example({"user_id": "user_123", "role": "member"})

    user_id: UserId | None = None
    email: Email | None = None
    role: MemberRole

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.user_id is None) == (self.email is None):
            raise wrong("must be given, or `email`, and not both", field="user_id")
        return self


class UpdateProjectUserRequest(Strict):
    """What is to change of somebody in a project."""

    model_config = example({"role": "owner"})

    role: MemberRole | None = None


class UpdateOrganizationUserRequest(Strict):
    """What is to change of a user: an owner is an admin, a reader is not."""

    model_config = example({"role": "owner"})

    role: Literal["owner", "reader"] | None = None
    role_id: Unsupported = None
    technical_level: Unsupported = None
    developer_persona: Unsupported = None


class CreateAdminKeyRequest(Strict):
    """A new API key of yours, with every permission."""

    model_config = example({"name": "Provisioning"})

    name: Name
    expires_in_seconds: ExpiresIn | None = Field(default=None, description="How long it counts. Left out: for good.")

    def key(self) -> CreateKeyRequest:
        """The key."""
        return new_key(self.name, self.expires_in_seconds, ["read", "write", "admin"])


def new_key(
    name: str, expires_in_s: int | None, permissions: list[Literal["read", "write", "admin"]] | None = None
) -> CreateKeyRequest:
    """A key as our own API asks for one."""
    return CreateKeyRequest(
        name=name,
        permissions=permissions or ["read", "write"],
        expires_at=None if expires_in_s is None else int(time.time()) + expires_in_s,
    )
