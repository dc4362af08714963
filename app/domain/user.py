"""People, and programs that stand for themselves: whoever owns something here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.limits import GivenLimits
from app.domain.principal import Role
from app.domain.secrets import random_base62

UserStatus = Literal["active", "disabled"]
NameFrom = Literal["issuer", "own"]
ADMIN_ID = "user_admin"
"""The one that the first start makes, and whose key is in ``<state_dir>/api-key``."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is elsewhere: an issuer's word for a person, never their e-mail address, which can change hands."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored.

    Attributes:
        id: ``user_...``.
        role: ``guest`` for those who never signed in.
        email: Verified by the issuer, or given by an admin; no two users are told apart by it.
        picture: Address of an image.
        identity: Who they are at the issuer; None for guests and those whom an admin added.
        name_from: Who chose the name: the ``issuer``'s follows what the issuer says, one's ``own`` stays.
        limits: "none" where an admin lifted them, or what an admin gave them instead; None for the policy's.
        plan: The policy's plan that an admin gave them.
        service_project: The project of a service account: a program that has keys there and cannot sign in. None for
            people.
    """

    id: str
    role: Role
    name: str
    created_at_ms: int
    email: str | None = None
    picture: str | None = None
    status: UserStatus = "active"
    identity: Identity | None = None
    name_from: NameFrom = "issuer"
    limits: GivenLimits | None = None
    plan: str | None = None
    service_project: str | None = None

    @property
    def is_guest(self) -> bool:
        """Whether they never signed in."""
        return self.role == "guest"

    @property
    def is_service_account(self) -> bool:
        """Whether this is a program of a project."""
        return self.service_project is not None


def new_user_id() -> str:
    """An id that nobody has."""
    return f"user_{random_base62(22)}"
