"""Leases: leave to give one replica one request at a time, kept for a moment after each request for the next one.

A lease comes through Serve's handle, which queues for it, wakes a cold model, chooses the replica and counts it as
ongoing for as long as it lasts. That costs milliseconds, so under traffic a gateway uses its leases again; never for
long, so that new replicas get their share, and one that is to go drains.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from deployments.link.link import Link, LinkLost
from deployments.link.tickets import Ticket

LINGER_S = 2.0
"""How long a lease that nobody uses is kept."""

MAX_AGE_S = 5.0
"""How long after its beginning a lease is used again."""

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


@dataclass(slots=True, eq=False)
class Lease:
    """One request's place on a replica."""

    link: Link
    token: str
    messages: Any = field(repr=False)
    began: float = field(default_factory=time.monotonic)
    idle_since: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may go this way."""
        return self.link.alive and not self.link.retired and time.monotonic() - self.began < MAX_AGE_S

    def end(self) -> None:
        """Give it back to Serve."""
        if self.link.alive:
            self.link.release(self.token)
        else:
            self.messages.cancel()


class LeasePool:
    """The leases of one model.

    Args:
        ask: Asks Serve for a lease; gives the messages of the call, of which the first is the ticket.
        links: This process's.
    """

    def __init__(self, ask: Callable[[], Any], links: Links) -> None:
        self._ask = ask
        self._links = links
        self._idle: list[Lease] = []
        self._busy: dict[str, int] = {}
        self._waiters: deque[asyncio.Future[Lease]] = deque()
        self._sweep: asyncio.TimerHandle | None = None

    async def acquire(self) -> Lease:
        """A lease that is free, or else the first to come: a new one, or one that another request gives back.

        Raises:
            Unreachable: See ``Links``.
            Exception: What Serve raised.
        """
        lease = self._take_idle()
        return self._start(lease if lease is not None else await self._wait())

    def release(self, lease: Lease) -> None:
        """The request is over: whoever waits longest gets its lease."""
        replica = lease.link.replica
        self._busy[replica] -= 1
        if not self._busy[replica]:
            del self._busy[replica]
        self._offer(lease)

    async def _wait(self) -> Lease:
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        asking = asyncio.create_task(self._new())
        asking.add_done_callback(partial(self._came, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            # It may have come in this very moment.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._offer(waiter.result())
            raise
        finally:
            asking.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def _new(self) -> Lease:
        messages = self._ask()
        try:
            ticket: Ticket = await anext(messages)
            link = await self._links.bind(ticket)
        except BaseException:
            messages.cancel()
            raise
        return Lease(link, ticket.token, messages)

    def _came(self, waiter: asyncio.Future[Lease], asking: asyncio.Task[Lease]) -> None:
        if asking.cancelled():
            return
        error = asking.exception()
        if error is None:
            if waiter.done():
                self._offer(asking.result())
            else:
                waiter.set_result(asking.result())
        elif not waiter.done():
            waiter.set_exception(error)

    def _offer(self, lease: Lease) -> None:
        if not lease.usable:
            lease.end()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(lease)
                return
        lease.idle_since = time.monotonic()
        self._idle.append(lease)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(LINGER_S, self._sweep_idle)

    def _take_idle(self) -> Lease | None:
        while self._idle:
            # The last to become idle, but on the replica with the least to do.
            lease = min(reversed(self._idle), key=lambda lease: self._busy.get(lease.link.replica, 0))
            self._idle.remove(lease)
            if lease.usable:
                return lease
            lease.end()
        return None

    def _start(self, lease: Lease) -> Lease:
        self._busy[lease.link.replica] = self._busy.get(lease.link.replica, 0) + 1
        return lease

    def _sweep_idle(self) -> None:
        oldest = time.monotonic() - LINGER_S
        kept = [lease for lease in self._idle if lease.idle_since > oldest and lease.usable]
        for lease in self._idle:
            if lease not in kept:
                lease.end()
        self._idle = kept
        again = asyncio.get_running_loop().call_later(LINGER_S / 2, self._sweep_idle) if kept else None
        self._sweep = again
