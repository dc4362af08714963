"""Leases: leave to give one replica one request at a time, kept for a moment after each request for the next one.

A lease comes through Serve's handle, which queues for it, wakes a cold model, chooses the replica and counts it as
ongoing for as long as it lasts. That costs more than a millisecond, so nobody who need not waits for one:

- a lease that a request gives back serves the next, never for long: new replicas get their share, and one that is to
  go drains. While requests wait, leases end one after the other: see ``Turnover``;
- a replica of which a lease has just come has room for more, as its ticket says. Requests may begin there at once, on
  trust, and their leases follow, one by one: what Serve counts is right a moment later, and a burst does not stand in
  line for its papers. Gateways do not know of each other's trust, so that together they may for that moment go beyond
  a replica's ``max_ongoing_requests``; its engine queues;
- a replica that has been quiet for longer may have filled up or be about to go, which its link would tell: one request
  begins there on trust, and whether it is over by then or not, a new lease is asked for.

Where a model may have several replicas, a ``Routing`` chooses among those that have a place at once, and a lease that a
request on trust lacks is asked for at its own replica; when Serve gives another one's, that replica is full or on its
way out, and soon nobody is trusted to it any more. Replicas of which no lease has come yet are looked for now and then,
if there may be any, by asking for one more lease, wherever it may be. Whoever has to wait gets what comes first; who
that is among those who wait, ``Waiters`` says, and nobody comes before them. For each of them a lease is asked for, so
that Serve, and by it the autoscaling, knows how many wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from app.domain.model_spec import RequestLimits
from app.services.backend import NOBODY, Share
from deployments.affinity import NO_PREFIX, Prefix, Routing
from deployments.asks import ANYWHERE, Asks, decrement
from deployments.fairness import Charge
from deployments.link.link import Link
from deployments.link.tickets import Ticket
from deployments.links import Links
from deployments.outcomes import Moved
from deployments.places import Lease, Place
from deployments.search import Search
from deployments.turnover import Turnover
from deployments.waiters import Waiter, Waiters

LINGER_S = 2.0
"""How long a lease that nobody uses is kept."""

FOLLOW_S = 0.01
"""How long after a request that began on trust, or after the lease before it, the next lease is asked for."""

REFUSED_S = 1.0
"""The same after Serve had none to give."""

FOLLOWING = 8
"""How many leases are asked for at once on behalf of requests that run already."""

RENEW_S = 3.0
"""Where replicas are chosen, the age at which the newest lease of one in use gets a successor, before it is too old."""

DEFAULT_LIMITS = RequestLimits()

EVEN = 1
"""While leases of other replicas are on their way, one is given so many requests more than the least busy, no more."""


class LeasePool:
    """The leases of one model.

    Args:
        ask: Asks Serve for a lease, of the replica that is named if there is a routing; gives the messages of the call,
            of which the first is the ticket.
        links: This process's.
        routing: Chooses among replicas; None where there is only one.
        replicas: How many there may be.
    """

    def __init__(
        self, ask: Callable[..., Any], links: Links, routing: Routing | None = None, replicas: int = 1
    ) -> None:
        self.routing = routing
        self._ask = ask
        self._links = links
        self._idle: list[Lease] = []
        self._newest: dict[str, Lease] = {}
        self._trusted: dict[Place, None] = {}
        self._trusted_by: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self._waiters: Waiters[Place] = Waiters()
        self._asks = Asks()
        self._follow: asyncio.TimerHandle | None = None
        self._renewing: dict[str, None] = {}
        self._search = Search(replicas)
        self._sweep: asyncio.TimerHandle | None = None
        self._turnover = Turnover()

    async def acquire(
        self,
        deadline: float | None = None,
        prefix: Prefix = NO_PREFIX,
        share: Share = NOBODY,
        limits: RequestLimits = DEFAULT_LIMITS,
    ) -> Place:
        """A place: of a lease that is free, or on trust, or else of the first lease to come.

        Args:
            deadline: By the loop's clock, until when to wait for one.
            prefix: What the routing is to know of the request.
            share: Who waits, if it has to.
            limits: The model's: how many may wait, and for how long.

        Raises:
            TimeoutError: None came in time.
            Crowded: It is not to wait, or no more; see ``Waiters``.
            Unreachable: See ``Links``.
            Exception: What Serve raised.
        """
        place = None if self._waiters else self._at_once(prefix, share)
        if place is None:
            async with asyncio.timeout_at(deadline):
                place = await self._wait(share, limits)
        if self.routing is not None:
            self.routing.placed(prefix, place.link.replica)
        return place

    def release(self, place: Place) -> None:
        """The request is over: whoever is next gets its place."""
        decrement(self._busy, place.link.replica)
        if place.lease is not None:
            self._offer(place.lease)
            return
        self._no_longer_trust(place)
        self._trust_waiters()
        self._ask_less()

    def served(self, place: Place, input_tokens: int, output_tokens: int) -> None:
        """What its request really took, once that is known; else what was expected of it stands."""
        self._waiters.fairness.settle(place.charge, input_tokens, output_tokens)

    def _at_once(self, prefix: Prefix, share: Share) -> Place | None:
        if self.routing is not None and (free := self._free()):
            replica = self.routing.choose(prefix, free)
            if (lease := self._idle_on(replica)) is not None:
                self._idle.remove(lease)
            return self._place(lease.link if lease else self._newest[replica].link, lease, share)
        if (lease := self._take_idle()) is not None:
            return self._place(lease.link, lease, share)
        if (link := self._trustworthy()) is not None:
            return self._place(link, None, share)
        return None

    def _free(self) -> dict[str, int]:
        """The replicas that could take a request at once, and how many each of them has."""
        self._forget_newest()
        if not self._waiters and self._search.begin(len(self._newest)):
            self._ask_for_one(ANYWHERE)
        return {
            replica: self._busy[replica]
            for replica, lease in self._newest.items()
            if (self._trusted_by[replica] < lease.trust or self._idle_on(replica)) and not self._uneven(replica)
        }

    def _uneven(self, replica: str) -> bool:
        """Whether others, quiet until now, are to be waited for: they will be there in milliseconds."""
        newest = self._newest
        if self.routing is None or not any(name in newest and not newest[name].usable for name in self._renewing):
            return False
        return self._busy[replica] > min(self._busy[name] for name in newest) + EVEN

    def abandon(self) -> None:
        """Its application is gone or going: whoever waits has to look for the model again."""
        while (waiter := self._waiters.pop()) is not None:
            waiter.turn.set_exception(Moved())
        self._ask_less()

    def _place(self, link: Link, lease: Lease | None, counted: Share | Charge) -> Place:
        charge = counted if isinstance(counted, Charge) else self._waiters.pass_by(counted)
        place = Place(link, lease, charge)
        self._busy[link.replica] += 1
        if lease is None:
            if not self._newest[link.replica].usable:
                self._renew(link.replica)
            self._trusted[place] = None
            self._trusted_by[link.replica] += 1
            self._follow_later()
        elif self.routing is not None and self._is_ageing(link.replica):
            self._renew(link.replica)
        return place

    def _renew(self, replica: str) -> None:
        if self.routing is None:
            self._renewing[ANYWHERE] = None
        elif replica not in self._renewing:
            self._renewing[replica] = None
            self._ask_for_one(replica)

    def _is_ageing(self, replica: str) -> bool:
        newest = self._newest.get(replica)
        return newest is None or time.monotonic() - newest.began > RENEW_S

    async def _wait(self, share: Share, limits: RequestLimits) -> Place:
        self._forget_newest()
        waiter: Waiter[Place] = self._waiters.join(share, limits, cold=not self._newest)
        # What came free without a word is theirs who came before.
        self._serve_waiters()
        if self._asks.of(ANYWHERE) < len(self._waiters):
            self._ask_for_one(ANYWHERE)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            # It may have come in this very moment.
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                place = waiter.turn.result()
                self._waiters.fairness.undo(place.charge)
                self.release(place)
            raise
        finally:
            self._waiters.leave(waiter)
            self._ask_less()

    @property
    def _wanted(self) -> int:
        """How many leases there is a use for."""
        return len(self._waiters) + len(self._trusted) + len(self._renewing) + self._search.under_way

    def _needs(self) -> Counter[str]:
        """The same, by replica."""
        if self.routing is None:
            return Counter({ANYWHERE: self._wanted})
        needs = self._trusted_by + Counter(self._renewing.keys())
        needs[ANYWHERE] = len(self._waiters) + self._search.under_way
        return needs

    def _lacking(self) -> str:
        """The replica of which a lease is lacking most urgently."""
        lacking = (replica for replica, count in self._needs().items() if self._asks.of(replica) < count)
        return ANYWHERE if self.routing is None else next(lacking, ANYWHERE)

    def _ask_for_one(self, replica: str) -> None:
        asking = asyncio.create_task(self._new(replica))
        self._asks.add(asking, replica)
        asking.add_done_callback(self._came)

    def _ask_less(self) -> None:
        # Serve must not keep a place for somebody who has one, or who left.
        if (excess := len(self._asks) - self._wanted) > 0:
            self._asks.cancel(excess, self._needs())

    async def _new(self, replica: str) -> Lease:
        messages = self._ask(replica) if replica else self._ask()
        try:
            ticket: Ticket = await anext(messages)
            link = await self._links.bind(ticket)
        except BaseException:
            messages.cancel()
            raise
        return Lease(link, ticket.token, ticket.room, messages)

    def _came(self, asking: asyncio.Task[Lease]) -> None:
        asked = self._asks.remove(asking)
        if asking.cancelled():
            return
        self._renewing.pop(asked, None)
        searched = asked == ANYWHERE and self._search.ends()
        error = asking.exception()
        if error is None:
            lease = asking.result()
            self._learn(lease, asked)
            if searched and not self._waiters and self._trusted_on(lease.link) is None:
                lease.end()  # Serve must not take a search for load
                return
            self._turnover.made_good(self._busy.total())
            # Whoever runs on trust takes up room that the replica knows nothing of: were the lease a waiter's, and they
            # left without, there would be more of them than it has places. Even on a replica that is dying it is
            # handed on: to learn that and try again is what its request has to do.
            if not self._cover(lease):
                self._hand_on(lease)
            self._trust_waiters()
        elif (waiter := self._waiters.pop()) is not None:
            waiter.turn.set_exception(error)
        else:
            self._follow_less_soon()

    def _learn(self, lease: Lease, asked: str) -> None:
        replica = lease.link.replica
        self._renewing.pop(replica, None)
        if replica not in self._newest:
            self._search.hurry()
        self._newest[replica] = lease
        if asked not in (ANYWHERE, replica):
            self._follow_less_soon()
            if asked in self._newest and not self._newest[asked].usable:
                del self._newest[asked]
                self._search.hurry()

    def _follow_less_soon(self) -> None:
        if self._follow is not None:
            self._follow.cancel()
            self._follow = asyncio.get_running_loop().call_later(REFUSED_S, self._follow_up)

    def _offer(self, lease: Lease) -> None:
        if lease.usable or (self._waiters and lease.reachable and not self._turnover.take_turn()):
            self._hand_on(lease)
        else:
            lease.end()

    def _hand_on(self, lease: Lease) -> None:
        if (found := self._waiters.next()) is not None:
            waiter, charge = found
            waiter.turn.set_result(self._place(lease.link, lease, charge))
            self._ask_less()
        elif not self._cover(lease):
            lease.idle_since = time.monotonic()
            self._idle.append(lease)
            self._newest.setdefault(lease.link.replica, lease)
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(LINGER_S, self._sweep_idle)

    def _cover(self, lease: Lease) -> bool:
        """Give a lease to a request that runs on trust on its replica; whether there is one."""
        if (trusted := self._trusted_on(lease.link)) is None:
            return False
        self._no_longer_trust(trusted)
        trusted.lease = lease
        self._ask_less()
        return True

    def _take_idle(self) -> Lease | None:
        while self._idle:
            # The last to become idle, but on the replica with the least to do.
            lease = min(reversed(self._idle), key=lambda lease: self._busy[lease.link.replica])
            self._idle.remove(lease)
            if lease.usable:
                return lease
            lease.end()
        return None

    def _idle_on(self, replica: str) -> Lease | None:
        idle = (lease for lease in reversed(self._idle) if lease.link.replica == replica and lease.usable)
        return next(idle, None)

    def _forget_newest(self) -> None:
        self._newest = {replica: lease for replica, lease in self._newest.items() if lease.remembered}

    def _trustworthy(self) -> Link | None:
        self._forget_newest()
        free = [lease.link for lease in self._newest.values() if self._trusted_by[lease.link.replica] < lease.trust]
        link = min(free, key=lambda link: self._busy[link.replica], default=None)
        return None if link is not None and self._uneven(link.replica) else link

    def _serve_waiters(self) -> None:
        while self._waiters and (lease := self._take_idle()) is not None:
            self._hand_on(lease)
        self._trust_waiters()

    def _trust_waiters(self) -> None:
        while self._waiters and (link := self._trustworthy()) is not None:
            if (found := self._waiters.next()) is not None:
                waiter, charge = found
                waiter.turn.set_result(self._place(link, None, charge))

    def _no_longer_trust(self, place: Place) -> None:
        del self._trusted[place]
        decrement(self._trusted_by, place.link.replica)

    def _trusted_on(self, link: Link) -> Place | None:
        return next((place for place in self._trusted if place.link is link), None)

    def _follow_later(self) -> None:
        if self._follow is None:
            self._follow = asyncio.get_running_loop().call_later(FOLLOW_S, self._follow_up)

    def _follow_up(self) -> None:
        """Ask for one of the leases that requests on trust still lack."""
        self._follow = None
        if self._wanted > len(self._asks) and len(self._asks) < len(self._waiters) + FOLLOWING:
            self._ask_for_one(self._lacking())
        if self._trusted or self._renewing:
            self._follow_later()

    def _sweep_idle(self) -> None:
        oldest = time.monotonic() - LINGER_S
        kept = [lease for lease in self._idle if lease.idle_since > oldest and lease.usable]
        for lease in self._idle:
            if lease not in kept:
                lease.end()
        self._idle = kept
        self._sweep = None
        if kept:
            rest = min(lease.idle_since for lease in kept) - oldest
            self._sweep = asyncio.get_running_loop().call_later(rest, self._sweep_idle)
