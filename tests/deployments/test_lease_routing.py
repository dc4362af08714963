"""Leases of several replicas: requests go where their prompts were read, and Serve counts them there."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments import lease as module
from deployments import places
from deployments.affinity import Prefix, PrefixAffinity, RoundRobin, Routing, prefix_of
from deployments.lease import LeasePool, Place
from deployments.link.listener import Listener
from deployments.link.tickets import Ticket
from deployments.links import Links

pytestmark = pytest.mark.usefixtures("clean_loop")

POLL_S = 0.002


async def unused(*_: Any) -> None:
    """An application that nobody calls here."""


@dataclass
class Call:
    """A call of ``ModelReplica.lease``."""

    serve: Serve
    wanted: str
    cancelled: bool = False

    async def __anext__(self) -> Ticket:
        await asyncio.sleep(0)
        while (name := self.serve.choose(self.wanted)) is None:
            await asyncio.sleep(POLL_S)
        ticket, grant = self.serve.listeners[name].grant()
        self.serve.taken[name] += 1
        self.serve.given.append((self.wanted, name))
        self.serve.tasks.append(asyncio.create_task(self._until(name, grant.over)))
        return ticket

    def cancel(self) -> None:
        self.cancelled = True

    async def _until(self, name: str, over: asyncio.Event) -> None:
        await over.wait()
        self.serve.taken[name] -= 1


@dataclass
class Serve:
    """Stands for Serve: gives the replica that is asked for if it has room, else the one with the least to do.

    Attributes:
        listeners: The replicas, by name.
        routed: Those that Serve sends anybody to.
        taken: Leases that each has given.
        asked: The names that leases were asked for with, "" for none.
        given: The name of each lease that was given, behind the name it was asked for with.
    """

    listeners: dict[str, Listener]
    places: int
    routed: list[str]
    links: Links = field(default_factory=Links)
    taken: Counter[str] = field(default_factory=Counter[str])
    asked: list[str] = field(default_factory=list[str])
    given: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def ask(self, replica: str = "") -> Call:
        self.asked.append(replica)
        return Call(self, replica)

    def choose(self, wanted: str) -> str | None:
        free = [name for name in self.routed if self.taken[name] < self.places]
        before = Counter(given for _, given in self.given)
        return wanted if wanted in free else min(free, key=lambda name: (self.taken[name], before[name]), default=None)


@contextlib.asynccontextmanager
async def replicas(names: str, places: int) -> AsyncIterator[Serve]:
    """Replicas with so many places each, and as names so many of each letter."""
    listeners = {name * 32: Listener(unused, name * 32, "127.0.0.1", places) for name in names}
    for listener in listeners.values():
        await listener.start()
    made = Serve(listeners, places, list(listeners))
    try:
        yield made
    finally:
        made.links.close()
        for listener in listeners.values():
            await listener.stop()
        await asyncio.sleep(0.01)
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


A, B, C = "a" * 32, "b" * 32, "c" * 32
PROMPT = prefix_of(b"a prompt that is read again and again " * 100)


def prompt(number: int) -> Prefix:
    """One that has nothing in common with others."""
    return prefix_of(f"{number} is another prompt ".encode() * 100)


def pool_of(serve: Serve, routing: Routing | None = None) -> LeasePool:
    return LeasePool(serve.ask, serve.links, routing or PrefixAffinity(), len(serve.listeners))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def find_all(serve: Serve, pool: LeasePool) -> None:
    """Let short requests come and go until a lease of each replica has come."""
    async with asyncio.timeout(5):
        number = 0
        while {name for _, name in serve.given} < set(serve.routed):
            number += 1
            pool.release(await pool.acquire(prefix=prompt(-number)))
            await asyncio.sleep(0.005)


async def test_a_conversation_stays_where_it_is_while_that_has_room():
    async with replicas("abc", 8) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        first = await pool.acquire(prefix=PROMPT)
        pool.release(first)
        others = [await pool.acquire(prefix=prompt(number)) for number in range(6)]
        for _ in range(5):
            place = await pool.acquire(prefix=PROMPT)
            assert place.link.replica == first.link.replica
            pool.release(place)
        for place in others:
            pool.release(place)


async def test_serve_counts_requests_where_they_are():
    async with replicas("abc", 16) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        places = [await pool.acquire(prefix=PROMPT) for _ in range(7)]
        here = Counter(place.link.replica for place in places)
        assert len(here) < 7
        await until(lambda: all(place.lease is not None for place in places))
        assert all(place.lease and place.lease.link is place.link for place in places)
        assert all(serve.taken[name] >= count for name, count in here.items())
        directed = [(asked, given) for asked, given in serve.given if asked]
        assert directed
        assert all(asked == given for asked, given in directed)
        for place in places:
            pool.release(place)


async def test_a_flood_of_one_prompt_spreads():
    async with replicas("abc", 64) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        places = [await pool.acquire(prefix=PROMPT) for _ in range(60)]
        here = Counter(place.link.replica for place in places)
        assert max(here.values()) <= 30
        assert len(here) == 3
        for place in places:
            pool.release(place)


async def test_a_replica_that_is_full_sends_nobody_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_S", 60)
    async with replicas("ab", 2) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        places = [await pool.acquire(prefix=PROMPT) for _ in range(4)]
        assert Counter(place.link.replica for place in places) == {A: 2, B: 2}
        serve.places = 0
        waiting = [asyncio.create_task(pool.acquire(prefix=PROMPT)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        pool.release(places[3])
        await asyncio.sleep(0.02)
        assert [task.done() for task in waiting] == [True, False, False], "whoever waited longest is first"
        for place in places[:2]:
            pool.release(place)
        for place in [places[2], *await asyncio.gather(*waiting)]:
            pool.release(place)


async def test_a_new_replica_is_found_and_gets_its_share():
    async with replicas("abc", 64) as serve:
        serve.routed.remove(C)
        pool = pool_of(serve)
        await find_all(serve, pool)
        held = [await pool.acquire(prefix=prompt(number)) for number in range(20)]
        serve.routed.append(C)
        places: list[Place] = []
        async with asyncio.timeout(10):
            while all(place.link.replica != C for place in places):
                places.append(await pool.acquire(prefix=prompt(1000 + len(places))))
                await asyncio.sleep(0.02)
        more = [await pool.acquire(prefix=prompt(2000 + number)) for number in range(6)]
        assert {place.link.replica for place in more} == {C}
        for place in held + places + more:
            pool.release(place)


async def test_nobody_searches_for_more_replicas_than_there_may_be():
    async with replicas("ab", 8) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        before = serve.asked.count("")
        for number in range(20):
            pool.release(await pool.acquire(prefix=prompt(number)))
            await asyncio.sleep(0.005)
        assert serve.asked.count("") <= before + 1


async def test_searching_in_vain_is_done_seldom_and_leaves_no_load():
    async with replicas("abc", 8) as serve:
        del serve.routed[1:]
        pool = pool_of(serve)
        for number in range(100):
            pool.release(await pool.acquire(prefix=prompt(number)))
            await asyncio.sleep(0.005)
        assert 2 < serve.asked.count("") < 10
        assert serve.taken[A] == 1


async def test_a_replica_that_serve_sends_nobody_to_is_not_trusted_any_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MAX_AGE_S", 0.1)
    async with replicas("ab", 8) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        first = await pool.acquire(prefix=PROMPT)
        pool.release(first)
        going = first.link.replica
        serve.routed.remove(going)
        await asyncio.sleep(0.15)
        pool.release(await pool.acquire(prefix=PROMPT))
        await until(lambda: (going, ({A, B} - {going}).pop()) in serve.given)
        place = await pool.acquire(prefix=PROMPT)
        assert place.link.replica != going
        assert first.link.alive
        pool.release(place)


async def test_a_conversation_goes_on_elsewhere_when_its_replica_dies():
    async with replicas("abc", 8) as serve:
        pool = pool_of(serve)
        await find_all(serve, pool)
        first = await pool.acquire(prefix=PROMPT)
        pool.release(first)
        serve.routed.remove(first.link.replica)
        await serve.listeners[first.link.replica].stop()
        await until(lambda: not first.link.alive)
        found = [await pool.acquire(prefix=PROMPT) for _ in range(3)]
        assert first.link.replica not in {place.link.replica for place in found}
        assert len({place.link.replica for place in found}) == 1, "where it was read then"
        for place in found:
            pool.release(place)


async def test_a_replica_in_use_is_leased_anew_before_its_leases_are_old(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RENEW_S", 0.05)
    async with replicas("a", 8) as serve:
        pool = LeasePool(serve.ask, serve.links, PrefixAffinity())
        pool.release(await pool.acquire(prefix=PROMPT))
        await asyncio.sleep(0.06)
        pool.release(await pool.acquire(prefix=PROMPT))
        await until(lambda: (A, A) in serve.given)


async def test_nothing_is_kept_when_everybody_has_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    async with replicas("abc", 2) as serve:
        pool = pool_of(serve)
        callers = [asyncio.create_task(pool.acquire(prefix=prompt(number % 5))) for number in range(20)]
        await asyncio.sleep(0.05)
        for caller in callers[::2]:
            caller.cancel()
        for _ in range(20):
            for caller in [caller for caller in callers if caller.done()]:
                callers.remove(caller)
                if not caller.cancelled():
                    pool.release(caller.result())
            await asyncio.sleep(0.01)
        assert not callers
        await until(lambda: not serve.taken.total())
        before = len(serve.asked)
        await asyncio.sleep(0.1)
        assert len(serve.asked) == before


async def test_other_routings_choose_among_the_same_replicas():
    async with replicas("abc", 8) as serve:
        pool = pool_of(serve, RoundRobin())
        await find_all(serve, pool)
        places = [await pool.acquire(prefix=PROMPT) for _ in range(6)]
        assert set(Counter(place.link.replica for place in places).values()) == {2}
        for place in places:
            pool.release(place)
