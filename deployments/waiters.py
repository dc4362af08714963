"""The bounded line in front of a model: who waits for a place, who is next, and who is told to come back later.

Higher priorities come first; among equals the tenant that has had least (see ``deployments.fairness``); and of one
tenant's requests the one that came first. Where the line is full, somebody with fewer in it takes the place of the last
one of whoever has most: no tenant's flood ever has another's requests refused. Who would wait for too long, as places
come free now, is told so at once, and when it will be better.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.domain.model_spec import RequestLimits
from app.services.backend import Share
from deployments.fairness import Charge, Fairness, Key, key_of
from deployments.outcomes import Crowded
from deployments.pace import Pace

T = TypeVar("T")

PROMISES = 1024
"""Tenants of which is remembered when the last one of theirs was told to come back."""


@dataclass(slots=True, eq=False)
class Waiter(Generic[T]):
    """One request in the line.

    Attributes:
        cost: What it will be counted for, roughly.
        turn: What it waits for.
    """

    share: Share
    key: Key
    cost: float
    turn: asyncio.Future[T]


@dataclass(slots=True, eq=False)
class _Tenant(Generic[T]):
    """What a tenant has in the line."""

    waiters: deque[Waiter[T]] = field(default_factory=deque["Waiter[T]"])
    cost: float = 0.0


class Waiters(Generic[T]):
    """One model's line in this process.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.fairness = Fairness()
        self._clock = clock
        self._pace = Pace(clock)
        self._tenants: dict[Key, _Tenant[T]] = {}
        self._count = 0
        self._promised: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def pass_by(self, share: Share) -> Charge:
        """A request goes at once, as nobody waits."""
        self.fairness.lift(key_of(share), ())
        return self.fairness.charge(share)

    def join(self, share: Share, limits: RequestLimits, *, asking: int = 0, cold: bool = False) -> Waiter[T]:
        """A request has to wait.

        Args:
            limits: The model's.
            asking: Requests that wait elsewhere already, and count for the bound.
            cold: Whether the model has to come up first: nobody knows how long that takes.

        Raises:
            Crowded: It must not: the line is full, or too slow.
        """
        key = key_of(share)
        if key not in self._tenants:
            self.fairness.lift(key, self._tenants)
        wait_s = None if cold else self.wait_s(share)
        if wait_s is not None and wait_s > limits.max_queue_wait_s:
            raise self._crowded(key, wait_s - limits.max_queue_wait_s, wait_s)
        # A request waits for a moment even where there is room: for its lease.
        if self._count + asking >= max(1, limits.max_queued_requests):
            self._refuse_another(key, wait_s)
        return self._add(share, key)

    def leave(self, waiter: Waiter[T]) -> None:
        """It waits no more, whether it got what it waited for or not."""
        tenant = self._tenants.get(waiter.key)
        if tenant is not None and waiter in tenant.waiters:
            tenant.waiters.remove(waiter)
            self._took(waiter, tenant)

    def next(self) -> tuple[Waiter[T], Charge] | None:
        """Whoever is next, for a place that has come; the place counts as taken."""
        if (waiter := self.pop()) is None:
            return None
        self._pace.came()
        return waiter, self.fairness.charge(waiter.share)

    def pop(self) -> Waiter[T] | None:
        """Whoever is next, for something else than a place."""
        while self._tenants:
            tenant = self._tenants[self._first()]
            waiter = tenant.waiters.popleft()
            self._took(waiter, tenant)
            if not waiter.turn.done():
                return waiter
        return None

    def wait_s(self, share: Share) -> float | None:
        """How long one more request would wait as places come free now; None while that is not known."""
        per_s = self._pace.per_s()
        return None if per_s is None else (self.ahead(share) + 1) / per_s

    def ahead(self, share: Share) -> int:
        """How many of those that wait would come before one more request, if nobody else came."""
        mine = key_of(share)
        own = self._tenants.get(mine)
        level = self.fairness.counter(mine) + (own.cost if own is not None else 0.0)
        before = 0
        for key, tenant in self._tenants.items():
            count = len(tenant.waiters)
            if key[0] > mine[0] or key == mine:
                before += count
            elif key[0] == mine[0]:
                mean = tenant.cost / count
                before += min(count, max(0, math.ceil((level - self.fairness.counter(key)) / mean)))
        return before

    def _first(self) -> Key:
        priority = max(key[0] for key in self._tenants)
        # Among equals the one with less to do here: whoever came lately, mostly.
        return min(
            (key for key in self._tenants if key[0] == priority),
            key=lambda key: (self.fairness.counter(key), len(self._tenants[key].waiters)),
        )

    def _add(self, share: Share, key: Key) -> Waiter[T]:
        waiter: Waiter[T] = Waiter(share, key, self.fairness.cost(share), asyncio.get_running_loop().create_future())
        tenant = self._tenants.setdefault(key, _Tenant())
        tenant.waiters.append(waiter)
        tenant.cost += waiter.cost
        self._count += 1
        if self._count == 1:
            self._pace.begin()
        return waiter

    def _took(self, waiter: Waiter[T], tenant: _Tenant[T]) -> None:
        tenant.cost -= waiter.cost
        self._count -= 1
        if not tenant.waiters:
            del self._tenants[waiter.key]
        if not self._count:
            self._pace.end()

    def _refuse_another(self, key: Key, wait_s: float | None) -> None:
        """Make room for one of this tenant.

        Raises:
            Crowded: Nobody has to make room for it.
        """
        per_s = self._pace.per_s()
        soon_s = None if per_s is None else 1 / per_s
        lowest = min((other[0] for other in self._tenants), default=key[0])
        most = max((other for other in self._tenants if other[0] == lowest), key=self._length_of, default=key)
        if lowest > key[0] or (lowest == key[0] and self._length_of(most) <= self._length_of(key)):
            raise self._crowded(key, soon_s, wait_s)
        tenant = self._tenants[most]
        last = tenant.waiters.pop()
        self._took(last, tenant)
        if not last.turn.done():
            last.turn.set_exception(self._crowded(most, soon_s, self.wait_s(last.share)))

    def _length_of(self, key: Key) -> int:
        return len(self._tenants[key].waiters) if key in self._tenants else 0

    def _crowded(self, key: Key, after_s: float | None, wait_s: float | None) -> Crowded:
        """Tell one to come back; each of a tenant's a little later than the one before, as places come free.

        Args:
            after_s: When it would be let in if it were the only one; None where nobody knows.
            wait_s: How long it would wait here: longer than that nobody is sent away.
        """
        per_s = self._pace.per_s()
        if after_s is None or per_s is None:
            return Crowded(None)
        now = self._clock()
        at = max(now + after_s, self._promised.get(key, 0.0) + 1 / per_s)
        at = min(at, now + max(after_s, wait_s or 0.0))
        self._promised[key] = at
        self._promised.move_to_end(key)
        while len(self._promised) > PROMISES:
            self._promised.popitem(last=False)
        return Crowded(at - now)
