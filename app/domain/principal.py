"""Who is calling."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from app.domain.limits import OwnLimits

IPV6_SITE = 64
"""Bits of an IPv6 address that tell one site from another; the rest are its own to choose."""

Scope = Literal["read", "write", "admin"]
"""``read``: own resources and models. ``write``: inference and changes. ``admin``: what is everybody's, for admins."""

PrincipalKind = Literal["user", "api_key", "guest", "anonymous"]
Role = Literal["admin", "user", "guest", "anonymous"]

EVERYTHING: frozenset[Scope] = frozenset(("read", "write", "admin"))
USE: frozenset[Scope] = frozenset(("read", "write"))


@dataclass(frozen=True, slots=True)
class Principal:
    """An immutable snapshot of the caller, cached for at most ``principal_cache_s`` seconds.

    Attributes:
        kind: How the caller proved who they are.
        subject: What limits, usage and ownership hang on: a user id, or ``ip:<address>`` for the anonymous.
        role: What they may do beyond their scopes.
        scopes: What this credential may do.
        key_id: The API key's id, when one was used.
        session_id: The session's id, when an access token was used.
        project_id: What the API key belongs to, when one was used.
        models: The only models this credential may use, by id or alias; None for all.
        bounded: The credential is an API key that may do less than its owner, or not for ever.
        user_limits: What an admin gave the user instead of the policy's; None for the policy's.
        key_limits: What the key is held to besides.
        key_limits_by_admin: Whether an admin gave the key these: then they may be more than the policy's.
        plan: The user's plan.
    """

    kind: PrincipalKind
    subject: str
    role: Role
    scopes: frozenset[Scope]
    key_id: str | None = None
    session_id: str | None = None
    project_id: str | None = None
    models: frozenset[str] | None = None
    bounded: bool = False
    user_limits: OwnLimits | None = None
    key_limits: OwnLimits | None = None
    key_limits_by_admin: bool = False
    plan: str | None = None

    @classmethod
    def anonymous(cls, address: str) -> Principal:
        """A caller without credentials, told apart by address."""
        return cls("anonymous", f"ip:{address}", "anonymous", USE)

    @property
    def is_admin(self) -> bool:
        """Whether this credential may touch what is everybody's: an admin's, and made for it."""
        return self.role == "admin" and "admin" in self.scopes

    @property
    def tenant(self) -> str:
        """The subject as limits and turns count it: all the addresses of a site as one."""
        if self.kind != "anonymous":
            return self.subject
        try:
            address = ipaddress.ip_address(self.subject.removeprefix("ip:"))
        except ValueError:
            return self.subject
        if isinstance(address, ipaddress.IPv4Address):
            return self.subject
        return f"ip:{ipaddress.ip_network((int(address), IPV6_SITE), strict=False)}"
