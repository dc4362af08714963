"""Leave to use a replica, from its side: handed out through Serve's handle, valid once, over when the link says so."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

REDEEM_S = 15.0
"""A ticket that nobody has come with by then is void."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a gateway gets for a lease.

    Attributes:
        replica: The replica's actor id, in hex.
        host: The listener's address.
        port: And its port.
        room: How many more requests the replica could take at that moment.
        token: Good for one link, or for one lease on a link that is open already.
    """

    replica: str
    host: str
    port: int
    room: int
    token: str = field(repr=False)


@dataclass(slots=True, eq=False)
class Grant:
    """A lease as the replica sees it.

    Attributes:
        over: Set when it has ended.
        redeemed: Whether somebody came with its ticket.
    """

    token: str
    over: asyncio.Event = field(default_factory=asyncio.Event)
    redeemed: bool = False


class Grants:
    """All leases of a replica, by token."""

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}

    def new(self) -> Grant:
        """Another lease; it ends by itself if its ticket is not redeemed in ``REDEEM_S`` seconds."""
        grant = Grant(secrets.token_urlsafe(24))
        self._grants[grant.token] = grant
        asyncio.get_running_loop().call_later(REDEEM_S, self._expire, grant)
        return grant

    def redeem(self, token: str) -> Grant | None:
        """The lease that this ticket opens; None if there is none, or it was opened before."""
        grant = self._grants.get(token)
        if grant is None or grant.redeemed or grant.over.is_set():
            return None
        grant.redeemed = True
        return grant

    def __len__(self) -> int:
        return len(self._grants)

    def end(self, grant: Grant) -> None:
        """The lease is over."""
        self._grants.pop(grant.token, None)
        grant.over.set()

    def _expire(self, grant: Grant) -> None:
        if not grant.redeemed:
            self.end(grant)
