"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["read", "write"]
"""``read``: own resources and models. ``write``: inference and changes."""

PrincipalKind = Literal["user", "api_key", "guest", "anonymous"]
Role = Literal["admin", "user", "guest", "anonymous"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An immutable snapshot of the caller, cached for at most ``principal_cache_s`` seconds.

    Attributes:
        kind: How the caller proved who they are.
        subject: What limits, usage and ownership hang on: a user id, or ``ip:<address>`` for the anonymous.
        role: What they may do beyond their scopes.
        scopes: What this credential may do.
        key_id: The API key's id, when one was used.
    """

    kind: PrincipalKind
    subject: str
    role: Role
    scopes: frozenset[Scope]
    key_id: str | None = None

    @classmethod
    def anonymous(cls, address: str) -> Principal:
        """A caller without credentials, told apart by address."""
        return cls("anonymous", f"ip:{address}", "anonymous", frozenset(("read", "write")))
