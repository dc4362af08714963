"""The links of a gateway: one to each replica that it has leases of."""

from __future__ import annotations

import asyncio
import time

from deployments.link.link import Link, LinkLost
from deployments.link.tickets import Ticket

UNREACHABLE_S = 30.0
"""How long a replica whose listener could not be reached is not tried again."""


class Unreachable(Exception):
    """A replica was leased, but there is no way to its listener: its bytes have to go through the handle."""


class Links:
    """The links of this process, one a replica."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._unreachable: dict[str, float] = {}

    async def bind(self, ticket: Ticket) -> Link:
        """The link to the ticket's replica, the lease bound to it.

        Raises:
            Unreachable: It cannot be opened, or could not a moment ago.
        """
        replica = ticket.replica
        async with self._opening.setdefault(replica, asyncio.Lock()):
            link = self._links.get(replica)
            if link is not None and link.alive:
                link.adopt(ticket.token)
                return link
            if time.monotonic() < self._unreachable.get(replica, 0.0):
                raise Unreachable(replica)
            self._forget_the_dead()
            try:
                link = self._links[replica] = await Link.connect(ticket)
            except LinkLost as error:
                self._unreachable[replica] = time.monotonic() + UNREACHABLE_S
                raise Unreachable(str(error)) from None
            return link

    def close(self) -> None:
        """Hang up on every replica."""
        for link in self._links.values():
            link.close()

    def _forget_the_dead(self) -> None:
        now = time.monotonic()
        self._links = {replica: link for replica, link in self._links.items() if link.alive}
        self._unreachable = {replica: until for replica, until in self._unreachable.items() if until > now}
        self._opening = {replica: lock for replica, lock in self._opening.items() if lock.locked()}
